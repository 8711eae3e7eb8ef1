"""The filters' loops, compiled by numba at their first call and kept on disk.

numba compiles a function again when its file changes, and only then: compiled functions therefore
call functions and use constants of their own file only. The filters import it when they are called,
because numba takes long to load.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

_Bytes = npt.NDArray[np.uint8]
_Integers = npt.NDArray[np.int64]
_Single = npt.NDArray[np.float32]
_Double = npt.NDArray[np.float64]
_Weights = tuple[np.float32, np.float32, np.float32, np.float32]
_Powers = tuple[float, float, float, float]
_Kernel = tuple[_Powers, _Powers, _Powers, _Powers]

UNKEPT = (
    "the filters' loops are compiled anew in every process, which takes seconds: there is no place "
    "that can be written, neither beside them nor in ~/.cache; NUMBA_CACHE_DIR=DIR gives one"
)


def compiled(function: Callable[..., Any]) -> Any:
    """A function compiled at its first call and kept on disk, or a warning that it is not. Without
    fast-math every machine rounds alike."""
    made = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        made.enable_caching()
    except RuntimeError:
        warnings.warn(UNKEPT, stacklevel=1)
    return made


@compiled
def encode(light: float, table: _Bytes) -> int:
    """Return the 8-bit sRGB value of linear light, cut to 0..1; `table` is SRGB8."""
    return table[int(min(max(light, 0.0), 1.0) * (len(table) - 1) + 0.5)]


# Photocopy.


@compiled
def luminance(image: _Bytes, weights: _Double) -> _Double:
    """Return the linear luminance, transposed to (W, H); `weights` is (256, 3)."""
    height, width, _ = image.shape
    plane = np.empty((width, height))
    for y in range(height):
        for x in range(width):
            r, g, b = image[y, x, 0], image[y, x, 1], image[y, x, 2]
            plane[x, y] = weights[r, 0] + weights[g, 1] + weights[b, 2]
    return plane


@compiled
def histogram(detail: _Double, surround: _Double, threshold: float, bins: int) -> _Integers:
    """Return how many ratios of `detail` to `surround` (H, W) below the threshold fall in each bin.

    There are `bins` bins per unit of the ratio.
    """
    counts = np.zeros(bins + 1, dtype=np.int64)
    for v, m in zip(detail.flat, surround.flat):  # noqa: B905
        if m != 0 and 0 <= v / m < threshold:
            counts[int(v / m * bins)] += 1
    return counts


@compiled
def tones(
    detail: _Double, surround: _Double, threshold: float, ramp: float, shaded: bool, table: _Bytes
) -> _Bytes:
    """Return the grey image (H, W, 3): dark where `detail` is below its surround, else white."""
    height, width = detail.shape
    image = np.empty((height, width, 3), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            v, m = detail[y, x], surround[y, x]
            ratio = v / m if m != 0 else (math.inf if v > 0 else 0.0)
            if ratio < threshold:
                light = v * (1 - threshold + ratio) if shaded else 0.0
            else:
                lift = min(ramp, ratio - threshold) / ramp if ramp > 0 else 1.0
                light = lift + v - lift * v
            image[y, x, :] = encode(light, table)
    return image


@compiled
def recurse(line: _Double, a: _Double, gain: float, far_edge: _Double) -> None:
    """Filter rows 3..-3 of `line` (N + 6, M) in place, forward then backward.

    The first three rows hold the first sample, the last three the last one.
    """
    end = len(line) - 3
    for n in range(3, end):
        here, one, two, three = line[n], line[n - 1], line[n - 2], line[n - 3]
        for j in range(here.size):
            here[j] = gain * here[j] + a[0] * one[j] + a[1] * two[j] + a[2] * three[j]
    one, two, three = line[end - 1], line[end - 2], line[end - 3]
    for j in range(one.size):
        last = line[end, j]
        for k in range(3):
            line[end + k, j] += (
                far_edge[k, 0] * (one[j] - last)
                + far_edge[k, 1] * (two[j] - last)
                + far_edge[k, 2] * (three[j] - last)
            )
    for n in range(end - 1, 2, -1):
        here, one, two, three = line[n], line[n + 1], line[n + 2], line[n + 3]
        for j in range(here.size):
            here[j] = gain * here[j] + a[0] * one[j] + a[1] * two[j] + a[2] * three[j]


# Ripple.


# Pixels that an image needs around it, so that four in a row lie within it or all outside of it.
BORDER = 4


@compiled
def sample(
    light: _Single,
    size: tuple[int, int],
    shift: _Double,
    cos: float,
    sin: float,
    kernel: _Kernel,
    offset: float,
    loop: bool,
    table: _Bytes,
) -> _Bytes:
    """Return `light` sampled at index + `shift` - `offset` as an sRGB image of (H, W) = `size`.

    `light` is (H, W, 3) with a border of BORDER pixels, `shift` (H, W), or (1, W) where it is the
    same in all rows. Positions farther out are taken from the
    other side (`loop`) or from the border.
    """
    height, width = size
    moves_on = len(shift) > 1
    image = np.empty((height, 3 * width), dtype=np.uint8)
    pixels, stride = light.reshape(-1), 3 * light.shape[1]
    rows, columns = np.empty(width), np.empty(width)
    top, left = np.empty(width, dtype=np.int64), np.empty(width, dtype=np.int64)
    down = np.empty((4, width), dtype=np.float32)
    across = np.empty((4, width), dtype=np.float32)
    line = np.empty(3 * width, dtype=np.float32)
    for y in range(height):
        shifts = shift[y if moves_on else 0]
        for x in range(width):
            # Single precision decides, as in GEGL, on which side of a pixel's border it lies.
            rows[x] = np.float32(y + shifts[x] * cos) - offset
            columns[x] = np.float32(x + shifts[x] * sin) - offset
        _taps(rows, height, kernel, loop, top, down)
        if y == 0 or moves_on:
            _taps(columns, width, kernel, loop, left, across)
        for x in range(width):
            weights = across[0, x], across[1, x], across[2, x], across[3, x]
            first = top[x] * stride + left[x] * 3
            for channel in range(3):
                at = first + channel
                line[3 * x + channel] = (
                    down[0, x] * _across(pixels, at, weights)
                    + down[1, x] * _across(pixels, at + stride, weights)
                    + down[2, x] * _across(pixels, at + 2 * stride, weights)
                    + down[3, x] * _across(pixels, at + 3 * stride, weights)
                )
        for i in range(3 * width):
            image[y, i] = encode(line[i], table)
    return image.reshape(height, width, 3)


@compiled
def _across(pixels: _Single, at: int, weights: _Weights) -> np.float32:
    """Return the weighted sum of four pixels of a row, of which the first one's channel is `at`."""
    i = np.uintp(at)
    return (
        weights[0] * pixels[i]
        + weights[1] * pixels[i + np.uintp(3)]
        + weights[2] * pixels[i + np.uintp(6)]
        + weights[3] * pixels[i + np.uintp(9)]
    )


