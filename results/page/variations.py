"""Cells of a study with one thing changed, in this order: the learning rate (chosen on `tune` by
label-free agreement, but B2's by its labels), the number of steps, the precision or the draws, and
the number of labels."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

from results.page.records import (
    AGAIN,
    GRID,
    SEEDS,
    SHARED,
    SHIFTS,
    TUNE,
    Evidence,
    Values,
    differences,
    mean,
    over_seeds,
    percent,
    table,
    with_minus,
)
from results.page.words import label_of, plain_label

LR = "_lr_"
TUNED = "B2"
"""What has labels to choose its rate by."""
LONG = "camvid_evidence_long"
"""Has cells with as many steps as the teacher and B1 have."""
LONGER = ("pool5", "w_inc_kd", "B2")
SCRATCH = "B1"
LABELS = "camvid_evidence_labels"
"""Has B2 with shares of the labels and with all, at the rate that its labels choose."""
WORTH = ("pool5", "w_inc_kd")
SHARES = ("B2_share_0.05", "B2_share_0.1", "B2_share_0.25", "B2_share_0.5", "B2")


def shifts_of(found: Evidence, study: str) -> Sequence[str]:
    """The shifts of a study; of the grid those that all of it was run on."""
    if study in GRID.values():
        return SHIFTS
    there = dict.fromkeys(s.shift for s in found.scores if s.study == study and s.shift)
    return [*(s for s in SHIFTS if s in there), *(s for s in there if s not in SHIFTS)]


def at_rates(found: Evidence, study: str = GRID[SHARED]) -> dict[str, dict[str, dict[str, float]]]:
    """Objective or B2 -> run at one of its rates -> shift -> score on `tune` of the first seed, for
    those that were run at several."""
    names = found.names(study)
    stems = dict.fromkeys(n.partition(LR)[0] for n in names if LR in n)
    return {
        stem: {
            n: on_tune(found, study, n) for n in names if n == stem or n.startswith(f"{stem}{LR}")
        }
        for stem in stems
    }


def on_tune(found: Evidence, study: str, name: str) -> dict[str, float]:
    """Agreement, or mIoU of what has labels."""
    key = "miou" if name.startswith(TUNED) else "agreement"
    scores = {s: found.values(study, name, s, key, split=TUNE) for s in shifts_of(found, study)}
    return {shift: values[SEEDS[0]] for shift, values in scores.items() if SEEDS[0] in values}


def chosen(found: Evidence, study: str = GRID[SHARED]) -> dict[str, str]:
    """Objective -> its run of the highest mean agreement over the shifts; none before all rates of
    it have been scored on all shifts."""
    count = len(shifts_of(found, study))
    return {
        stem: max(runs, key=lambda name: mean(runs[name]))
        for stem, runs in at_rates(found, study).items()
        if all(len(scores) == count for scores in runs.values())
    }


def at_best(found: Evidence, names: Iterable[str], study: str = GRID[SHARED]) -> dict[str, str]:
    """Name -> its run at the rate that the study chose; itself where nothing was chosen."""
    best = chosen(found, study)
    return {name: best.get(name, name) for name in names}


def rejected(found: Evidence) -> set[str]:
    """Runs at a rate that was not chosen."""
    best = chosen(found)
    return {n for stem, runs in at_rates(found).items() for n in runs if best.get(stem, n) != n}


def rates(found: Evidence) -> str:
    """What each learning rate gives, and which one agreement on `tune` chooses."""
    rows, best = [], chosen(found)
    for stem, runs in at_rates(found).items():
        for name, scores in runs.items():
            tune = [f"{scores[s]:.1f}" if s in scores else "-" for s in SHIFTS]
            mark = "chosen" if best.get(stem) == name else ""
            val = [percent(v) for v in found.by_shift(GRID[SHARED], name)]
            rows.append([label_of(stem), f"{rate_of(found, name):g}", *tune, mark, *val])
    heads = ("", "rate", *(f"{s}: tune" for s in SHIFTS), "", *(f"{s}: mIoU" for s in SHIFTS))
    return table(heads, rows)


def rate_of(found: Evidence, name: str) -> float:
    """The learning rate of a run of the shared grid; 0 = no such run."""
    return next((float(run["lr"]) for run in found.runs(GRID[SHARED]) if run["name"] == name), 0.0)


def longer_sentence(found: Evidence) -> str:
    """The scores of more steps, with B1's, for the README's front; `` before all were run."""
    more = {name: found.by_shift(LONG, name) for name in at_best(found, LONGER).values()}
    seeds = set[int].intersection(*(set(v) for values in more.values() for v in values))
    if not seeds:
        return ""
    more[SCRATCH] = found.by_shift(GRID[SHARED], SCRATCH)
    scores = [
        f"{plain_label(name).partition(':')[0]} " + " / ".join(of_seeds(seeds, v) for v in values)
        for name, values in more.items()
    ]
    count = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    steps = [f"{steps_of(found, study):,}" for study in (LONG, GRID[SHARED])]
    return (
        f"With {steps[0]} steps instead of {steps[1]}, as many as B1 has ({' / '.join(SHIFTS)}, "
        f"{count}): {'; '.join(scores)}."
    )


def of_seeds(seeds: AbstractSet[int], scores: Values) -> str:
    return percent({seed: score for seed, score in scores.items() if seed in seeds})


def steps_of(found: Evidence, study: str) -> int:
    """How many steps what adapts has in a study: the fewest, since B1 may have more."""
    return min(int(run["steps"]) for run in found.runs(study) if run["shift"])


PRECISION = ("camvid_evidence_fp32", "fp32", "bf16")
DRAWS = (AGAIN[GRID[SHARED]], "apart", "one number")
"""A study that repeats cells of the grid, and what the two are called."""


def repeated(found: Evidence, repeat: tuple[str, str, str]) -> str:
    """mIoU of both and the difference within a seed, of every cell that was trained in both."""
    found, rows, (study, changed, before) = found.as_recorded(), [], repeat
    for shift in SHIFTS:
        for method in found.names(study):
            again = found.values(study, method, shift)
            grid = found.values(GRID[SHARED], method, shift)
            if gaps := differences(grid, again):
                both = ({seed: one[seed] for seed in gaps} for one in (again, grid))
                each = (mean(gaps), max(gaps.values(), key=abs))
                rows.append([
                    f"{shift}, {plain_label(method)}",
                    *map(over_seeds, both), *(with_minus(f"{x:+.2f}") for x in each),
                ])  # fmt: skip
    heads = ("", changed, before, f"{before} minus {changed}, mean", "largest of a seed")
    return table(heads, rows)


@dataclass(frozen=True)
class Worth:
    """Of one method on one shift: B2's scores at numbers of labels, and what the method has."""

    shift: str
    method: str
    points: Sequence[tuple[int, Values]]
    """(labelled images, B2's mIoU), fewest labels first."""
    scores: Values

    def sentence(self) -> str:
        method, one = plain_label(self.method), len(self.scores) == 1
        points = [(n, mean(v)) for n, v in self.points]
        score, (most, best) = mean(self.scores), points[-1]
        ahead = f"; with all {most}, B2 has {best:.1f}" if score >= best else ""
        return (
            f"{self.shift}: {most} unlabelled pairs with {method} "
            f"({percent(self.scores)} mIoU{', one seed' * one}) are worth "
            f"{equal_to(score, points)} labelled images{ahead}."
        )


