"""The report's section about what trainings did to their networks, layer by layer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapt.disk.files import read_json
from adapt.errors import InputError
from adapt.settings.choices import ANALYSES as NAMES
from adapt.settings.commands import PAIRS
from viz.figures import drawing, literal, look, png, whole_ticks
from viz.report.charts import batches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 11.0
"""Inches; wider, a page's width would make the letters too small."""
ALL = "(all)"
"""Layer of adapt.analysis.weights.weight_distances that is all of them together."""
SIDE_BY_SIDE, LINES, TIMED = 4, 7, 6
"""Runs in a box-plot, in a figure of distances; runs whose distances over time are drawn."""
TICKS = 60
"""Names that an axis has room for."""
MOVED, APART = 10, 0.062
"""Layers that are drawn over time, and the least distance of their names, in heights of the axes.
"""

Record = Mapping[str, Any]


def box_plots(
    boxes: Mapping[str, Sequence[Record]],
    what: str,
    low: float | None = None,
    high: float | None = None,
) -> bytes:
    """A box for each layer and run, runs side by side; layers without values stay empty. Values
    beyond the whiskers are not drawn. `boxes` has, for each run, what `Axes.bxp` draws for each
    layer (adapt.analysis.weights.box), the same layers for all; `low` and `high` limit the y axis.
    """
    layers = [literal(str(b["label"])) for b in next(iter(boxes.values()))]
    step, wide = len(boxes) + 0.8, len(layers) * (0.24 + 0.16 * len(boxes))
    with drawing(min(max(7.0, 1.0 + wide), WIDEST), 3.6, 1) as (figure, (axis,)):
        for number, (run, stats) in enumerate(boxes.items()):
            there = [(i, dict(b)) for i, b in enumerate(stats) if b["n"]]
            colour, _ = look(number)
            line = {"color": colour, "linewidth": 1.1}
            axis.bxp(
                [b for _, b in there],
                positions=[i * step + number for i, _ in there],
                widths=0.72,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour},
                medianprops={"color": colour, "linewidth": 2},
                whiskerprops=line,
                capprops=line,
                manage_ticks=False,
            )
            axis.bar([0], [0], color=colour, alpha=0.5, label=run)
        at = [i * step + (len(boxes) - 1) / 2 for i in range(len(layers))]
        named_ticks(axis, at, layers, slanted=len(layers) > 8)
        axis.set(ylabel=what, xlim=(-1, len(layers) * step - 0.8), ylim=(low, high))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return png(figure)


def in_parts(boxes: Mapping[str, Sequence[Record]]) -> list[dict[str, Sequence[Record]]]:
    """The same runs with at most TICKS of their layers each."""
    count = len(next(iter(boxes.values())))
    starts = range(0, count, TICKS)
    return [{run: stats[at : at + TICKS] for run, stats in boxes.items()} for at in starts]


def distance_lines(runs: Mapping[str, Sequence[Record]]) -> bytes:
    """Relative distance |w - w0| / |w0| of each layer after the training, a line for each run; norm
    layers are hollow points apart from it. Layers that did not move are left out."""
    names = list(dict.fromkeys(str(row["layer"]) for rows in runs.values() for row in rows))
    with drawing(min(max(7.0, 1.5 + 0.33 * len(names)), WIDEST), 3.6, 1) as (figure, (axis,)):
        for number, (run, rows) in enumerate(runs.items()):
            moved = {str(r["layer"]): r for r in rows if r["relative"] and r["layer"] != ALL}
            colour, marker = look(number)
            points = [(i, moved[name]) for i, name in enumerate(names) if name in moved]
            norms = {i: r["relative"] for i, r in points if "Norm" in r["type"]}
            others = {i: r["relative"] for i, r in points if i not in norms}
            axis.plot(*along(others), marker=marker, ms=4, color=colour, label=run)
            axis.plot(*along(norms), marker, ms=4, color=colour, mfc="none")
        at = [i for i, name in enumerate(names) if name != ALL]
        named_ticks(axis, at, [literal(names[i]) for i in at])
        axis.set(ylabel="|w - w0| / |w0|", yscale="log")
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return png(figure)


def named_ticks(axis: "Axes", at: list, names: list[str], slanted: bool = True) -> None:
    """A tick at each place, of which of many only every n-th has its name."""
    style: dict[str, Any] = {"rotation": 60, "ha": "right"} if slanted else {"rotation": 0}
    every = math.ceil(len(at) / TICKS)
    axis.set_xticks(at[::every], names[::every], rotation_mode="anchor", fontsize=8, **style)
    if every > 1:
        axis.set_xticks(at, minor=True)
        axis.set_xlabel(f"every {every}th of {len(at)} layers is named")


def along(points: Mapping[int, float]) -> tuple[list[int], list[float]]:
    """x and y of a line."""
    return list(points), list(points.values())


def limits_of(runs: Iterable[Sequence[Record]]) -> tuple[float, float] | None:
    """A little beyond the least and the greatest distance above 0 of what is drawn; None without
    any."""
    drawn = ((line["distances"], [*farthest(lines), ALL]) for lines in runs for line in lines)
    values = [v for distances, names in drawn for name in names if (v := distances.get(name))]
    return (min(values) / 1.2, max(values) * 1.2) if values else None


def farthest(lines: Sequence[Record]) -> list[str]:
    """The MOVED layers that are farthest from their start in the last line."""
    last = lines[-1]["distances"]
    return sorted(last.keys() - {ALL}, key=lambda name: (-last[name], name))[:MOVED]


