"""Paired augmentation: one geometry for x1, x2, label and valid mask (albumentations)."""

import albumentations as A
import cv2
import numpy as np

from adapt.config import DataConfig
from adapt.errors import InputError
from adapt.images import IGNORE

IMAGES = ("x1", "x2")
MASKS = ("y", "valid")


def resize(arrays: dict[str, np.ndarray], size: list[int]) -> dict[str, np.ndarray]:
    """Bring all arrays to `size` (H, W): images by area (shrinking) or linearly, masks by nearest
    neighbour, so that a label is never a mixture."""
    if not size:
        return arrays
    height, width = size
    resized = {}
    for key, array in arrays.items():
        shrinks = height * width < array.shape[0] * array.shape[1]
        smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        method = cv2.INTER_NEAREST_EXACT if key in MASKS else smooth
        resized[key] = cv2.resize(array, (width, height), interpolation=method)
    return resized


class PairedAugmentation:
    """Random crop and mirroring, the same for every array of a sample and fixed by its seed."""

    def __init__(self, config: DataConfig) -> None:
        steps: list[A.BasicTransform] = []
        if config.crop:
            height, width = config.crop
            steps.append(A.RandomCrop(height, width, pad_if_needed=True, fill=0, fill_mask=IGNORE))
        if config.flip:
            steps.append(A.HorizontalFlip(p=0.5))
        targets = {"x2": "image", "y": "mask", "valid": "mask"}
        self.compose = A.Compose(steps, additional_targets=targets)

    def __call__(self, arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """`arrays` holds x1 and any of x2 (uint8 (H, W, 3)), y, valid (uint8 (H, W))."""
        shapes = {key: array.shape[:2] for key, array in arrays.items()}
        if len(set(shapes.values())) > 1:
            raise InputError(f"sizes of a sample differ: {shapes}")
        self.compose.set_random_seed(seed)
        first, *_ = (key for key in IMAGES if key in arrays)
        given = {("image" if key == first else key): array for key, array in arrays.items()}
        result = self.compose(**given)
        cropped = {key: result["image" if key == first else key] for key in arrays}
        if "valid" in cropped:
            cropped["valid"] = (cropped["valid"] == 1).astype(np.uint8)  # padding is not
        return cropped
