"""The filters' loops, compiled by numba at their first call and kept on disk.

numba compiles again when this file changes, and only then: compiled functions therefore call
functions and use constants of this file only. The filters import it when they are called, because
numba takes long to load.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

_Bytes = npt.NDArray[np.uint8]
_Short = npt.NDArray[np.int16]
_Integers = npt.NDArray[np.int64]
_Single = npt.NDArray[np.float32]
_Double = npt.NDArray[np.float64]
_Pixels = tuple[int, int, int, int]
_Weights = tuple[np.float32, np.float32, np.float32, np.float32]
_Powers = tuple[float, float, float, float]
_Kernel = tuple[_Powers, _Powers, _Powers, _Powers]
_Cells = tuple[np.int32, np.int32, np.int32, np.int32]

# No fast-math: every machine rounds alike.
compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")


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
                image[y, x, channel] = encode(total, table)
    return image


@compiled
def _line(light: _Single, row: int, column: _Pixels, across: _Weights, channel: int) -> float:
    """Return the weighted sum of four pixels of a row."""
    return (
        across[0] * light[row, column[0], channel]
        + across[1] * light[row, column[1], channel]
        + across[2] * light[row, column[2], channel]
        + across[3] * light[row, column[3], channel]
    )


@compiled
def _taps(position: float, size: int, kernel: _Kernel, loop: bool) -> tuple[_Pixels, _Weights]:
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


# Cubism: what its tiles cover, and how they are painted.

# Anti-aliasing: quarter pixels along both axes.
SUB = 4
# Opacity of a tile where it begins and where it ends.
LEAST, MOST = np.float32(0.2), np.float32(1)


class Spans(NamedTuple):
    """The part of each of N tiles that lies on the canvas."""

    first: _Integers
    """(N, 2): x, y of the top left pixel of its bounding box."""
    extent: _Integers
    """(N, 2): width and height of the box in pixels; 0 beside the canvas."""
    begin: _Short
    """(N, 4 h), h the largest height: first covered quarter cell, from the box's left."""
    end: _Short
    """(N, 4 h): the cell after the last covered one; not above `begin` where none is."""


@compiled
def swap(order: _Integers, pairs: _Integers) -> None:
    """Swap the entries of `order` at each of the `pairs` (N, 2), one after the other, in place."""
    for i, j in pairs:
        order[i], order[j] = order[j], order[i]


@compiled
def cross(
    corners: _Integers, first: _Integers, extent: _Integers, sub_rows: int
) -> tuple[_Short, _Short]:
    """Return the covered quarter cells (N, sub_rows) of each tile, from its box's left."""
    count = len(corners)
    begin = np.full((count, sub_rows), np.iinfo(np.int16).max, dtype=np.int16)
    end = np.zeros((count, sub_rows), dtype=np.int16)
    for n in range(count):
        left, top = SUB * first[n, 0], SUB * first[n, 1]
        columns, rows = SUB * extent[n, 0], SUB * extent[n, 1]
        for k in range(4):
            upper, lower = k, (k + 1) % 4
            if corners[n, upper, 1] > corners[n, lower, 1]:
                upper, lower = lower, upper
            start = SUB * corners[n, upper, 1] - top
            drop = SUB * corners[n, lower, 1] - top - start
            if drop == 0:
                continue
            step = SUB * (corners[n, lower, 0] - corners[n, upper, 0]) / drop
            # Added up from the upper end rather than multiplied: the rounding decides which
            # quarter pixel gets the many crossings that lie exactly between two.
            crossing = SUB * corners[n, upper, 0] + 0.5 * step
            for row in range(start, min(start + drop, rows)):
                if row >= 0:
                    cell = min(max(int(crossing) - left, 0), columns)
                    begin[n, row] = min(begin[n, row], cell)
                    end[n, row] = max(end[n, row], cell)
                crossing += step
    return begin, end


@compiled
def _row_of(spans: Spans, n: int, row: int) -> tuple[int, int, int, _Cells, _Cells]:
    """Return y, the first x and the x after the last of a row of tile `n`, and its four spans."""
    left, top = spans.first[n]
    begin, end = _sub_rows(spans.begin[n], row), _sub_rows(spans.end[n], row)
    return top + row, left + min(begin) // SUB, left + -(-max(end) // SUB), begin, end


