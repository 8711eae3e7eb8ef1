"""Ripple filter: GEGL 0.4.42 behaviour of `gegl:ripple`, and where its wave moves things."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.common import LINEAR, SRGB8, RGBImage, check_image, check_size
from transforms.parameters import checked, parameters_of

Field = npt.NDArray[np.float64]
_Powers = tuple[float, float, float, float]
Kernel = tuple[_Powers, _Powers, _Powers, _Powers]

# Weights of the four pixels around a position as polynomials of the fraction t in [0, 1): rows are
# taps, columns powers of t. Cubic is the BC-spline with B = 1/2, C = 1/4 (Mitchell & Netravali
# 1988), the mean of the cubic B-spline and the Catmull-Rom spline.
SAMPLERS = {
    "nearest": ((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), (0.0,) * 4, (0.0,) * 4),
    "linear": ((0.0,) * 4, (1.0, -1.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0,) * 4),
    "cubic": (
        (1 / 12, -1 / 2, 3 / 4, -1 / 3),
        (5 / 6, 0.0, -7 / 4, 1.0),
        (1 / 12, 1 / 2, 5 / 4, -1.0),
        (0.0, 0.0, -1 / 4, 1 / 3),
    ),
}
# Linear light of what lies outside; the other policies go on with the image.
BORDERS = {"black": 0.0, "none": 0.0, "white": 1.0}
_SHORTEST_PERIOD = 0.0001
# Sine or cosine of an angle that is meant to be a right one.
_RIGHT = 1e-15


@checked
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
    import cv2

    from transforms import loops

    image = check_image(image)
    size = image.shape[:2]
    shift, cos, sin = wave_shift(size, amplitude, period, phi, angle, wave_type, tileable)
    shift = np.ascontiguousarray(np.broadcast_to(shift, (len(shift), size[1])))
    kinds, b = {"clamp": cv2.BORDER_REPLICATE, "loop": cv2.BORDER_WRAP}, loops.BORDER
    kind, colour = kinds.get(abyss_policy, cv2.BORDER_CONSTANT), 255 * BORDERS.get(abyss_policy, 0)
    bordered = cv2.copyMakeBorder(image, b, b, b, b, kind, value=[colour] * 3)
    light = cv2.LUT(bordered, LINEAR.astype(np.float32))
    # From the corner of a pixel to its centre; "nearest" takes the pixel that the position lies in.
    offset = 0.0 if sampler_type == "nearest" else 0.5
    loop = abyss_policy == "loop"
    return loops.sample(light, size, shift, cos, sin, SAMPLERS[sampler_type], offset, loop, SRGB8)


@parameters_of(ripple, without=["sampler_type", "abyss_policy"])
def ripple_displacement(size: tuple[int, int], **wave: Any) -> Field:
    """Return how far `ripple` moves what each pixel shows: the field of the wave itself.

    Pixel (x, y) of the rippled image shows what was at (x, y) + field[y, x]. The half pixel by
    which "linear" and "cubic" sample further up and left is not in it: without a wave it is zero.
    `cv2.remap` at index + field - 0.5 therefore does what `ripple` does, but for linear light.

    `size` is height and width of the image in pixels; the other parameters are those of `ripple`.

    Returns:
        float64 (H, W, 2): displacement in x and y, in pixels.

    Raises:
        ValueError: a size below 1, or a parameter of wrong type, unknown or out of range.
    """
    height, width = check_size(size)
    shift, cos, sin = wave_shift((height, width), **wave)
    field = np.empty((height, width, 2))
    np.multiply(shift, sin, out=field[..., 0])
    np.multiply(shift, cos, out=field[..., 1])
    return field


@parameters_of(ripple, without=["sampler_type"])
def ripple_sources(
    size: tuple[int, int], *, abyss_policy: str, **wave: Any
) -> npt.NDArray[np.int64]:
    """Return which pixel of the image each pixel of the rippled image shows.

    It is the pixel that "nearest" takes, and the one nearest to where "linear" and "cubic" sample.

    `size` is height and width of the image in pixels; the other parameters are those of `ripple`.

    Returns:
        int64 (H, W, 2): x and y of the source; -1 where black, white or nothing is shown.

    Raises:
        ValueError: a size below 1, or a parameter of wrong type, unknown or out of range.
    """
    height, width = check_size(size)
    shift, cos, sin = wave_shift((height, width), **wave)
    x = np.float32(np.arange(width) + shift * sin)
    y = np.float32(np.arange(height)[:, None] + shift * cos)
    sources = np.stack(np.broadcast_arrays(np.floor(x), np.floor(y)), axis=2).astype(np.int64)
    if abyss_policy == "loop":
        return sources % (width, height)
    inside = sources.clip(0, (width - 1, height - 1))
    if abyss_policy in BORDERS:
        inside[(inside != sources).any(axis=2)] = -1
    return inside


def wave_shift(
    size: tuple[int, int],
    amplitude: float,
    period: float,
    phi: float,
    angle: float,
    wave_type: str,
    tileable: bool,
) -> tuple[Field, float, float]:
    """Return the displacement in pixels, and cosine and sine of the wave's angle.

    It is (H, W), or (1, W) or (H, 1) where the wave runs along an axis.
    """
    height, width = size
    radians = math.radians(angle)
    if period < _SHORTEST_PERIOD:
        amplitude, period = 0.0, 1.0
    elif tileable:
        amplitude, period, radians = _fit(amplitude, period, radians, width, height)
    cos, sin = math.cos(radians), math.sin(radians)
    x, y = np.arange(width, dtype=np.float64)[None], np.arange(height, dtype=np.float64)[:, None]
    along_x, along_y = abs(sin) < _RIGHT, abs(cos) < _RIGHT
    distance = x * cos if along_x else -y * sin if along_y else x * cos - y * sin
    return amplitude * _wave(distance, period, phi, wave_type), cos, sin


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


def _wave(distance: Field, period: float, phi: float, wave_type: str) -> Field:
    """Return the wave, -1..1, at `distance` pixels along its direction."""
    if wave_type == "sine":
        return np.sin(2 * math.pi * (distance / period + phi))
    if wave_type == "triangle":
        return np.abs(4 / period * np.mod(distance + (0.75 - phi) * period, period) - 2) - 1
    return 2 / period * np.mod(distance + (0.5 - phi) * period, period) - 1
