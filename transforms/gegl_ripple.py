"""Ripple filter: GEGL 0.4.42 behaviour of `gegl:ripple`."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from transforms.common import (
    LINEAR,
    RGBImage,
    check_choice,
    check_flag,
    check_image,
    check_real,
    encode,
)

_Float = npt.NDArray[np.float64]
_Index = npt.NDArray[np.intp]
_Weight = npt.NDArray[np.float32]
_Kernel = Callable[[_Weight], Sequence[_Weight]]

_WAVES = ("sine", "triangle", "sawtooth")
_ABYSSES = ("clamp", "loop", "black", "white", "none")
_SHORTEST_PERIOD = 0.0001


def ripple(
    image: RGBImage,
    *,
    amplitude: float = 25.0,
    period: float = 200.0,
    phi: float = 0.0,
    angle: float = 0.0,
    sampler_type: str = "cubic",
    wave_type: str = "sine",
    abyss_policy: str = "clamp",
    tileable: bool = False,
) -> RGBImage:
    """Return `image` with its pixels displaced by a plane wave, resampled in linear light.

    Equals GEGL 0.4.42 `gegl:ripple` to one 8-bit level, including its half-pixel quirk: without
    any displacement "linear" and "cubic" still sample half a pixel up and to the left.

    Args:
        image: uint8 RGB, shape (H, W, 3), any memory layout; not modified.
        amplitude: largest displacement in pixels, 0..1000.
        period: wave length in pixels, 0..1000; below 0.0001 nothing is displaced.
        phi: phase in wave lengths, -1..1.
        angle: degrees, -180..180; 0 displaces vertically along x, 90 horizontally along y.
        sampler_type: "nearest", "linear" or "cubic".
        wave_type: "sine", "triangle" or "sawtooth".
        abyss_policy: what lies outside the image: its edge pixels ("clamp"), the image again
            ("loop"), "black" or "white"; "none" is the same as "black" here.
        tileable: adjust angle and period so that the wave fits the image a whole number of times.

    Returns:
        New C-contiguous uint8 array (H, W, 3).

    Raises:
        ValueError: wrong kind of array, or a parameter of wrong type, unknown or out of range.
    """
    image = check_image(image)
    amplitude = check_real("amplitude", amplitude, 0, 1000)
    period = check_real("period", period, 0, 1000)
    phi = check_real("phi", phi, -1, 1)
    radians = math.radians(check_real("angle", angle, -180, 180))
    check_choice("sampler_type", sampler_type, _SAMPLERS)
    check_choice("wave_type", wave_type, _WAVES)
    check_choice("abyss_policy", abyss_policy, _ABYSSES)
    tileable = check_flag("tileable", tileable)

    height, width = image.shape[:2]
    if period < _SHORTEST_PERIOD:
        amplitude, period = 0.0, 1.0
    elif tileable:
        amplitude, period, radians = _fit(amplitude, period, radians, width, height)
    # Rounding makes right angles exact: otherwise "nearest" would step over a pixel border.
    cos, sin = round(math.cos(radians), 15), round(math.sin(radians), 15)
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    shift = amplitude * _wave(x * cos - y * sin, period, phi, wave_type)
    return _sample(image, x + shift * sin, y + shift * cos, sampler_type, abyss_policy)


def _fit(
    amplitude: float, period: float, radians: float, width: int, height: int
) -> tuple[float, float, float]:
    """Return amplitude, period and angle of the nearest wave that repeats with the image."""
    across = _round_half_away(width * math.cos(radians) / period)
    down = _round_half_away(height * math.sin(radians) / period)
    if across == 0 and down == 0:
        across, amplitude = 1, 0.0
    period = height * width / math.hypot(across * height, down * width)
    return amplitude, period, math.atan2(down * width, across * height)


def _round_half_away(value: float) -> int:
    return math.trunc(value + math.copysign(0.5, value))


def _wave(distance: _Float, period: float, phi: float, wave_type: str) -> _Float:
    """Return the wave, -1..1, at `distance` pixels along its direction."""
    if wave_type == "sine":
        return np.sin(2 * math.pi * (distance / period + phi))
    if wave_type == "triangle":
        return np.abs(4 / period * np.mod(distance + (0.75 - phi) * period, period) - 2) - 1
    return 2 / period * np.mod(distance + (0.5 - phi) * period, period) - 1


def _sample(
    image: RGBImage, x: _Float, y: _Float, sampler_type: str, abyss_policy: str
) -> RGBImage:
    """Return `image` at positions `x`, `y` (H, W), pixel centres being at index + 0.5."""
    if abyss_policy in ("black", "white", "none"):
        # A border of that colour, repeated outwards, is what "clamp" does anyway.
        colour = 255 if abyss_policy == "white" else 0
        image = np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=colour)
        x, y = x + 1, y + 1
    height, width = image.shape[:2]
    kernel, taps = _SAMPLERS[sampler_type]
    columns, column_weights = _taps(x, width, kernel, taps, abyss_policy)
    rows, row_weights = _taps(y, height, kernel, taps, abyss_policy)

    planes = LINEAR.astype(np.float32).take(image.transpose(2, 0, 1)).reshape(3, -1)
    total = np.zeros((3, *x.shape), dtype=np.float32)
    for row, row_weight in zip(rows, row_weights, strict=True):
        line = np.zeros_like(total)
        for column, column_weight in zip(columns, column_weights, strict=True):
            line += column_weight * planes.take(row * width + column, axis=1, mode="clip")
        line *= row_weight
        total += line
    return encode(total.transpose(1, 2, 0))


def _taps(
    position: _Float, size: int, kernel: _Kernel, taps: int, abyss_policy: str
) -> tuple[list[_Index], list[_Weight]]:
    """Return the pixel indices (0..size-1) and weights of the `taps` samples along one axis."""
    # Index of the pixel centre at or before the position; nearest has one tap and no fraction.
    corner = position if taps == 1 else position - 0.5
    floor = np.floor(corner)
    first = floor.astype(np.intp) - (taps - 1) // 2
    indices = [first + k for k in range(taps)]
    if abyss_policy == "loop":
        indices = [index % size for index in indices]
    else:
        indices = [index.clip(0, size - 1) for index in indices]
    return indices, list(kernel((corner - floor).astype(np.float32)))


def _nearest(t: _Weight) -> Sequence[_Weight]:
    return [np.ones_like(t)]


def _linear(t: _Weight) -> Sequence[_Weight]:
    return [1 - t, t]


def _cubic(t: _Weight) -> Sequence[_Weight]:
    """Return the weights of the BC-spline with B = 1/2, C = 1/4 (Mitchell & Netravali 1988).

    It is the mean of the cubic B-spline and the Catmull-Rom spline.
    """
    t2, t3 = t * t, t * t * t
    before = (1 - 6 * t + 9 * t2 - 4 * t3) / 12
    after = (-3 * t2 + 4 * t3) / 12
    here = (10 - 21 * t2 + 12 * t3) / 12
    return [before, here, 1 - before - here - after, after]


# Name -> the weights at a fraction in [0, 1), and how many there are.
_SAMPLERS: dict[str, tuple[_Kernel, int]] = {
    "nearest": (_nearest, 1),
    "linear": (_linear, 2),
    "cubic": (_cubic, 4),
}