@compiled
def _sub_rows(cells: _Short, row: int) -> _Cells:
    """Return the entries of a tile's `begin` or `end` that belong to a pixel row."""
    i = SUB * row
    return (
        np.int32(cells[i]),
        np.int32(cells[i + 1]),
        np.int32(cells[i + 2]),
        np.int32(cells[i + 3]),
    )


@compiled
def _coverage(begin: _Cells, end: _Cells, column: int) -> np.float32:
    """Return the covered share of the pixel in that `column` of a tile's box."""
    cell = np.int32(SUB * column)
    covered = (
        _overlap(begin[0], end[0], cell)
        + _overlap(begin[1], end[1], cell)
        + _overlap(begin[2], end[2], cell)
        + _overlap(begin[3], end[3], cell)
    )
    return np.float32(covered) * np.float32(1 / SUB**2)


@compiled
def _overlap(begin: np.int32, end: np.int32, cell: np.int32) -> np.int32:
    """Return how many of a pixel's cells, from `cell` on, lie in a span."""
    return max(min(end, cell + np.int32(SUB)) - max(begin, cell), np.int32(0))


@compiled
def layers_of(spans: Spans, height: int, width: int) -> _Integers:
    """Return the layer of each tile, (N,): one above the highest that it overlaps.

    Tiles of a layer do not overlap, so that painting layer by layer equals painting in order.
    """
    layers = np.zeros(len(spans.first), np.int64)
    top = np.full((height, width), -1)
    for n in range(len(layers)):
        for row in range(spans.extent[n, 1]):
            y, first, last, _, _ = _row_of(spans, n, row)
            for x in range(first, last):
                layers[n] = max(layers[n], top[y, x] + 1)
        for row in range(spans.extent[n, 1]):
            y, first, last, _, _ = _row_of(spans, n, row)
            top[y, first:last] = layers[n]
    return layers


@compiled
def paint(canvas: _Single, spans: Spans, fade: _Double, colours: _Single) -> None:
    """Blend tiles over `canvas` (3, H, W) of linear light, in place; `colours` is (N, 3)."""
    for n in range(len(colours)):
        r, g, b = colours[n]
        for row in range(spans.extent[n, 1]):
            y, first, last, begin, end = _row_of(spans, n, row)
            start, per_x = _along(fade[n], first, y)
            # Slices that begin at 0, so that the loop is compiled to vector instructions.
            red, green, blue = (
                canvas[0, y, first:last],
                canvas[1, y, first:last],
                canvas[2, y, first:last],
            )
            for x in range(len(red)):
                fading = min(max(start + per_x * np.float32(x), LEAST), MOST)
                opacity = fading * _coverage(begin, end, first - spans.first[n, 0] + x)
                red[x] += opacity * (r - red[x])
                green[x] += opacity * (g - green[x])
                blue[x] += opacity * (b - blue[x])


@compiled
def visible(spans: Spans, fade: _Double, height: int, width: int) -> _Integers:
    """Return the tile with the largest share in each pixel, (H, W); -1 is the background."""
    shown = np.full((height, width), -1)
    shares = np.ones((height, width), dtype=np.float32)
    for n in range(len(fade)):
        for row in range(spans.extent[n, 1]):
            y, first, last, begin, end = _row_of(spans, n, row)
            start, per_x = _along(fade[n], first, y)
            for x in range(first, last):
                fading = min(max(start + per_x * np.float32(x - first), LEAST), MOST)
                opacity = fading * _coverage(begin, end, x - spans.first[n, 0])
                # What lies below loses the same share: its largest part stays the largest.
                shares[y, x] *= 1 - opacity
                if opacity > shares[y, x]:
                    shares[y, x], shown[y, x] = opacity, n
    return shown


@compiled
def _along(fade: _Double, x: int, y: int) -> tuple[np.float32, np.float32]:
    """Return a tile's fade (3,) at pixel (x, y), and its change per pixel in x."""
    return np.float32(fade[0] + fade[1] * x + fade[2] * y), np.float32(fade[1])


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
