"""Curves of trainings: all that one logged, and the scores of several beside each other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from viz.figures import COLOURS, drawing, facets, legend_below, look, png, whole_ticks
from viz.report.charts import batches
from viz.report.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Sequence[Mapping[str, Any]]
"""Of metrics.jsonl (adapt.disk.runs.read_metrics)."""
SPLITS = {"evaluation": "-", "training": "--"}
"""What a line calls the scores of held-out images and of training images, and how they are drawn.
A score's name stands after its `task/`, where a network has several heads."""
HEADLINES = {
    "miou": "mIoU", "top1": "top-1", "agreement_miou": "agreement", "agreement_top1": "agreement",
}  # fmt: skip
"""Scores by which the best step is found: the first that was computed."""
LOSS = "loss"
HEADS = (
    "run", "score", "best step", "validation", "training images", "loss, validation",
    "loss, training images",
)  # fmt: skip


def series(lines: Lines, split: str, name: str) -> dict[int, float]:
    """A score of a split by step, without those that are not numbers."""
    found = ((line["step"], line[split].get(name, math.nan)) for line in lines if split in line)
    return {step: value for step, value in found if not math.isnan(value)}


def names_of(lines: Lines) -> list[str]:
    """The scores of held-out images."""
    return list(dict.fromkeys(name for line in lines for name in line.get("evaluation", {})))


def named(task: str, score: str) -> str:
    return f"{task}/{score}" if task else score


def headlines(lines: Lines) -> dict[str, str]:
    """Task (`` of a network with one head) -> the name of the score by which its best step is
    found."""
    names = names_of(lines)
    tasks = dict.fromkeys(name.rpartition("/")[0] for name in names)
    found = {t: [n for s in HEADLINES if (n := named(t, s)) in names] for t in tasks}
    return {task: scores[0] for task, scores in found.items() if scores}


def best_step(lines: Lines, name: str) -> int | None:
    """The first step with the highest score on held-out images."""
    found = series(lines, "evaluation", name)
    return max(found, key=lambda step: found[step], default=None)


def draw_scores(
    axis: "Axes", lines: Lines, name: str, number: int, label: str, best: int | None
) -> None:
    """A score against steps in the look of the n-th line, of held-out images and, dashed, of
    training images; rings are around the best step."""
    colour, marker = look(number)
    for split, dashes in SPLITS.items():
        found = series(lines, split, name)
        shown = label if split == "evaluation" else None
        axis.plot(
            list(found), list(found.values()), marker, ls=dashes, color=colour, ms=4, label=shown
        )
        if best in found:
            axis.plot([best], [found[best]], "o", ms=11, mfc="none", mec=colour, mew=1.4)


def weights_of(steps: Lines) -> dict[str, list[float]]:
    """The weight of each regressed layer in the steps, NaN where its loss is 0; of none where no
    weight changes."""
    parts = {name for line in steps for name in line.get("parts", {})}
    found = {}
    for name in sorted(p for p in parts if p.startswith("regression/")):
        values = [line["parts"].get(name, {"raw": 0}) for line in steps]
        found[name] = [v["weighted"] / v["raw"] if v["raw"] else math.nan for v in values]
    known = ([w for w in weights if w > 0] for weights in found.values())
    return found if any(w and max(w) > 1.001 * min(w) for w in known) else {}


