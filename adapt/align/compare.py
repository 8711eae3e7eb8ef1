"""Pairs of a data set compared, in several processes; how far they are off, for scan and adapt."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np

from adapt.align import gradients
from adapt.align.estimate import PASSES, Compared, Matcher, estimate, read_pair
from adapt.align.models import NONE
from adapt.align.rig import Rig, middle_of, rig_of
from adapt.data import Sample
from adapt.machine.runtime import progress
from adapt.machine.workers import spread
from adapt.networks.factory import imported, permit

T = TypeVar("T")

BARE = Rig(NONE, np.eye(3), (1, 1))
"""No rig is known."""


@cache
def matcher_of(name: str) -> Matcher:
    """The function `module:function` of a user's, whom this process has it from, not from a file;
    empty = ours."""
    permit(name)
    return imported(name, "matcher") if name else gradients.match


def compare(sample: Sample, rig: Rig, matcher: str) -> Compared:
    """Read a pair and estimate where x2 lies on x1, from where the rig puts it."""
    pair = read_pair(sample)
    prior = pair.frame.here(rig.matrix)
    return Compared(sample, pair.frame, estimate(pair.old, pair.new, prior, matcher_of(matcher)))


def in_processes(
    work: Callable[[Any], T], jobs: Sequence[Any], matcher: str, workers: int, what: str
) -> Iterator[T]:
    """Results of `work` in the order of the jobs; 0 workers = one for each core. A user's matcher,
    which may be a network on a GPU, stays in this process."""
    workers = 1 if matcher else min(workers or os.cpu_count() or 1, len(jobs))
    here = nullcontext(map(work, jobs))
    with here if workers <= 1 else spread(work, jobs, workers, 4, what) as found:
        yield from progress(found, what=what, total=len(jobs))


def compared(
    samples: Sequence[Sample], rig: Rig, matcher: str, workers: int, what: str
) -> Iterator[Compared]:
    """`compare` of all samples in their order."""
    work = partial(compare, rig=rig, matcher=matcher)
    return in_processes(work, samples, matcher, workers, what)


def measured(
    samples: Sequence[Sample], matcher: str = "", workers: int = 1
) -> tuple[Rig, list[Compared]]:
    """The rig of some pairs, and these as compared from where it puts them."""
    rig = BARE
    for _ in range(PASSES):
        found = list(compared(samples, rig, matcher, workers, "rig"))
        rig = rig_of(found)
        if rig.kind == NONE:
            break
    return rig, found


@dataclass(frozen=True)
class Misalignment:
    """How far x2 lies off x1 in a sample of pairs."""

    pairs: int
    """Compared."""
    accepted: int
    """Those of which it can be told."""
    shift: tuple[float, float]
    """Median over these, at the middle of the image, in x and y: pixels of x1's file."""
    deviation: float
    """Around it, from pair to pair: 1.4826 median absolute deviations in the same pixels, the
    larger one of x and y."""

    @property
    def offset(self) -> float:
        """Length of the median shift."""
        return float(np.hypot(*self.shift))

    @property
    def line(self) -> str:
        if not self.accepted:
            return f"misalignment: cannot be told of any of {self.pairs} pairs"
        x, y = self.shift
        return (
            f"misalignment: x2 lies ({x:+.1f}, {y:+.1f}) px off x1 in the median of "
            f"{self.accepted} of {self.pairs} pairs, ± {self.deviation:.1f} px from pair to pair"
        )


def misalignment(samples: Sequence[Sample], count: int = 16, workers: int = 1) -> Misalignment:
    """Measure at most `count` evenly spaced pairs, about 0.2 s each; files as they stand, whatever
    transforms the samples have.

    Raises:
        InputError: a sample without partner, or an image that cannot be read.
    """
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    found = list(compared([samples[i] for i in places], BARE, "", workers, "misalignment"))
    shifts = [c.shift for c in found if c.found.accepted]
    median, deviation = middle_of(np.array(shifts)) if shifts else (np.zeros(2), 0.0)
    x, y = map(float, median)
    return Misalignment(len(found), len(shifts), (x, y), deviation)
