"""Paired augmentation (albumentations): one geometry for all, photometry for each side apart."""

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


def resize(arrays: dict[str, np.ndarray], size: list[int]) -> dict[str, np.ndarray]:
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


def geometry(config: DataConfig) -> list[A.BasicTransform]:
    """Scale, rotation, crop and mirroring, in this order; masks by nearest neighbour."""
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
    if config.crop:
        height, width = config.crop
        steps.append(A.RandomCrop(height, width, pad_if_needed=True, fill=FILL, fill_mask=IGNORE))
    if config.flip:
        steps.append(A.HorizontalFlip(p=0.5))
    return steps


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
        steps = geometry(config)
        self.geometry = A.Compose(steps, additional_targets=targets)
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
        if not self.mirrors:
            return 0
        self.geometry.set_random_seed(seed)
        left_right = np.array([[0, 255]], np.uint8)[..., None].repeat(3, axis=2)
        return int(self.geometry(image=left_right)["image"][0, 0, 0] > 0)

    def __call__(self, arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """`arrays` holds x1 and any of x2 (uint8 (H, W, 3)), y, valid (uint8 (H, W))."""
        shapes = {key: array.shape[:2] for key, array in arrays.items()}
        if len(set(shapes.values())) > 1:
            raise InputError(f"sizes of a sample differ: {shapes}")
        self.geometry.set_random_seed(seed)
        first, *_ = (key for key in IMAGES if key in arrays)
        given = {("image" if key == first else key): array for key, array in arrays.items()}
        result = self.geometry(**given)
        moved = {key: result["image" if key == first else key] for key in arrays}
        if "valid" in moved:
            moved["valid"] = (moved["valid"] == 1).astype(np.uint8)  # padding is not
        for side, (key, compose) in enumerate(self.photometry.items()):
            if key in moved and compose is not None:
                own = np.random.SeedSequence([seed, side]).generate_state(1)[0]
                compose.set_random_seed(int(own))
                moved[key] = compose(image=moved[key])["image"]
        return moved
