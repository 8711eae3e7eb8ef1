"""How many labelled images pairs are worth: where B2's score over its labels is the method's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from results.page.rates import at_best
from results.page.records import GRID, SHARED, SHIFTS, Evidence, mean, shown
from results.page.words import plain_label

STUDY = "camvid_evidence_labels"
"""Has B2 with shares of the labels and with all, at the rate that its labels choose."""
METHODS = ("pool5", "w_inc_kd")
SHARES = ("B2_share_0.05", "B2_share_0.1", "B2_share_0.25", "B2_share_0.5", "B2")


@dataclass(frozen=True)
class Worth:
    """Of one method on one shift: B2's scores at numbers of labels, and what the method has."""

    shift: str
    method: str
    points: Sequence[tuple[int, Mapping[int, float]]]
    """(labelled images, seed -> B2's mIoU), fewest labels first."""
    scores: Mapping[int, float]

    def sentence(self) -> str:
        method, one = plain_label(self.method), len(self.scores) == 1
        points = [(n, mean(v)) for n, v in self.points]
        score, (most, best) = mean(self.scores), points[-1]
        images = equal_to(score, points)
        ahead = f"; with all {most}, B2 has {best:.1f}" if score >= best else ""
        return (
            f"{self.shift}: {most} unlabelled pairs with {method} "
            f"({shown(self.scores)} mIoU{', one seed' * one}) are worth {images} labelled images"
            f"{ahead}."
        )


def equal_to(score: float, points: Sequence[tuple[int, float]]) -> str:
    """The number of labels at which B2 has `score`, on the straight line between the measured
    numbers that enclose the first crossing; outside them only a bound can be told.

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


def of_methods(found: Evidence) -> list[Worth]:
    """Of METHODS at their chosen rates, on every shift."""
    return worths(found, list(at_best(found, METHODS).values()), SHIFTS)


def worths(found: Evidence, methods: Sequence[str], shifts: Sequence[str]) -> list[Worth]:
    """For each shift and method with the seeds that all of them have; none where B2 was trained
    with fewer than two numbers of labels."""
    made = []
    for shift in shifts:
        there = {name: found.find(STUDY, name, shift) for name in SHARES}
        there = {name: scores for name, scores in there.items() if scores}
        for method in methods:
            scores = found.values(GRID[SHARED], method, shift)
            seeds = set(scores).intersection(*there.values())
            if len(there) < 2 or "B2" not in there or not seeds:
                continue
            points = []
            for by_seed in there.values():
                samples = next(iter(by_seed.values())).run["samples"]
                values = {s: by_seed[s].numbers["miou"] for s in sorted(seeds)}
                points.append((samples, values))
            made.append(Worth(shift, method, points, {s: scores[s] for s in sorted(seeds)}))
    return made
