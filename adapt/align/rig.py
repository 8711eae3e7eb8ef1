"""What all pairs of a set have in common: the rig, two cameras that are fixed to each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapt.align.estimate import Compared, Size
from adapt.align.models import BLOCKS, NONE, apply, blocks_of, choose
from adapt.data.warp import resizing

FEWEST = 4
"""Accepted pairs that a rig is told from."""
UNSURE = 1.5
"""Standard error in pixels of the median shift from which on the pairs have no rig in common."""
SIGMA = 1.4826
"""Standard deviations of a normal distribution in a median absolute deviation."""

XY1, XY2 = slice(0, 2), slice(2, 4)
"""Of a match: where it lies in x1 and in x2."""


@dataclass(frozen=True)
class Rig:
    """One transform for all pairs, by held-out pairs no more than they ask for."""

    kind: str
    """none, shift, similarity, affine or homography."""
    matrix: np.ndarray
    """(3, 3), in pixels of the file x1, were x2 of its size."""
    size: Size
    """(H, W) that most files x1 have."""


def middle_of(shifts: np.ndarray) -> tuple[np.ndarray, float]:
    """The median (2,) of shifts (N, 2), and how far they lie around it: 1.4826 median absolute
    deviations, the larger of x and y."""
    median = np.median(shifts, axis=0)
    return median, float(SIGMA * np.median(np.abs(shifts - median), axis=0).max())


def rig_of(pairs: Sequence[Compared]) -> Rig:
    """The rig of some pairs: the simplest model of the median shifts of blocks of the image, by
    every other pair of which is tried what fits the others; none where the pairs have nothing in
    common."""
    frames = [pair.frame for pair in pairs]
    common = max(frames, key=frames.count)
    found = [pair for pair in pairs if pair.found.accepted]
    bare = Rig(NONE, np.eye(3), common.old)
    if len(found) < FEWEST:
        return bare
    _, deviation = middle_of(np.array([pair.shift for pair in found]))
    if 1.25 * deviation / np.sqrt(len(found)) > UNSURE * common.old[0] / common.size[0]:
        return bare
    matches = []
    for pair in found:
        move = resizing(common.old, common.size) @ resizing(pair.frame.size, pair.frame.old)
        matches.append(np.hstack([apply(move, pair.found.matches[:, s]) for s in (XY1, XY2)]))
    halves = [medians(np.vstack(matches[half::2]), common.size) for half in (0, 1)]
    folds = np.repeat([0, 1], [len(half) for half in halves])
    best = choose(np.vstack(halves), common.size, folds)
    return Rig(best.kind, common.of_x1(best.matrix), common.old)


def medians(matches: np.ndarray, size: Size) -> np.ndarray:
    """The mean place and the median shift of the matches (N, 4) in each block of an image: (blocks,
    4), without those that have none."""
    down, across = blocks_of(matches, size)
    block, found = down * BLOCKS[1] + across, []
    for number in np.unique(block):
        inside = matches[block == number]
        place = inside[:, XY1].mean(0)
        shift = np.median(inside[:, XY2] - inside[:, XY1], axis=0)
        found.append([*place, *(place + shift)])
    return np.array(found)
