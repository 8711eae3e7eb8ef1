"""What the filters share: image checks and the conversion between sRGB and linear light."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.parameters import check_integer

RGBImage = npt.NDArray[np.uint8]


def check_image(image: object) -> RGBImage:
    """Return `image` if it is a non-empty uint8 (H, W, 3) array, else raise ValueError."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image must be a uint8 array (H, W, 3), got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            "image must be a uint8 array (H, W, 3) with H, W >= 1, "
            f"got {image.dtype} of shape {image.shape}"
        )
    return image


def check_size(size: object) -> tuple[int, int]:
    """Return `size` as height and width if it is two integers >= 1, else raise ValueError."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size must be two integers (H, W) >= 1, got {size!r}")
    height, width = (check_integer(f"size[{i}]", side, 1, 2**31 - 1) for i, side in enumerate(size))
    return height, width


def linear_from_srgb(value: float) -> float:
    """Return the linear light (0..1) of an sRGB value (0..1), IEC 61966-2-1."""
    return value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)


def _srgb8_table() -> RGBImage:
    """Return the 8-bit sRGB value of each linear light i / STEPS, i = 0..STEPS."""
    middles = [math.ceil(STEPS * linear_from_srgb((i + 0.5) / 255)) for i in range(255)]
    return np.repeat(np.arange(256, dtype=np.uint8), np.diff([0, *middles, STEPS + 1]))


# Linear light of each 8-bit sRGB value.
LINEAR = np.array([linear_from_srgb(i / 255) for i in range(256)])
# Where sRGB is steepest, half a step is 0.006 of an 8-bit level: nearly as good as the exact curve.
STEPS = (1 << 18) - 1
SRGB8 = _srgb8_table()
