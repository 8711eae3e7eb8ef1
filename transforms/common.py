"""What the filters share: argument checks, sRGB <-> linear-light conversion, compiled loops."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

RGBImage = npt.NDArray[np.uint8]
Ranges = Mapping[str, tuple[float, float]]

# Compiled at the first call and kept on disk; no fast-math: every machine rounds alike. What
# is kept is made anew when its own file changes: compiled functions therefore call compiled ones,
# and use constants, of their own file only.
compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")


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


def plain(image: RGBImage) -> RGBImage:
    """Return `image` as a C-contiguous writable array, itself where it is one already.

    The compiled loops never write to it: they only know one kind of array.
    """
    return np.require(image, requirements=("C", "W"))


def check_real(name: str, value: Any, ranges: Ranges) -> float:
    """Return `value` as a float if it is a real number in the range of `name`, else ValueError."""
    low, high = ranges[name]
    # bool is a number to Python, but True is never meant as a radius; NaN fails the comparison.
    number = isinstance(value, int | float | np.integer | np.floating)
    if number and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")


def check_span(name: str, value: Any, ranges: Ranges) -> tuple[float, float]:
    """Return `value`, a number or the two ends of random ones, as ends in the range of `name`.

    Raises:
        ValueError: not a number or two, out of range, or the larger end first.
    """
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ValueError(f"{name} must be a number or two (from, to), got {value!r}")
    first, last = (check_real(name, end, ranges) for end in ends)
    if first > last:
        raise ValueError(f"{name} must go from the smaller to the larger number, got {value!r}")
    return first, last


def check_integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int if it is an integer in [low, high], else raise ValueError."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if integer and low <= value <= high:
        return int(value)
    raise ValueError(f"{name} must be an integer in [{low}, {high}], got {value!r}")


def check_flag(name: str, value: object) -> bool:
    """Return `value` as a bool if it is True or False, else raise ValueError."""
    if isinstance(value, bool | np.bool):
        return bool(value)
    raise ValueError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return `value` if it is one of the strings `choices`, else raise ValueError."""
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


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
