"""How far an alignment can be trusted: the pairs' own images are moved by known shifts, which must
be found again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from adapt.align.compare import matcher_of, workers_for
from adapt.align.estimate import Compared, estimate, read_pair
from adapt.align.models import TOLERANCE, apply, moved_by
from adapt.align.rig import Rig
from adapt.data.sampling import image_seed
from adapt.machine.workers import in_processes
from adapt.settings.groups import DataConfig

SHIFTS = (4, 8, 16, 32, 48)
"""Pixels, at the size at which pairs are compared."""
SMALLEST = 6
"""Times a shift that the shorter side must be long: the margin around it is cut off."""


@dataclass(frozen=True)
class Planted:
    """What became of the planted shifts of one length."""

    length: int
    pairs: int
    found: int
    """Accepted and within TOLERANCE of where the pair was found before."""
    elsewhere: int
    """Accepted and further off: what would have been silently wrong."""


def plant(
    old: np.ndarray, new: np.ndarray, shift: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Two images (H, W, 3) without a margin around them, x2's content `shift` (x, y) further left
    and up than it was, and the width of the margin."""
    x, y = shift
    margin = max(abs(x), abs(y))
    height, width = old.shape[:2]
    rows, columns = slice(margin, height - margin), slice(margin, width - margin)
    moved = np.roll(new, (-y, -x), axis=(0, 1))
    inner, other = (np.ascontiguousarray(image[rows, columns]) for image in (old, moved))
    return inner, other, margin


def replant(
    before: Compared, config: DataConfig, rig: Rig, matcher: str
) -> list[tuple[int, bool, bool]]:
    """Of a pair, for each length: itself, whether the shift, in a direction drawn by the pair's
    name, was accepted, and whether it was right."""
    pair = read_pair(before.sample, config)
    prior = pair.frame.here(rig.matrix)
    outcomes = []
    for length in SHIFTS:
        if min(pair.frame.size) < SMALLEST * length:
            continue
        angle = 2 * np.pi * image_seed(length, before.sample.name) / 2**32
        shift = round(length * np.cos(angle)), round(length * np.sin(angle))
        old, new, margin = plant(pair.old, pair.new, shift)
        around, back = moved_by(margin, margin), moved_by(-margin, -margin)
        found = estimate(old, new, back @ prior @ around, matcher_of(matcher))
        truth = moved_by(-shift[0], -shift[1]) @ back @ before.found.matrix @ around
        outcomes.append((length, found.accepted, apart(found.matrix, truth, old.shape) < TOLERANCE))
    return outcomes


def apart(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Mean distance in pixels between where two homographies take a grid of points of an image."""
    rows, columns = np.linspace(0, shape[0] - 1, 7), np.linspace(0, shape[1] - 1, 9)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    return float(np.hypot(*(apply(a, grid) - apply(b, grid)).T).mean())


def planted(
    pairs: Sequence[Compared], config: DataConfig, rig: Rig, matcher: str, workers: int
) -> list[Planted]:
    """Plant shifts in pairs that were compared, one of each length."""
    work = partial(replant, config=config, rig=rig, matcher=matcher)
    found = in_processes(work, pairs, workers_for(matcher, workers), "planted shifts")
    every = [outcome for outcomes in found for outcome in outcomes]
    return [
        Planted(
            length,
            sum(size == length for size, _, _ in every),
            sum(size == length and accepted and right for size, accepted, right in every),
            sum(size == length and accepted and not right for size, accepted, right in every),
        )
        for length in dict.fromkeys(size for size, _, _ in every)
    ]