def distances_over_time(
    run: str, lines: Sequence[Record], limits: tuple[float, float] | None = None
) -> bytes:
    """Relative distance from the start against steps, of the MOVED layers that went farthest, each
    named at the end of its line, and of all layers together. Steps at which a layer has not moved
    are left out.

    Args:
        run: its name, the title.
        lines: of metrics.jsonl, with `distances`.
        limits: of a y axis that several figures share.
    """
    low, high = limits or limits_of([lines]) or (0.1, 1.0)
    with drawing(9.0, 3.9, 1) as (figure, (axis,)):
        ends = {}
        for number, name in enumerate([*farthest(lines), ALL]):
            there = {x["step"]: v for x in lines if (v := x["distances"].get(name))}
            if there:
                colour, marker = look(number) if name != ALL else ("black", "")
                dashes = "--" if name == ALL else "-"
                axis.plot(
                    *along(there), marker=marker, ms=3, ls=dashes, color=colour, clip_on=False
                )
                ends[name] = (*list(there.items())[-1], colour)
        axis.set(title=run, xlabel="step", ylabel="|w - w0| / |w0|", yscale="log", ylim=(low, high))
        if ends:  # the leaders to the names begin at the axes' edge, and cross nothing
            at = [line["step"] for line in lines]
            axis.set_xlim(min(at[0], at[-1] - 1), at[-1])
        heights = [math.log(end[1] / low) / math.log(high / low) for end in ends.values()]
        for (name, (step, value, colour)), height in zip(
            ends.items(), spread(heights), strict=True
        ):
            axis.annotate(
                name if name != ALL else "all layers", (step, value), (1.04, height),
                textcoords="axes fraction", color=colour, fontsize=8, va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "relpos": (0, 0.5)},
                annotation_clip=False,
            )  # fmt: skip
        whole_ticks(axis)
        return png(figure)


def spread(heights: Sequence[float], apart: float = APART) -> list[float]:
    """The heights (0..1) in their order, moved until any two are `apart`, up to 1 at most."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed, least = dict(enumerate(heights)), -math.inf
    for i in order:
        placed[i] = least = max(placed[i], least + apart)
    most = 1.0 + apart
    for i in reversed(order):
        placed[i] = most = min(placed[i], most - apart)
    return [placed[i] for i in range(len(heights))]


def found_below(runs: Path, name: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Folder of an analysis, as figures call it -> its JSON, for all below `runs`; and what is
    wrong with those that cannot be read. Other files of this name are passed over."""
    found, broken = {}, []
    for path in sorted(runs.rglob(f"{name}.json")):
        try:
            content = read_json(path)
        except InputError as error:
            broken.append(f"Not shown: {error}")
            continue
        needed = {"made", "scores" if name == "source" else "layers"}
        if isinstance(content, dict) and content.keys() >= needed:
            folder = path.parent.relative_to(runs)
            found[str(folder.parent if folder.name == "analysis" else folder)] = content
    return found, broken


def analyses_section(runs: Path, trained: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """What the analyse command left below `runs`, and the distances that trainings noted (name ->
    lines of metrics.jsonl), as report.html has them; empty where there is neither."""
    found, sentences = {}, []
    for name in NAMES:
        found[name], broken = found_below(runs, name)
        sentences += broken
    activations: dict[tuple[str, ...], dict[str, list]] = {}
    for name, content in found["activations"].items():
        domain = content["made"]["domain"]
        inputs = "before on x1, after on x2" if domain == PAIRS else f"both on images of {domain}"
        key = (inputs, *(x["layer"] for x in content["layers"]))
        activations.setdefault(key, {})[name] = [x["r2"] for x in content["layers"]]
    fishers: dict[tuple[str, ...], dict[str, list]] = {}
    for name, content in found["fisher"].items():
        alike = fishers.setdefault(tuple(x["layer"] for x in content["layers"]), {})
        boxes = [x["log10"] for x in content["layers"]]
        if boxes not in alike.values():  # several runs looked at one file
            alike[name] = boxes
    weights = [(name, content["layers"]) for name, content in found["weights"].items()]
    noted = {run: [x for x in lines if x.get("distances")] for run, lines in trained.items()}
    moving = [(run, lines) for run, lines in noted.items() if lines]
    if len(moving) > TIMED:
        sentences.append(f"{len(moving) - TIMED} more runs have distances in metrics.jsonl.")
    if not (any(found.values()) or moving or sentences):
        return {}
    limits = limits_of(lines for _, lines in moving[:TIMED])
    return {
        "sentences": sentences,
        "activations": [
            (box_plots(part, "R2 of the units' activations", 0, 1.02), inputs)
            for (inputs, *_), alike in activations.items()
            for group in batches(alike.items(), SIDE_BY_SIDE)
            for part in in_parts(dict(group))
        ],
        "fisher": [
            box_plots(part, "log10 of Fisher information")
            for alike in fishers.values()
            for group in batches(alike.items(), SIDE_BY_SIDE)
            for part in in_parts(dict(group))
        ],
        "weights": [distance_lines(dict(group)) for group in batches(weights, LINES)],
        "distances": [distances_over_time(*run, limits) for run in moving[:TIMED]],
        "source": found["source"],
        "scores": list(dict.fromkeys(n for of in found["source"].values() for n in of["scores"])),
    }
