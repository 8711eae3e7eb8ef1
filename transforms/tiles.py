"""Where cubism's tiles lie: their places in painting order, and the cells that each one covers."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.common import compiled

_Float = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]
_Short = npt.NDArray[np.int16]
_Four = tuple[np.int32, np.int32, np.int32, np.int32]

# Anti-aliasing: quarter pixels along both axes.
SUB = 4


class Tiles(NamedTuple):
    """N tiles in painting order; all coordinates are x, y in pixels."""

    corners: _Integers
    """(N, 4, 2); the first edge, along which a tile fades in, goes from corner 0 to corner 1."""
    centres: _Float
    """(N, 2)"""


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


def place_tiles(height: int, width: int, size: float, saturation: float, seed: int) -> Tiles:
    """Return the tiles that `cubism` paints on a canvas of `height` x `width` pixels."""
    columns = math.floor((width + size - 1) / size) + 1
    rows = math.floor((height + size - 1) / size) + 1
    count = rows * columns
    random = np.random.RandomState(seed)
    order = shuffled(count, random)
    words = random.randint(0, 2**32, (count, 5, 2), dtype=np.uint32).astype(np.float64)
    uniform = (words[..., 0] / 2**32 + words[..., 1]) / 2**32

    grid = np.stack([order % columns, order // columns], axis=1)
    centres = grid * size + size / 4 - uniform[:, :2] * (size / 2)
    sides = saturation * (size + (uniform[:, 2:4] - 0.5) * (size / 4))
    turn = 2 * math.pi * uniform[:, 4]
    corners = _corners(centres, np.trunc(sides / 2), np.cos(turn), np.sin(turn))
    return Tiles(corners, centres)


@compiled
def _corners(centres: _Float, half: _Float, cos: _Float, sin: _Float) -> _Integers:
    """Return the corners (N, 4, 2) of rectangles with sides 2 * `half`, turned and moved.

    Coordinates are cut to integers after each step: it makes the tiles about half a pixel smaller.
    """
    corners = np.empty((len(centres), 4, 2), np.int64)
    for n in range(len(centres)):
        for k in range(4):
            x = half[n, 0] if k in (1, 2) else -half[n, 0]
            y = half[n, 1] if k in (2, 3) else -half[n, 1]
            corners[n, k, 0] = int(centres[n, 0] + math.trunc(cos[n] * x - sin[n] * y))
            corners[n, k, 1] = int(centres[n, 1] + math.trunc(sin[n] * x + cos[n] * y))
    return corners


def shuffled(count: int, random: np.random.RandomState) -> _Integers:
    """Return 0..count-1 after 5 * count random swaps, one after the other."""
    # Words from here on would favour the small indices.
    limit = 2**32 - 2**32 % count
    words = np.empty(0, dtype=np.uint32)
    while words.size < 10 * count:
        more = random.randint(0, 2**32, 10 * count - words.size, dtype=np.uint32)
        words = np.append(words, more[more < limit])
    order = np.arange(count)
    _swap(order, (words % count).reshape(-1, 2))
    return order


@compiled
def _swap(order: _Integers, pairs: npt.NDArray[np.int64]) -> None:
    for i, j in pairs:
        order[i], order[j] = order[j], order[i]


def source_pixels(tiles: Tiles, height: int, width: int) -> _Integers:
    """Return the pixel (x, y) whose colour each tile has, (N, 2)."""
    return tiles.centres.clip(0, (width - 1, height - 1)).astype(np.int64)


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
