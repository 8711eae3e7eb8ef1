"""Pairs of a data set compared, in several processes."""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import TypeVar

import numpy as np

from adapt.align import gradients
from adapt.align.estimate import PASSES, Compared, Matcher, estimate, read_pair
from adapt.align.models import NONE
from adapt.align.rig import Rig, rig_of
from adapt.data import Sample
from adapt.machine.workers import in_processes
from adapt.networks.factory import imported, permit
from adapt.settings.groups import DataConfig

T = TypeVar("T")

BARE = Rig(NONE, np.eye(3), (1, 1))
"""No rig is known."""


@cache
def matcher_of(name: str) -> Matcher:
    """The function `module:function` of a user's, whom this process has it from, not from a file;
    empty = ours."""
    permit(name)
    return imported(name, "matcher") if name else gradients.match


def compare(sample: Sample, config: DataConfig, rig: Rig, matcher: str) -> Compared:
    """Read a pair and estimate where x2 lies on x1, from where the rig puts it."""
    pair = read_pair(sample, config)
    prior = pair.frame.here(rig.matrix)
    return Compared(sample, pair.frame, estimate(pair.old, pair.new, prior, matcher_of(matcher)))


def workers_for(matcher: str, workers: int) -> int:
    """One for a user's matcher, which may be a network on a GPU and stays in this process."""
    return 1 if matcher else workers


def compared(
    samples: Sequence[Sample], config: DataConfig, rig: Rig, matcher: str, workers: int, what: str
) -> Iterator[Compared]:
    """`compare` of all samples in their order."""
    work = partial(compare, config=config, rig=rig, matcher=matcher)
    return in_processes(work, samples, workers_for(matcher, workers), what)


def measured(samples: Sequence[Sample], config: DataConfig, matcher: str, workers: int) -> Rig:
    """The rig of some pairs."""
    rig = BARE
    for _ in range(PASSES):
        rig = rig_of(list(compared(samples, config, rig, matcher, workers, "rig")))
        if rig.kind == NONE:
            break
    return rig
