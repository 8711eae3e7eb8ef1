"""Where cubism's tiles lie, in painting order."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.common import compiled

_Float = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


class Tiles(NamedTuple):
    """N tiles in painting order; all coordinates are x, y in pixels."""

    corners: _Integers
    """(N, 4, 2); the first edge, along which a tile fades in, goes from corner 0 to corner 1."""
    centres: _Float
    """(N, 2)"""


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
