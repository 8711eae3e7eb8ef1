"""A thesis on training strategies (Dai 2018): does a second task help, and does each of its
conclusions hold? The tables of its page."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from results.page.records import (
    VAL,
    Evidence,
    Values,
    differences,
    mean,
    over_seeds,
    table,
    with_minus,
)
from results.page.tables import DECAYS, RAW, TRAINED, Starts, of_decay
from viz.figures import facets, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STARTS = {RAW: "camvid_tasks", TRAINED: "camvid_tasks_pre"}
TASKS = ("semantic", "movable")
ALONE, BOTH, TWO_SETS = "alone", "both, of the same images", "with the scenes, asynchronously"
HOW = {ALONE: "_{}", BOTH: "", TWO_SETS: "_async"}
"""How a task is trained -> the ending of the study's name."""
PRINTED = "l2_5em4"
"""The decay whose learning curves are drawn, the thesis's own."""
CURVES = {"loss": "loss", "miou": "mIoU"}


def scores(found: Evidence, start: str, how: str, task: str) -> Values:
    """mIoU of one task on val, by seed."""
    study = STARTS[start] + HOW[how].format(task)
    return {
        score.seed: score.numbers["miou"]
        for score in found.scores
        if (score.study, score.split) == (study, VAL)
        and (how == ALONE or score.numbers["method"].endswith(f"({task})"))
    }


def gain(found: Evidence, start: str, how: str, task: str) -> Values:
    """What the other task brings: minus alone, within a seed."""
    return differences(scores(found, start, how, task), scores(found, start, ALONE, task))


def together(found: Evidence) -> str:
    """mIoU of each task alone and together, from both starts."""
    rows = [
        [start, task, over_seeds(scores(found, start, ALONE, task)), *(
            cell for how in (BOTH, TWO_SETS) for cell in (
                over_seeds(scores(found, start, how, task)),
                over_seeds(gain(found, start, how, task), signed=True))
        )]
        for start in STARTS for task in TASKS if scores(found, start, ALONE, task)
    ]  # fmt: skip
    heads = (cell for how in (BOTH, TWO_SETS) for cell in (how, "minus alone"))
    return table(["", "task", ALONE, *heads], rows)


def conclusions(found: Evidence, networks: Mapping[str, Starts]) -> str:
    """Each of the thesis's conclusions, and what the records say of it. `networks`: those that were
    trained under several decays -> their studies from both starts."""
    rows = []
    for network, starts in networks.items():
        lower, behind = training(found, starts), unseen(found, starts)
        rows += [
            ["1. Without pre-training the loss on the training images can be lower", network,
             verdict(lower, below=True), spread(lower, 3)],
            ["1. No weight decay makes up on val for the pre-training", network,
             verdict(behind, below=True), spread(behind)],
        ]  # fmt: skip
    for text, start, below in (
        ("2. A second task helps from scratch", RAW, False),
        ("2. It does not help, and may cost a point, after pre-training", TRAINED, True),
    ):
        gains = [g for how in (BOTH, TWO_SETS) for t in TASKS if (g := gain(found, start, how, t))]
        rows.append([text, "SUNet", verdict(gains, below), spread(gains)])
    return table(("its conclusion", "network", "here", "differences"), [r for r in rows if r[3]])


def training(found: Evidence, starts: Starts) -> list[Values]:
    """Loss on the training images from scratch, minus that after pre-training, by decay."""
    both = ([of_decay(found, starts[s], d, "loss", "training images") for d in DECAYS]
            for s in (RAW, TRAINED))  # fmt: skip
    return [differences(*pair) for pair in zip(*both, strict=True) if all(pair)]


def unseen(found: Evidence, starts: Starts) -> list[Values]:
    """mIoU on val from scratch under each decay, minus that of the pre-trained without decay."""
    goal = of_decay(found, starts[TRAINED], "none", "miou", VAL)
    raw = (of_decay(found, starts[RAW], decay, "miou", VAL) for decay in DECAYS)
    return [differences(values, goal) for values in raw if values and goal]


def verdict(every: Iterable[Values], below: bool) -> str:
    """Of differences that are claimed to lie below or above 0."""
    signs = [(value < 0) == below for values in every for value in values.values()]
    if not signs:
        return ""
    return "holds" if all(signs) else f"{sum(signs)} of {len(signs)} comparisons"


def spread(every: Iterable[Values], digits: int = 1) -> str:
    """The means over seeds of the comparisons, from the lowest to the highest."""
    means = sorted(mean(values) for values in every)
    if not means:
        return ""
    ends = dict.fromkeys((means[0], means[-1]))
    return with_minus(" to ".join(f"{m:+.{digits}f}" for m in ends))


def curves(found: Evidence, starts: Starts) -> bytes | None:
    """Figures 6.2 and 6.3: loss and mIoU of training images and val over the steps, from both
    starts, means over seeds; None without records that have both."""
    points: dict[tuple[str, str], dict[int, list[float]]] = {}
    for start, study in starts.items():
        for run in found.runs(study):
            for point in run["curve"] if run["name"] == PRINTED else ():
                for key in point.keys() - {"step"}:
                    steps = points.setdefault((start, key), {})
                    steps.setdefault(point["step"], []).append(point[key])
    if not any(key.startswith("training/") for _, key in points):
        return None

    def draw(axis: "Axes", score: str) -> None:
        for number, start in enumerate(starts):
            for split, line in (("training/", "--"), ("", "-")):
                steps = points.get((start, f"{split}{score}"), {})
                at = sorted(steps)
                axis.plot(at, [sum(steps[s]) / len(steps[s]) for s in at], line,
                          color=look(number)[0],
                          label=f"{start}, {'training images' if split else VAL}")  # fmt: skip
        axis.set(title=CURVES[score], xlabel="step")

    return facets(CURVES, draw, (8.4, 3.2))
