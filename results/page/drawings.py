"""The page's figures, as PNG bytes; those of 003 in viz.figures' style."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from results.page.ranking import checkpoints
from results.page.rates import at_best
from results.page.records import GRID, SHARED, SHIFTS, Evidence
from results.page.words import plain_label
from results.page.worth import Worth
from viz.figures import (
    COLOURS,
    MARKERS,
    Bars,
    Layers,
    Stat,
    baseline_bars,
    drawing,
    layer_chart,
    png,
)
from viz.report.tables import stat

SCORES = {"miou": "mIoU", "class_accuracy": "mean class accuracy"}
SINGLE = ("pool1", "pool2", "pool3", "pool4", "pool5")
LAYERS = (*SINGLE, "w_inc", "w_dec")
BARS = ("B0", "AdaBN", "pool5", "kd", "pool5_kd", "w_inc_kd", "B2", "B1")
CURVES = ("pool1", "pool3", "pool5", "w_inc", "kd", "B2")


def pair(values: Mapping[int, float]) -> Stat | None:
    found = stat(values.values())
    return (found.mean, found.std) if found else None


def by_shift(found: Evidence, study: str, name: str, key: str) -> dict[str, Stat]:
    """Shift -> (mean, deviation), where there is one."""
    made = {shift: pair(found.values(study, name, shift, key)) for shift in SHIFTS}
    return {shift: value for shift, value in made.items() if value is not None}


def bars(found: Evidence, protocol: str) -> bytes | None:
    """003, Figure 3, methods at their chosen rates; None without a method and a baseline."""
    study, panels, best = GRID[protocol], [], at_best(found, BARS)
    for key, title in SCORES.items():
        methods = {n: v for n, run in best.items() if (v := by_shift(found, study, run, key))}
        clean = pair(found.values(study, "teacher", "", key))
        panels.append(Bars(title, methods, clean[0] if clean else None))
    return baseline_bars(panels, SHIFTS) if len(panels[0].methods) > 1 else None


def layers(found: Evidence) -> bytes | None:
    """003, Figure 4, B2 at its chosen rate; None with fewer than two regressions."""
    study, panels, there = GRID[SHARED], [], []
    baselines = at_best(found, ("B0", "B2"))
    for key, title in SCORES.items():
        scored = {n: v for n in LAYERS if (v := by_shift(found, study, n, key))}
        there = [n for n in LAYERS if n in scored]
        references = {n: by_shift(found, study, run, key) for n, run in baselines.items()}
        panels.append(
            Layers(
                title,
                {s: {n: scored[n][s] for n in there if s in scored[n]} for s in SHIFTS},
                {s: {n: v[s] for n, v in references.items() if s in v} for s in SHIFTS},
            )
        )
    return layer_chart(panels, there, set(SINGLE)) if len(there) > 1 else None


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
    with drawing(9.5, 3.2, len(SHIFTS)) as (figure, axes):
        for axis, shift in zip(axes, SHIFTS, strict=True):
            start = found.values(GRID[SHARED], "B0", shift)
            for name, colour, marker in zip(CURVES, COLOURS, MARKERS, strict=False):
                steps = dict(points.get((shift, name), {}))
                if not steps:
                    continue
                if start:
                    steps[0] = list(start.values())
                at = sorted(steps)
                means = [sum(steps[s]) / len(steps[s]) for s in at]
                axis.plot(at, means, marker, ls="-", color=colour, label=name)
            axis.set(title=shift, xlabel="step")
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes[0].set_ylabel("mIoU on val")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return png(figure)


def labels_chart(worths: Sequence[Worth]) -> bytes | None:
    """B2 over its labels, and the methods without labels as horizontal lines."""
    shifts = list(dict.fromkeys(w.shift for w in worths))
    if not shifts:
        return None
    with drawing(3.2 * len(shifts) + 0.4, 3.2, len(shifts)) as (figure, axes):
        for axis, shift in zip(axes, shifts, strict=True):
            chosen = [w for w in worths if w.shift == shift]
            counts = [n for n, _ in chosen[0].points]
            found = [stat(v.values()) for _, v in chosen[0].points]
            means = [s.mean for s in found if s]
            spread = [s.std for s in found if s]
            axis.errorbar(counts, means, yerr=spread, fmt="o-", color="#5F5F5F", capsize=2,
                          label="B2 on so many labels")  # fmt: skip
            for one, colour in zip(chosen, COLOURS, strict=False):
                value = sum(one.scores.values()) / len(one.scores)
                label = plain_label(one.method)
                axis.axhline(value, color=colour, ls="--", label=f"{label}, no labels")
            axis.set(title=shift, xlabel="labelled images", xscale="log")
            axis.set_xticks(counts, [str(count) for count in counts])
            axis.minorticks_off()
        axes[0].set_ylabel("mIoU on val")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return png(figure)


def scatter(found: Evidence) -> bytes | None:
    """mIoU against label-free agreement, a dot for each checkpoint."""
    points = checkpoints(found)
    if len(points) < 5:
        return None
    with drawing(9.5, 3.2, len(SHIFTS)) as (figure, axes):
        for axis, shift in zip(axes, SHIFTS, strict=True):
            for protocol, colour in zip(GRID, COLOURS, strict=False):
                chosen = [
                    (p.agreement, p.miou)
                    for p in points
                    if (p.protocol, p.shift) == (protocol, shift)
                ]
                if chosen:
                    axis.plot(*zip(*chosen, strict=True), "o", ms=3.5, color=colour, alpha=0.7,
                              label=f"{protocol} pairs")  # fmt: skip
            axis.set(title=shift, xlabel="agreement with teacher(x1)")
        axes[0].set_ylabel("mIoU on val")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return png(figure)
