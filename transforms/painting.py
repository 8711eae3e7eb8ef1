"""Cubism's tiles: what they cover, and how they are painted; compiled as in transforms.loops."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.loops import compiled

_Short = npt.NDArray[np.int16]
_Integers = npt.NDArray[np.int64]
_Single = npt.NDArray[np.float32]
_Double = npt.NDArray[np.float64]
_Cells = tuple[np.int32, np.int32, np.int32, np.int32]

# Anti-aliasing: quarter pixels along both axes.
SUB = 4
# Opacity of a tile where it begins and where it ends.
LEAST, MOST = np.float32(0.2), np.float32(1)
# Pixels that the widest vector instructions take at once.
LANES = 16


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
def cover(corners: _Integers, height: int, width: int) -> Spans:
    """Return what tiles with these corners (N, 4, 2) cover of a canvas.

    In each of the four sub-rows of a pixel row, the quarter cells from the leftmost to the
    rightmost edge crossing are covered.
    """
    count = len(corners)
    first, extent = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
    for n in range(count):
        for axis, size in enumerate((width, height)):
            ends = corners[n, :, axis]
            first[n, axis] = min(max(ends.min(), 0), size)
            extent[n, axis] = min(max(ends.max(), 0), size) - first[n, axis]
    # Boxes are at most 4073 pixels wide (largest parameters): their quarter cells fit 16 bits.
    sub_rows = SUB * extent[:, 1].max()
    begin = np.full((count, sub_rows), np.iinfo(np.int16).max, dtype=np.int16)
    end = np.zeros((count, sub_rows), dtype=np.int16)
    crossings = np.empty(sub_rows)
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
            for _ in range(start, min(start + drop, 0)):
                crossing += step
            inside = slice(max(start, 0), max(min(start + drop, rows), 0))
            from_left, to_right = begin[n, inside], end[n, inside]
            for row in range(len(from_left)):
                crossings[row] = crossing
                crossing += step
            # Apart from the sum, so that the loop is compiled to vector instructions.
            for row in range(len(from_left)):
                cell = np.int16(min(max(int(crossings[row]) - left, 0), columns))
                from_left[row] = min(from_left[row], cell)
                to_right[row] = max(to_right[row], cell)
    return Spans(first, extent, begin, end)


@compiled
def fade_in(corners: _Integers) -> _Double:
    """Return the opacity of tiles (N, 4, 2) as a plane in x and y: (N, 3) = constant, per x, per y.

    It rises from 0 to 1 along the first edge and is cut to 0.2..1. A tile without a first edge is
    solid.
    """
    planes = np.empty((len(corners), 3))
    for n in range(len(corners)):
        x, y = corners[n, 0]
        across, down = corners[n, 1, 0] - x, corners[n, 1, 1] - y
        norm = across**2 + down**2
        per_x, per_y = across / max(norm, 1), down / max(norm, 1)
        planes[n, 0] = (norm == 0) - (per_x * x + per_y * (y - 0.75))
        planes[n, 1], planes[n, 2] = per_x, per_y
    return planes


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
def _coverage(begin: _Cells, end: _Cells, column: np.float32) -> np.float32:
    """Return the covered share of the pixel in that `column` of a tile's box."""
    # Whole numbers, exact as floats, which fill vector instructions twice as well.
    cell = np.float32(SUB) * column
    covered = (
        _overlap(begin[0], end[0], cell)
        + _overlap(begin[1], end[1], cell)
        + _overlap(begin[2], end[2], cell)
        + _overlap(begin[3], end[3], cell)
    )
    return covered * np.float32(1 / SUB**2)


@compiled
def _overlap(begin: np.int32, end: np.int32, cell: np.float32) -> np.float32:
    """Return how many of a pixel's cells, from `cell` on, lie in a span."""
    last = min(np.float32(end), cell + np.float32(SUB))
    return max(last - max(np.float32(begin), cell), np.float32(0))


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
    """Blend tiles over `canvas` (3, H, W) of linear light, in place; `colours` is (N, 3).

    It is faster where the canvas has LANES columns more than there are to be seen.
    """
    for n in range(len(colours)):
        r, g, b = colours[n]
        for row in range(spans.extent[n, 1]):
            y, first, last, begin, end = _row_of(spans, n, row)
            start, per_x = _along(fade[n], first, y)
            # Slices that begin at 0, so that the loop is compiled to vector instructions, and
            # that fill these: beside the tile nothing is covered, and nothing changes.
            last = first + -(-(last - first) // LANES) * LANES
            red, green, blue = (
                canvas[0, y, first:last],
                canvas[1, y, first:last],
                canvas[2, y, first:last],
            )
            before = np.float32(first - spans.first[n, 0])
            for x in range(len(red)):
                along = np.float32(np.int32(x))
                fading = min(max(start + per_x * along, LEAST), MOST)
                opacity = fading * _coverage(begin, end, before + along)
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
                opacity = fading * _coverage(begin, end, np.float32(x - spans.first[n, 0]))
                # What lies below loses the same share: its largest part stays the largest.
                shares[y, x] *= 1 - opacity
                if opacity > shares[y, x]:
                    shares[y, x], shown[y, x] = opacity, n
    return shown


@compiled
def _along(fade: _Double, x: int, y: int) -> tuple[np.float32, np.float32]:
    """Return a tile's fade (3,) at pixel (x, y), and its change per pixel in x."""
    return np.float32(fade[0] + fade[1] * x + fade[2] * y), np.float32(fade[1])
