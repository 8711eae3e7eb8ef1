"""Paired augmentation: one geometry for all arrays of a sample, photometry for each side apart.

Crops and mirror images are windows and OpenCV's flip, a tenth of the time that they take as
transforms of albumentations, and draw what those draw; everything else is albumentations.
"""

from random import Random

import albumentations as A
import cv2
import numpy as np

from adapt.config import DataConfig
from adapt.errors import InputError
from adapt.images import IGNORE

IMAGES = ("x1", "x2")
MASKS = ("y", "valid")
FILL = 0
"""Value of pixels that no image covers; labels have IGNORE there, and they are not valid."""

Arrays = dict[str, np.ndarray]
"""x1, x2: uint8 (H, W, 3); y, valid: uint8 (H, W); all of one height and width."""


def resize(arrays: Arrays, size: list[int]) -> Arrays:
    """Bring all arrays to `size` (H, W), or their shorter side to [S]: images by area (shrinking)
    or linearly, masks by nearest neighbour, so that a label is never a mixture."""
    if not size:
        return arrays
    resized = {}
    for key, array in arrays.items():
        height, width = size if len(size) == 2 else shaped(array.shape[:2], size[0])
        shrinks = height * width < array.shape[0] * array.shape[1]
        smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        method = cv2.INTER_NEAREST_EXACT if key in MASKS else smooth
        resized[key] = cv2.resize(array, (width, height), interpolation=method)
    return resized


def shaped(shape: tuple[int, ...], shorter: int) -> tuple[int, int]:
    """(H, W) of the same shape, up to rounding, whose shorter side is given."""
    height, width = (round(side * shorter / min(shape)) for side in shape)
    return height, width


def turning(config: DataConfig) -> list[A.BasicTransform]:
    """Scale and rotation, in this order; masks by nearest neighbour."""
    steps: list[A.BasicTransform] = []
    if config.scale:
        low, high = config.scale
        steps.append(
            A.RandomScale(
                (low - 1, high - 1),  # factor - 1
                area_for_downscale="image",
                mask_interpolation=cv2.INTER_NEAREST_EXACT,  # the other shifts what it shrinks
                p=1,
            )
        )
    if config.rotate:
        border = {"border_mode": cv2.BORDER_CONSTANT, "fill": FILL, "fill_mask": IGNORE}
        steps.append(A.Rotate((-config.rotate, config.rotate), p=1, **border))
    return steps


def window(arrays: Arrays, size: list[int], seed: int) -> Arrays:
    """The same random window (H, W) of all arrays, as views; what is smaller is padded around."""
    height, width = next(iter(arrays.values())).shape[:2]
    down, across = max(size[0] - height, 0), max(size[1] - width, 0)
    if down or across:
        sides = (down // 2, down - down // 2, across // 2, across - across // 2)
        arrays = {
            key: cv2.copyMakeBorder(
                array, *sides, cv2.BORDER_CONSTANT, value=IGNORE if key == "y" else FILL
            )
            for key, array in arrays.items()
        }
    draw = Random(seed)
    top = int((height + down - size[0] + 1) * draw.random())
    left = int((width + across - size[1] + 1) * draw.random())
    return {k: a[top : top + size[0], left : left + size[1]] for k, a in arrays.items()}


def flips(seed: int) -> bool:
    """Does a seed mirror? Its first number says so, which is that of the window's row as well."""
    return Random(seed).random() < 0.5


def photometry(jitter: float, blur: float) -> A.Compose | None:
    """Colour and blur of one side; None = nothing."""
    steps: list[A.BasicTransform] = []
    if jitter:
        around = (1 - jitter, 1 + jitter)
        hue = (-jitter / 4, jitter / 4)
        steps.append(
            A.ColorJitter(brightness=around, contrast=around, saturation=around, hue=hue, p=1)
        )
    if blur:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0, blur), p=1))
    return A.Compose(steps) if steps else None


class PairedAugmentation:
    """The same geometry for every array of a sample, then each image's own photometry; all fixed
    by a seed.

    Photometry comes last, on the crop: it is cheaper there, and blur is in pixels as the network
    sees them.
    """

    def __init__(self, config: DataConfig) -> None:
        targets = {"x2": "image", "y": "mask", "valid": "mask"}
        steps = turning(config)
        self.turning = A.Compose(steps, additional_targets=targets) if steps else None
        self.crop, self.flip = config.crop, config.flip
        self.pads = bool(config.crop or config.scale or config.rotate)
        """Can a pixel of the result lie outside the image?"""
        moved = bool(config.crop or config.scale or config.rotate)
        changed = bool(config.jitter_x1 or config.blur_x1)
        self.mirrors = config.flip and not (moved or changed or config.views)
        self.views = config.views or (0 if moved or changed else 1 + self.mirrors)
        """How many different x1 an image has; 0 = without end."""
        self.photometry = {
            "x1": photometry(config.jitter_x1, config.blur_x1),
            "x2": photometry(config.jitter_x2, config.blur_x2),
        }

    def mirrored(self, seed: int) -> int:
        """1 where a seed mirrors, for augmentations that do nothing else; 0 where it does not."""
        return int(self.mirrors and flips(seed))

    def __call__(self, arrays: Arrays, seed: int) -> Arrays:
        """`arrays` holds x1 and any of x2, y, valid. What comes back may be a view of it."""
        shapes = {key: array.shape[:2] for key, array in arrays.items()}
        if len(set(shapes.values())) > 1:
            raise InputError(f"sizes of a sample differ: {shapes}")
        moved = dict(arrays) if self.turning is None else self.turned(arrays, seed)
        if self.crop:
            moved = window(moved, self.crop, seed)
        if self.flip and flips(seed):
            moved = {key: cv2.flip(array, 1) for key, array in moved.items()}
        for side, (key, compose) in enumerate(self.photometry.items()):
            if key in moved and compose is not None:
                own = np.random.SeedSequence([seed, side]).generate_state(1)[0]
                compose.set_random_seed(int(own))
                moved[key] = compose(image=moved[key])["image"]
        return moved

    def turned(self, arrays: Arrays, seed: int) -> Arrays:
        """Scaled and rotated by albumentations; what a rotation uncovers is not valid."""
        assert self.turning is not None
        self.turning.set_random_seed(seed)
        first, *_ = (key for key in IMAGES if key in arrays)
        given = {("image" if key == first else key): array for key, array in arrays.items()}
        result = self.turning(**given)
        moved = {key: result["image" if key == first else key] for key in arrays}
        if "valid" in moved:
            moved["valid"] = (moved["valid"] == 1).astype(np.uint8)
        return moved
