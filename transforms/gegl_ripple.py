"""Ripple filter: GEGL 0.4.42 behaviour of `gegl:ripple`."""

import math

import numpy as np
import numpy.typing as npt

from transforms.common import (
    LINEAR,
    SRGB8,
    RGBImage,
    check_choice,
    check_image,
    compiled,
)
from transforms.wave import ABYSSES, BORDERS, Field, wave_shift

_Light = npt.NDArray[np.float32]

_Pixels = tuple[int, int, int, int]
_Weights = tuple[np.float32, np.float32, np.float32, np.float32]
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
    check_choice("sampler_type", sampler_type, SAMPLERS)
    check_choice("abyss_policy", abyss_policy, ABYSSES)
    size = image.shape[:2]
    shift, cos, sin = wave_shift(size, amplitude, period, phi, angle, wave_type, tileable)
    light = np.take(LINEAR.astype(np.float32), image)
    if (border := BORDERS.get(abyss_policy)) is not None:
        # A border of that colour, repeated outwards, is what "clamp" does anyway.
        light = np.pad(light, ((1, 1), (1, 1), (0, 0)), constant_values=border)
    # From the corner of a pixel to its centre; "nearest" takes the pixel that the position lies in.
    offset = 0.0 if sampler_type == "nearest" else 0.5
    loop = abyss_policy == "loop"
    return _sample(light, size, shift, cos, sin, SAMPLERS[sampler_type], offset, loop, SRGB8)


@compiled
def _sample(
    light: _Light,
    size: tuple[int, int],
    shift: Field,
    cos: float,
    sin: float,
    kernel: Kernel,
    offset: float,
    loop: bool,
    table: RGBImage,
) -> RGBImage:
    """Return `light` sampled at index + `shift` - `offset` as an sRGB image of (H, W) = `size`.

    `light` is (H, W, 3), or larger by a border of one pixel. It goes on around the edges (`loop`)
    or repeats them.
    """
    rows, columns, _ = light.shape
    height, width = size
    border = (rows - height) // 2
    per_row, per_column = min(1, len(shift) - 1), min(1, shift.shape[1] - 1)
    image = np.empty((height, width, 3), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            s = shift[y * per_row, x * per_column]
            # Single precision decides, as in GEGL, on which side of a pixel's border it lies.
            i, j = np.float32(y + s * cos) - offset, np.float32(x + s * sin) - offset
            row, down = _taps(i + border, rows, kernel, loop)
            column, across = _taps(j + border, columns, kernel, loop)
            for channel in range(3):
                total = (
                    down[0] * _line(light, row[0], column, across, channel)
                    + down[1] * _line(light, row[1], column, across, channel)
                    + down[2] * _line(light, row[2], column, across, channel)
                    + down[3] * _line(light, row[3], column, across, channel)
                )
                image[y, x, channel] = _encode(total, table)
    return image


@compiled
def _line(light: _Light, row: int, column: _Pixels, across: _Weights, channel: int) -> float:
    """Return the weighted sum of four pixels of a row."""
    return (
        across[0] * light[row, column[0], channel]
        + across[1] * light[row, column[1], channel]
        + across[2] * light[row, column[2], channel]
        + across[3] * light[row, column[3], channel]
    )


@compiled
def _taps(position: float, size: int, kernel: Kernel, loop: bool) -> tuple[_Pixels, _Weights]:
    """Return the four pixels 0..size-1 around a position along one axis, and their weights."""
    floor = math.floor(position)
    t = position - floor
    return _pixels(int(floor), size, loop), (
        _weight(kernel[0], t),
        _weight(kernel[1], t),
        _weight(kernel[2], t),
        _weight(kernel[3], t),
    )


@compiled
def _pixels(i: int, size: int, loop: bool) -> _Pixels:
    """Return the pixels 0..size-1 that stand for i - 1 .. i + 2."""
    if 1 <= i < size - 2:
        return i - 1, i, i + 1, i + 2
    if loop:
        return (i - 1) % size, i % size, (i + 1) % size, (i + 2) % size
    last = size - 1
    return (
        min(max(i - 1, 0), last),
        min(max(i, 0), last),
        min(max(i + 1, 0), last),
        min(max(i + 2, 0), last),
    )


@compiled
def _weight(powers: _Powers, t: float) -> np.float32:
    """Return a tap's weight, a cubic polynomial, at the fraction `t` in [0, 1)."""
    return np.float32(powers[0] + t * (powers[1] + t * (powers[2] + t * powers[3])))


@compiled
def _encode(light: float, table: RGBImage) -> int:
    """Return the 8-bit sRGB value of linear light, cut to 0..1; `table` is SRGB8."""
    return table[int(min(max(light, 0.0), 1.0) * (len(table) - 1) + 0.5)]
