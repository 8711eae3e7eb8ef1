"""One pair: where x2 lies on x1, and whether that can be believed."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from adapt.align import gradients
from adapt.align.models import NEEDS, NONE, TOLERANCE, Choice, apply, choose, errors
from adapt.data import Sample
from adapt.data.images import as_rgb, read_image
from adapt.data.warp import resizing, warped
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

LONGEST = 640
"""Pixels of the longer side at which pairs are compared."""
PASSES = 2
"""How often x2 is compared: once the first pass has brought it nearer, more of it fits."""
SHARE, LEAST = 0.5, 6
"""Share and number of the held-out matches that must agree; of some 700 unrelated pairs none had
both (benchmarks/align.py)."""
RIVAL, DOMINANT = 5.0, 3.0
"""Height, in standard deviations, from which on a peak elsewhere is a second way in which the two
lie on each other, and how many times higher the first must be to count all the same."""

Matcher = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(x1, x2), uint8 (H, W, 3) RGB of one size -> (N, 4): x, y in x1 and x, y in x2 of what is the
same."""
Size = tuple[int, int]
"""(H, W) in pixels."""


@dataclass(frozen=True)
class Frame:
    """The size at which a pair is compared: x1's, the longer side at most LONGEST, say. x2 is
    stretched to it."""

    size: Size
    old: Size
    """Of the file x1."""
    new: Size

    def of_files(self, matrix: np.ndarray) -> np.ndarray:
        """A homography (3, 3) of this frame between pixels of the files, with h22 = 1."""
        found = resizing(self.size, self.new) @ matrix @ resizing(self.old, self.size)
        return found / found[2, 2]

    def of_x1(self, matrix: np.ndarray) -> np.ndarray:
        """The same in pixels of the file x1, were x2 of its size."""
        return resizing(self.size, self.old) @ matrix @ resizing(self.old, self.size)

    def here(self, matrix: np.ndarray) -> np.ndarray:
        """What `of_x1` gives, in this frame."""
        return resizing(self.old, self.size) @ matrix @ resizing(self.size, self.old)


@dataclass(frozen=True)
class Pair:
    """Two images, uint8 (H, W, 3), in the frame in which they are compared."""

    old: np.ndarray
    new: np.ndarray
    frame: Frame


@dataclass(frozen=True)
class Estimate:
    """Where x2 lies on x1, in the frame in which they are compared."""

    matrix: np.ndarray
    """(3, 3), from x1's pixels to x2's; the prior where it was not accepted."""
    accepted: bool
    kind: str
    """What was found beside the prior: none, shift, similarity, affine or homography."""
    score: float
    """Share of the held-out matches that agree."""
    why: str
    """Why it was not accepted; empty where it was."""
    matches: np.ndarray
    """(N, 4) those that agree."""


def read_pair(sample: Sample, config: DataConfig) -> Pair:
    """The images of a sample, of the bands and range that the configuration names."""
    if sample.x2 is None:
        raise InputError(f"{sample.name}: has no partner; give data.target, data.pairs or shards")
    return paired(
        read_image(sample.x1, *config.reading("x1")), read_image(sample.x2, *config.reading("x2"))
    )


def paired(x1: np.ndarray, x2: np.ndarray, longest: int = LONGEST) -> Pair:
    """Two images, (h, w, C) of any sizes, in the frame in which they are compared."""
    factor = min(1, longest / max(x1.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in x1.shape[:2])
    old, new = (
        cv2.resize(shown(image), (width, height), interpolation=cv2.INTER_AREA)
        if image.shape[:2] != (height, width)
        else shown(image)
        for image in (x1, x2)
    )
    return Pair(old, new, Frame((height, width), x1.shape[:2], x2.shape[:2]))


def shown(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) as uint8 (H, W, 3); of one with more than 8 bits what lies between its
    lowest and highest hundredth, as 16 bits of a thermal camera are mostly empty."""
    if image.dtype != np.uint8:
        low, high = np.percentile(image, (1, 99))
        image = ((image - low) * (255 / max(high - low, 1))).clip(0, 255).astype(np.uint8)
    return as_rgb(image)


def estimate(
    old: np.ndarray, new: np.ndarray, prior: np.ndarray, matcher: Matcher = gradients.match
) -> Estimate:
    """Compare two images, uint8 (H, W, 3) of one size, of which `prior` (3, 3) is thought to take
    pixels of the first near those of the second."""
    size, matrix, kind = (old.shape[0], old.shape[1]), prior, NONE
    for _ in range(PASSES):
        matches = matches_of(matcher, old, warped(new, matrix, size))
        found = choose(matches, size)
        agree = matches[errors(found.matrix, matches) < TOLERANCE]
        agree = np.hstack([agree[:, :2], apply(matrix, agree[:, 2:])])
        matrix = matrix @ found.matrix
        if found.kind == NONE:
            break
        kind = max(kind, found.kind, key=list(NEEDS).index)
    why = doubt(found, old, warped(new, matrix, size))
    return Estimate(prior if why else matrix, not why, kind, found.share, why, agree)


def matches_of(matcher: Matcher, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What the matcher finds, checked."""
    found = np.asarray(matcher(old, new), np.float64)
    if found.ndim != 2 or found.shape[1] != 4 or not np.isfinite(found).all():
        raise InputError(
            f"matcher: it returned an array {found.shape}; it must return finite numbers (N, 4): x "
            "and y in x1, x and y in x2"
        )
    return found


def doubt(found: Choice, old: np.ndarray, moved: np.ndarray) -> str:
    """What speaks against a model by which `moved` should lie on `old`; empty = nothing."""
    if found.count < LEAST:
        return f"fewer than {LEAST} places agree on where x2 lies"
    if found.share < SHARE:
        return f"less than {SHARE:.0%} of the places agree on where x2 lies"
    here, elsewhere = gradients.rivals(old, moved)
    if elsewhere > RIVAL and here < DOMINANT * elsewhere:
        return "another shift fits nearly as well, as where content is bent or lies in two depths"
    return ""


def shift_of(matrix: np.ndarray, size: Size) -> np.ndarray:
    """How far (x, y) a homography moves the middle of an image (H, W)."""
    middle = np.array([[(size[1] - 1) / 2, (size[0] - 1) / 2]])
    return (apply(matrix, middle) - middle)[0]


@dataclass(frozen=True)
class Compared:
    """A pair of files and what was found."""

    sample: Sample
    frame: Frame
    found: Estimate

    @property
    def files(self) -> np.ndarray:
        """(3, 3) the homography from pixels of the file x1 to those of the file x2."""
        return self.frame.of_files(self.found.matrix)

    @property
    def shift(self) -> np.ndarray:
        """(2,) how far x2 lies off x1 at the middle of the image, in x and y: pixels of the file
        x1, were x2 of its size."""
        return shift_of(self.frame.of_x1(self.found.matrix), self.frame.old)