def training_curves(lines: Lines) -> bytes:
    """All that a training logged: the loss and its weighted parts, with the cross-entropy of whole
    images; the learning rate; where there are any, agreement and scores with labels; and the
    weights of layers, where they change."""
    steps = [line for line in lines if LOSS in line]
    weights = weights_of(steps)
    names = names_of(lines)
    losses = [name for name in names if name.rpartition("/")[2] == LOSS]
    scores = [name for name in names if name not in losses]
    best = {task: best_step(lines, name) for task, name in headlines(lines).items()}
    count = 2 + bool(weights) + bool(scores)
    with drawing(max(10.0, 3.3 * count), 3.0, count) as (figure, axes):
        at = [line["step"] for line in steps]
        axes[0].plot(at, [line[LOSS] for line in steps], color="black", alpha=0.45, label="loss")
        every = (part for line in steps for part in line.get("parts", {}).items())
        parts = dict.fromkeys(name for name, value in every if value["weighted"])
        for number, name in enumerate(parts):
            values = [s.get("parts", {}).get(name, {}).get("weighted", math.nan) for s in steps]
            axes[0].plot(at, values, "--", color=look(number)[0], label=name)
        positive = [line[LOSS] for line in steps if line[LOSS] > 0]
        decades = bool(positive) and max(positive) > 10 * min(positive)
        axes[0].set(title="Loss", xlabel="step", yscale="log" if decades else "linear")
        axes[1].plot(at, [line.get("lr", math.nan) for line in steps], color=COLOURS[4])
        axes[1].set(title="Learning rate", xlabel="step")
        if weights:
            axes[2].set(title="Weights of the layers", xlabel="step")
        for number, name in enumerate(parts):  # in the colours of the losses
            if name in weights:
                axes[2].plot(at, weights[name], color=look(number)[0])
        for line in (x for axis in axes if len(steps) == 1 for x in axis.lines):
            line.set(marker="o", markersize=4)  # a lone point is no line
        for axis, of, first in ((axes[0], losses, len(parts)), (axes[-1], scores, 0)):
            for number, name in enumerate(of, first):
                label = name.replace("agreement_miou", "agreement").replace("_", " ")
                label = label.replace(LOSS, "validation loss")
                draw_scores(axis, lines, name, number, label, best.get(name.rpartition("/")[0]))
        if scores:
            what = "Agreement and scores" if len(scores) > 1 else "Agreement"
            axes[-1].set(title=f"{what}, percent", xlabel="step")
        for axis in axes:
            whole_ticks(axis)
        legend_below(figure, axes, 3)
        return png(figure)


def learning_curves(runs: Mapping[str, Lines]) -> bytes:
    """Several trainings against steps, as 002's Figures 6.2 and 6.3: a panel for each task with the
    score that they have in common, and one with the loss where it was computed."""
    best = {run: headlines(lines) for run, lines in runs.items()}
    scores = {task: name for found in reversed(best.values()) for task, name in found.items()}
    losses = [n for t in scores if any((n := named(t, LOSS)) in names_of(x) for x in runs.values())]

    def draw(axis: "Axes", name: str) -> None:
        task, _, score = name.rpartition("/")
        for number, (run, lines) in enumerate(runs.items()):
            step = best_step(lines, best[run][task]) if task in best[run] else None
            draw_scores(axis, lines, name, number, run, step)
        what = HEADLINES.get(score, "cross-entropy")
        axis.set(title=" ".join(filter(None, (task, what))), xlabel="step")
        axis.set_ylabel("percent" if score in HEADLINES else "nats")
        whole_ticks(axis)

    panels = [*scores.values(), *losses]
    return facets(panels, draw, (max(6.0, 4.4 * len(panels)), 3.6), 4)


def at_best(runs: Mapping[str, Lines]) -> list[tuple[str, ...]]:
    """A table of each training at its best step, as 002's Figure 6.1 compares them: heads, then a
    line for each run and task."""
    table: list[tuple[str, ...]] = [HEADS]
    for run, lines in runs.items():
        for task, name in headlines(lines).items():
            if (step := best_step(lines, name)) is not None:
                what = named(task, HEADLINES[name.rpartition("/")[2]])
                scores = [text(lines, split, name, step, 1) for split in SPLITS]
                losses = [text(lines, split, named(task, LOSS), step, 3) for split in SPLITS]
                table.append((run, what, str(step), *scores, *losses))
    return table


def text(lines: Lines, split: str, name: str, step: int, digits: int) -> str:
    value = series(lines, split, name).get(step)
    return "-" if value is None else f"{value:.{digits}f}"


def side_by_side(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The curves of trainings whose folders lie in one folder, as a study has those of a seed, and
    what they are at their best: as report.html has them."""
    folders: dict[str, dict[str, Lines]] = {}
    for record in records:
        if record.evaluated:
            folder, _, run = record.name.rpartition("/")
            folders.setdefault(folder, {})[run] = record.lines
    shown = len(COLOURS)
    return [
        {
            "folder": folder,
            "figures": [learning_curves(dict(part)) for part in batches(runs.items(), shown)],
            "best": at_best(runs),
        }
        for folder, runs in folders.items()
        if len(runs) > 1
    ]