def equal_to(score: float, points: Sequence[tuple[int, float]]) -> str:
    """The number of labels at which B2 has `score`, on the straight line between the measured
    numbers that enclose the first crossing; outside them there is only a bound.

    Args:
        score: the method's.
        points: (labels, B2's score), fewest labels first.
    """
    first, last = points[0], points[-1]
    if score < first[1]:
        return f"fewer than {first[0]}"
    for (low, a), (high, b) in pairwise(points):
        if a <= score < b:
            return f"about {low + (high - low) * (score - a) / (b - a):.0f}"
    return f"at least {last[0]} (all of them)"


def worths(found: Evidence) -> list[Worth]:
    """Of WORTH at their chosen rates on every shift, with the seeds that all of them have; none
    where B2 was trained with fewer than two numbers of labels."""
    made = []
    for shift in SHIFTS:
        there = [s for name in SHARES if (s := found.find(LABELS, name, shift))]
        for method in at_best(found, WORTH).values():
            scores = found.values(GRID[SHARED], method, shift)
            seeds = sorted(set(scores).intersection(*there))
            if len(there) < 2 or not found.find(LABELS, SHARES[-1], shift) or not seeds:
                continue
            points = [
                (
                    next(iter(by_seed.values())).run["samples"],
                    {s: by_seed[s].numbers["miou"] for s in seeds},
                )
                for by_seed in there
            ]
            made.append(Worth(shift, method, points, {s: scores[s] for s in seeds}))
    return made