@compiled
def _taps(
    positions: _Double, size: int, kernel: _Kernel, loop: bool, first: _Integers, weights: _Single
) -> None:
    """Set the first of the four pixels around positions (N,) along an axis, counted from the
    border's begin, and their weights (4, N)."""
    for k in range(4):  # short loops, which are compiled to vector instructions
        powers, line = kernel[k], weights[k]
        for n in range(len(positions)):
            line[n] = _weight(powers, positions[n] - np.floor(positions[n]))
    for n in range(len(positions)):
        pixel = int(np.floor(positions[n]))
        if loop and not 0 <= pixel < size:
            pixel %= size
        first[n] = min(max(pixel + BORDER - 1, 0), size + 2 * BORDER - 4)


@compiled
def _weight(powers: _Powers, t: float) -> np.float32:
    """Return a tap's weight, a cubic polynomial, at the fraction `t` in [0, 1)."""
    return np.float32(powers[0] + t * (powers[1] + t * (powers[2] + t * powers[3])))


# Cubism: what its tiles cover and how they are painted is in transforms.painting.


@compiled
def swap(order: _Integers, pairs: _Integers) -> None:
    """Swap the entries of `order` at each of the `pairs` (N, 2), one after the other, in place."""
    for i, j in pairs:
        order[i], order[j] = order[j], order[i]


@compiled
def to_srgb(canvas: _Single, table: _Bytes) -> _Bytes:
    """Return linear light (3, H, W) as an sRGB image (H, W, 3)."""
    channels, height, width = canvas.shape
    image = np.empty((height, width, channels), dtype=np.uint8)
    for y in range(height):
        for channel in range(channels):
            light, row = canvas[channel, y], image[y]
            for x in range(width):
                row[x, channel] = encode(light[x], table)
    return image
