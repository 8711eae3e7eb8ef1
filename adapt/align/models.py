"""What moves points: nothing, a shift, an affine map or a homography, whichever held-out points ask
for.

A match is a row (x, y in x1, x, y in x2). Models are (3, 3) matrices from x1's pixels to x2's.
"""

from dataclasses import dataclass

import cv2
import numpy as np

TOLERANCE = 3.0
"""Pixels within which a point agrees with a model."""
FARTHEST = 2 * TOLERANCE
"""An error above counts as this one."""
GAIN, SLACK = 0.9, 0.05
"""Share of the held-out error of a simpler model that the next one must come below, and by how many
pixels."""
BLOCKS, FOLDS = (6, 8), 4
"""Blocks of an image (down, across), of which every fourth is held out in turn."""
CANDIDATES = 256
"""Matches that a shift is tried of."""

NONE, SHIFT, SIMILARITY, AFFINE, HOMOGRAPHY = "none", "shift", "similarity", "affine", "homography"
NEEDS = {
    NONE: (0, 0.0), SHIFT: (2, 0.0), SIMILARITY: (4, 0.1), AFFINE: (6, 0.25), HOMOGRAPHY: (8, 0.4),
}  # fmt: skip
"""Least matches that a model is fitted to, and least share of the image that they must span, as it
goes wrong where there are none: where none lay in the sky, a homography strayed by 30 px there."""


@dataclass(frozen=True)
class Choice:
    """The simplest model that held-out matches ask for, fitted to all."""

    kind: str
    matrix: np.ndarray
    share: float
    """Of the held-out matches, those within TOLERANCE of a fit to the others."""
    count: int
    """How many these are."""
    error: float
    """Mean distance of held-out matches from it, at most FARTHEST each."""


def moved_by(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where a model takes points (N, 2)."""
    if not len(points):
        return points
    return cv2.perspectiveTransform(points[None].astype(np.float64), matrix)[0]


def errors(matrix: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """How far matches (N, 4) lie from a model: (N,) pixels, at most FARTHEST."""
    apart = apply(matrix, matches[:, :2]) - matches[:, 2:]
    return np.minimum(np.hypot(*apart.T), FARTHEST)


def fit(kind: str, matches: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """The model that most matches (N, 4) of an image of `size` (H, W) agree with; None where they
    are too few, or too close together, to tell."""
    least, span = NEEDS[kind]
    if len(matches) < least:
        return None
    if kind == NONE:
        return np.eye(3)
    if kind == SHIFT:
        return consensus(matches)
    old, new = matches[:, :2].astype(np.float64), matches[:, 2:].astype(np.float64)
    if kind in (SIMILARITY, AFFINE):
        if kind == AFFINE:
            found, _ = cv2.estimateAffine2D(
                old, new, method=cv2.USAC_MAGSAC, ransacReprojThreshold=TOLERANCE
            )
        else:
            found, _ = cv2.estimateAffinePartial2D(old, new, ransacReprojThreshold=TOLERANCE)
        matrix = None if found is None else np.vstack([found, [0, 0, 1.0]])
    else:
        matrix, _ = cv2.findHomography(old, new, cv2.USAC_MAGSAC, TOLERANCE)
    if matrix is None or np.linalg.det(matrix) <= 0:
        return None
    spanned = old[errors(matrix, matches) < TOLERANCE].astype(np.float32)
    enough = len(spanned) >= least and cv2.contourArea(cv2.convexHull(spanned)) >= span * (
        size[0] * size[1]
    )
    return matrix if enough else None


def blocks_of(matches: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the block of the image in which each match lies: (N,), (N,)."""
    down, across = (
        (matches[:, axis] * count // side).astype(int).clip(0, count - 1)
        for axis, count, side in zip((1, 0), BLOCKS, size, strict=True)
    )
    return down, across


def consensus(matches: np.ndarray) -> np.ndarray:
    """The mean shift of those matches that agree with the one that most agree with."""
    shifts = matches[:, 2:] - matches[:, :2]
    tried = shifts[:: -(-len(shifts) // CANDIDATES)]
    near = np.hypot(*(tried[:, None] - shifts).transpose(2, 0, 1)) < TOLERANCE
    x, y = shifts[near[near.sum(1).argmax()]].mean(0)
    return moved_by(x, y)


def choose(matches: np.ndarray, size: tuple[int, int], folds: np.ndarray | None = None) -> Choice:
    """The simplest model, but for those after it whose held-out error is below GAIN of its own less
    SLACK.

    Held out are matches (N, 4) of one number in `folds` (N,) after the other; by default these are
    blocks of the image, a fourth of them at a time.
    """
    if folds is None:
        down, across = blocks_of(matches, size)
        folds = (2 * down + across) % FOLDS
    best = Choice(NONE, np.eye(3), 0.0, 0, FARTHEST)
    for kind in NEEDS:
        apart = np.full(len(matches), FARTHEST)
        for fold in np.unique(folds):
            matrix = fit(kind, matches[folds != fold], size)
            if matrix is not None:
                apart[folds == fold] = errors(matrix, matches[folds == fold])
        whole = fit(kind, matches, size)
        error = float(apart.mean()) if len(apart) else FARTHEST
        if whole is not None and error < GAIN * best.error - SLACK:
            agree = apart < TOLERANCE
            best = Choice(kind, whole, float(agree.mean()), int(agree.sum()), error)
    return best
