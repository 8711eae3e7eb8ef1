"""The page's figures, as PNG bytes; those of 003 in the report's style."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from results.page.claims import checkpoints
from results.page.records import GRID, SCORES, SHARED, SHIFTS, VAL, Evidence, mean
from results.page.tables import DECAY_SCORES, DECAY_SPLITS, DECAYS, Starts, of_decay
from results.page.variations import Worth, at_best
from results.page.words import plain_label
from viz.figures import facets, look, whole_ticks
from viz.report.charts import Scores, baseline_bars, layer_chart
from viz.report.tables import Stat, stat

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SINGLE = ("pool1", "pool2", "pool3", "pool4", "pool5")
LAYERS = (*SINGLE, "w_inc", "w_dec")
BARS = ("B0", "AdaBN", "pool5", "kd", "pool5_kd", "w_inc_kd", "B2", "B1")
CURVES = ("pool1", "pool3", "pool5", "w_inc", "kd", "B2")


def scores(found: Evidence, protocol: str, names: dict[str, str]) -> dict[str, Scores]:
    """A panel for each of SCORES, of named runs and of the teacher."""
    panels: dict[str, Scores] = {}
    for key, title in SCORES.items():
        made: dict[str, dict[str, Stat]] = {}
        for name, run in {"teacher": "teacher", **names}.items():
            shifts = ("",) if name == "teacher" else SHIFTS
            values = {s: stat(found.values(GRID[protocol], run, s, key).values()) for s in shifts}
            if there := {shift: value for shift, value in values.items() if value}:
                made[name] = there
        panels[title] = made
    return panels


def bars(found: Evidence, protocol: str) -> bytes | None:
    """003, Figure 3, methods at their chosen rates; None without a method and a baseline."""
    panels = scores(found, protocol, at_best(found, BARS))
    several = len(panels["mIoU"].keys() - {"teacher"}) > 1
    return baseline_bars(panels, SHIFTS) if several else None


def layers(found: Evidence) -> bytes | None:
    """003, Figure 4, B2 at its chosen rate; None with fewer than two regressions."""
    regressions = {name: name for name in LAYERS}
    panels = scores(found, SHARED, regressions | at_best(found, ("B0", "B2")))
    there = [name for name in LAYERS if name in panels["mIoU"]]
    return layer_chart(panels, there, SHIFTS, SINGLE) if len(there) > 1 else None


def curves(found: Evidence) -> bytes | None:
    """mIoU on val against steps: means over seeds of the shared grid at the chosen rates, step 0 =
    B0 or the start."""
    names = {run: name for name, run in at_best(found, CURVES).items()}
    points: dict[tuple[str, str], dict[int, list[float]]] = {}
    for run in found.runs(GRID[SHARED]):
        name = names.get(run["name"], "")
        for point in run["curve"] if name and run["shift"] in SHIFTS else ():
            steps = points.setdefault((run["shift"], name), {})
            steps.setdefault(point["step"], []).append(point["miou"])
    if not points:
        return None

    def draw(axis: "Axes", shift: str) -> None:
        start = found.values(GRID[SHARED], "B0", shift)
        for number, name in enumerate(CURVES):
            if not (steps := points.get((shift, name), {})):
                continue
            if start:
                steps[0] = list(start.values())
            at, (colour, marker) = sorted(steps), look(number)
            means = [sum(steps[s]) / len(steps[s]) for s in at]
            axis.plot(at, means, marker, ls="-", color=colour, label=name)
        whole_ticks(axis, 4)

    return by_shift(SHIFTS, 9.5, draw, "step")


def labels_chart(worths: Sequence[Worth]) -> bytes | None:
    """B2 over its labels, and the methods without labels as horizontal lines."""
    shifts = list(dict.fromkeys(w.shift for w in worths))
    if not shifts:
        return None

    def draw(axis: "Axes", shift: str) -> None:
        there = [w for w in worths if w.shift == shift]
        counts = [n for n, _ in there[0].points]
        found = [s for _, values in there[0].points if (s := stat(values.values()))]
        axis.errorbar(counts, [s.mean for s in found], yerr=[s.std for s in found], fmt="o-",
                      color="#5F5F5F", capsize=2, label="B2 on so many labels")  # fmt: skip
        for number, one in enumerate(there):
            label = f"{plain_label(one.method)}, no labels"
            axis.axhline(mean(one.scores), color=look(number)[0], ls="--", label=label)
        axis.set_xscale("log")
        axis.set_xticks(counts, [str(count) for count in counts])
        axis.minorticks_off()

    return by_shift(shifts, 3.2 * len(shifts) + 0.4, draw, "labelled images")


def scatter(found: Evidence) -> bytes | None:
    """mIoU against label-free agreement, a dot for each checkpoint."""
    points = checkpoints(found)
    if len(points) < 5:
        return None

    def draw(axis: "Axes", shift: str) -> None:
        for number, protocol in enumerate(GRID):
            dots = [p for p in points if (p.protocol, p.shift) == (protocol, shift)]
            if dots:
                axis.plot([p.agreement for p in dots], [p.miou for p in dots], "o", ms=3.5,
                          color=look(number)[0], alpha=0.7, label=f"{protocol} pairs")  # fmt: skip

    return by_shift(SHIFTS, 9.5, draw, "agreement with teacher(x1)")


def by_shift(
    shifts: Sequence[str], width: float, draw: Callable[["Axes", str], None], xlabel: str
) -> bytes:
    """A panel of mIoU on val for each shift."""

    def titled(axis: "Axes", shift: str) -> None:
        draw(axis, shift)
        axis.set(title=shift, xlabel=xlabel)

    return facets(shifts, titled, (width, 3.2), ylabel="mIoU on val")


def decay(found: Evidence, starts: Starts) -> bytes | None:
    """Figure 6.1 of Dai 2018: loss and mIoU of training images and val over the weight decay; None
    with fewer than two decays."""
    there = [d for d in DECAYS if any(of_decay(found, s, d, "miou", VAL) for s in starts.values())]
    if len(there) < 2:
        return None

    def draw(axis: "Axes", score: str) -> None:
        for number, (start, study) in enumerate(starts.items()):
            for split, line in zip(DECAY_SPLITS, ("--", "-"), strict=True):
                values = [of_decay(found, study, name, score, split) for name in there]
                points = {place: mean(v) for place, v in enumerate(values) if v}
                axis.plot(list(points), list(points.values()), "o", ls=line, ms=4,
                          color=look(number)[0], label=f"{start}, {split}")  # fmt: skip
        axis.set(title=DECAY_SCORES[score], xlabel="weight decay")
        axis.set_xticks(range(len(there)), [DECAYS[d] for d in there])

    return facets(DECAY_SCORES, draw, (8.4, 3.2))
