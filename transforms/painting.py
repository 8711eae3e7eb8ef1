"""What cubism's tiles cover of a canvas, and how they are painted: all of it in compiled loops."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.common import RGBImage, compiled
from transforms.tiles import Tiles

_Integers = npt.NDArray[np.int64]
_Short = npt.NDArray[np.int16]
_Four = tuple[np.int32, np.int32, np.int32, np.int32]
_Fade = npt.NDArray[np.float64]
_Canvas = npt.NDArray[np.float32]

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
    """(N, 4 h): the cell behind the last covered one; not above `begin` where none is."""


def cover(tiles: Tiles, height: int, width: int) -> Spans:
    """Return what the tiles cover of a canvas of `height` x `width` pixels.

    In each of the four sub-rows of a pixel row, the quarter cells from the leftmost to the
    rightmost edge crossing are covered.
    """
    first, extent = _boxes(tiles.corners, height, width)
    # Boxes are at most 4073 pixels wide (largest parameters): their quarter cells fit 16 bits.
    begin, end = _cross(tiles.corners, first, extent, SUB * int(extent[:, 1].max()))
    return Spans(first, extent, begin, end)


@compiled
def _boxes(corners: _Integers, height: int, width: int) -> tuple[_Integers, _Integers]:
    """Return top left pixel and extent of the bounding boxes on the canvas, both (N, 2) as x, y."""
    first, extent = np.empty((len(corners), 2), np.int64), np.empty((len(corners), 2), np.int64)
    for n in range(len(corners)):
        for axis, size in ((0, width), (1, height)):
            a, b = corners[n, 0, axis], corners[n, 1, axis]
            c, d = corners[n, 2, axis], corners[n, 3, axis]
            low, high = min(a, b, c, d), max(a, b, c, d)
            first[n, axis] = min(max(low, 0), size)
            extent[n, axis] = min(max(high, 0), size) - first[n, axis]
    return first, extent


@compiled
def _cross(
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
def line_of(spans: Spans, n: int, row: int) -> tuple[int, int, int, _Four, _Four]:
    """Return y, first x and the x behind the last of a row of tile `n`, and its four spans."""
    left, top = spans.first[n]
    begin, end = _sub_rows(spans.begin[n], row), _sub_rows(spans.end[n], row)
    return top + row, left + min(begin) // SUB, left + -(-max(end) // SUB), begin, end


@compiled
def _sub_rows(cells: _Short, row: int) -> _Four:
    """Return the entries of a tile's `begin` or `end` that belong to a pixel row."""
    i = SUB * row
    return (
        np.int32(cells[i]),
        np.int32(cells[i + 1]),
        np.int32(cells[i + 2]),
        np.int32(cells[i + 3]),
    )


@compiled
def coverage(begin: _Four, end: _Four, column: int) -> np.float32:
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
            y, first, last, _, _ = line_of(spans, n, row)
            for x in range(first, last):
                layers[n] = max(layers[n], top[y, x] + 1)
        for row in range(spans.extent[n, 1]):
            y, first, last, _, _ = line_of(spans, n, row)
            top[y, first:last] = layers[n]
    return layers


def fade_in(corners: _Integers) -> _Fade:
    """Return the opacity of N tiles as a plane in x and y: (N, 3) = constant, per x, per y.

    It rises from 0 to 1 along the first edge and is cut to 0.2..1. A tile without a first edge is
    solid.
    """
    edge = corners[:, 1] - corners[:, 0]
    norm = (edge**2).sum(axis=1)
    slope = edge / np.maximum(norm, 1)[:, None]
    start = (norm == 0) - (slope * (corners[:, 0] - (0, 0.75))).sum(axis=1)
    return np.column_stack([start, slope])


@compiled
def paint(canvas: _Canvas, spans: Spans, fade: _Fade, colours: _Canvas) -> None:
    """Blend tiles over `canvas` (3, H, W) of linear light, in place; `colours` is (N, 3)."""
    for n in range(len(colours)):
        r, g, b = colours[n]
        for row in range(spans.extent[n, 1]):
            y, first, last, begin, end = line_of(spans, n, row)
            start, per_x = _along(fade[n], first, y)
            # Slices that begin at 0, so that the loop is compiled to vector instructions.
            red, green, blue = (
                canvas[0, y, first:last],
                canvas[1, y, first:last],
                canvas[2, y, first:last],
            )
            for x in range(len(red)):
                fading = min(max(start + per_x * np.float32(x), LEAST), MOST)
                opacity = fading * coverage(begin, end, first - spans.first[n, 0] + x)
                red[x] += opacity * (r - red[x])
                green[x] += opacity * (g - green[x])
                blue[x] += opacity * (b - blue[x])


@compiled
def visible(spans: Spans, fade: _Fade, height: int, width: int) -> _Integers:
    """Return the tile with the largest share in each pixel, (H, W); -1 is the background."""
    shown = np.full((height, width), -1)
    shares = np.ones((height, width), dtype=np.float32)
    for n in range(len(fade)):
        for row in range(spans.extent[n, 1]):
            y, first, last, begin, end = line_of(spans, n, row)
            start, per_x = _along(fade[n], first, y)
            for x in range(first, last):
                fading = min(max(start + per_x * np.float32(x - first), LEAST), MOST)
                opacity = fading * coverage(begin, end, x - spans.first[n, 0])
                # What lies below loses the same share: its largest part stays the largest.
                shares[y, x] *= 1 - opacity
                if opacity > shares[y, x]:
                    shares[y, x], shown[y, x] = opacity, n
    return shown


@compiled
def _along(fade: _Fade, x: int, y: int) -> tuple[np.float32, np.float32]:
    """Return a tile's fade (3,) at pixel (x, y), and its change per pixel in x."""
    return np.float32(fade[0] + fade[1] * x + fade[2] * y), np.float32(fade[1])


@compiled
def encoded(canvas: _Canvas, table: RGBImage) -> RGBImage:
    """Return linear light (3, H, W) as an sRGB image (H, W, 3)."""
    channels, height, width = canvas.shape
    image = np.empty((height, width, channels), dtype=np.uint8)
    for y in range(height):
        for channel in range(channels):
            light, row = canvas[channel, y], image[y]
            for x in range(width):
                row[x, channel] = _encode(light[x], table)
    return image


@compiled
def _encode(light: float, table: RGBImage) -> int:
    """Return the 8-bit sRGB value of linear light, cut to 0..1; `table` is SRGB8."""
    return table[int(min(max(light, 0.0), 1.0) * (len(table) - 1) + 0.5)]
