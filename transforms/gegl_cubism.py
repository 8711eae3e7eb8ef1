"""Cubism filter: GEGL 0.4.42 behaviour of `gegl:cubism`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.common import LINEAR, SRGB8, RGBImage, check_image, check_size
from transforms.parameters import check_integer, checked, parameters_of

_Integers = npt.NDArray[np.int64]
_Single = npt.NDArray[np.float32]
# Where the corners lie before a tile is turned, (4, 1).
_LEFT_RIGHT, _UP_DOWN = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])[..., None]


@checked
def cubism(
    image: RGBImage,
    *,
    tile_size: float = 10.0,
    tile_saturation: float = 2.5,
    bg_color: Sequence[int] = (0, 0, 0),
    seed: int = 0,
) -> RGBImage:
    """Return `image` painted with randomly shifted, turned and overlapping square tiles.

    Equals GEGL 0.4.42 `gegl:cubism` to one 8-bit level, seed by seed (Mersenne Twister MT19937).

    Args:
        image: uint8 RGB, shape (H, W, 3), any memory layout; not modified.
        tile_size: distance of the tiles in pixels, 1..256.
        tile_saturation: side of the tiles in tile sizes, 0..10; 0 leaves only the background.
        bg_color: three sRGB integers 0..255, seen where no tile lies.
        seed: 0..4294967295; the result depends on nothing else that is random.

    Returns:
        New C-contiguous uint8 array (H, W, 3).

    Raises:
        ValueError: wrong kind of array, or a parameter of wrong type or out of range.
    """
    from transforms import loops

    height, width = check_image(image).shape[:2]
    tiles = place_tiles(height, width, tile_size, tile_saturation, seed)
    x, y = tiles.sources.T
    light = LINEAR.astype(np.float32)
    canvas = painted(tiles, light[image[y, x]], light[list(bg_color)], height, width)
    return loops.to_srgb(canvas, SRGB8)


@parameters_of(cubism, without=["bg_color"])
def cubism_sources(
    size: tuple[int, int], *, tile_size: float, tile_saturation: float, seed: int
) -> _Integers:
    """Return whose colour each pixel of the cubist image shows most of.

    Tiles are translucent: of all that lie over each other, the one with the largest share in the
    pixel's linear light counts as the visible one.

    `size` is height and width of the image in pixels; the other parameters are those of `cubism`.

    Returns:
        int64 (H, W, 2): x and y of the pixel that the visible tile took its colour from; -1 where
        the background has the largest share.

    Raises:
        ValueError: a size below 1, or a parameter of wrong type or out of range.
    """
    from transforms import painting

    height, width = check_size(size)
    tiles = place_tiles(height, width, tile_size, tile_saturation, seed)
    spans = painting.cover(tiles.corners, height, width)
    # The background is tile -1: the last entry.
    sources = np.vstack([tiles.sources, [(-1, -1)]])
    return sources[painting.visible(spans, painting.fade_in(tiles.corners), height, width)]


class Tiles(NamedTuple):
    """N tiles in painting order; all coordinates are x, y in pixels."""

    corners: _Integers
    """(N, 4, 2); the first edge, along which a tile fades in, goes from corner 0 to corner 1."""
    sources: _Integers
    """(N, 2): the pixel whose colour a tile has."""


def painted(
    tiles: Tiles, colours: _Single, background: _Single, height: int, width: int
) -> _Single:
    """Return a canvas (3, H, W) of linear light with tiles on it of the `colours` (N, 3)."""
    from transforms import painting

    canvas = np.empty((3, height, width + painting.LANES), dtype=np.float32)
    canvas[:] = background[:, None, None]
    spans = painting.cover(tiles.corners, height, width)
    painting.paint(canvas, spans, painting.fade_in(tiles.corners), colours)
    return canvas[:, :, :width]


def place_tiles(height: int, width: int, size: float, saturation: float, seed: int) -> Tiles:
    """Return the tiles that `cubism` paints on a canvas of `height` x `width` pixels."""
    columns = math.floor((width + size - 1) / size) + 1
    rows = math.floor((height + size - 1) / size) + 1
    count = rows * columns
    random = np.random.RandomState(check_integer("seed", seed, 0, 2**32 - 1))
    order = shuffled(count, random)
    words = random.randint(0, 2**32, (count, 5, 2), dtype=np.uint32).astype(np.float64)
    uniform = (words[..., 0] / 2**32 + words[..., 1]) / 2**32

    grid = np.stack([order % columns, order // columns], axis=1)
    centres = grid * size + size / 4 - uniform[:, :2] * (size / 2)
    sides = saturation * (size + (uniform[:, 2:4] - 0.5) * (size / 4))
    turn = 2 * math.pi * uniform[:, 4]
    cos, sin = np.cos(turn), np.sin(turn)
    # Cut to integers after each step, which makes the tiles about half a pixel smaller.
    half = np.trunc(sides / 2).T
    x, y = half[0] * _LEFT_RIGHT, half[1] * _UP_DOWN
    turned = np.trunc([cos * x - sin * y, sin * x + cos * y])
    corners = (centres.T[:, None] + turned).astype(np.int64)
    sources = centres.clip(0, (width - 1, height - 1)).astype(np.int64)
    return Tiles(np.ascontiguousarray(corners.T), sources)


def shuffled(count: int, random: np.random.RandomState) -> _Integers:
    """Return 0..count-1 after 5 * count random swaps, one after the other."""
    from transforms import loops

    # Words from here on would favour the small indices.
    limit = 2**32 - 2**32 % count
    words = np.empty(0, dtype=np.uint32)
    while words.size < 10 * count:
        more = random.randint(0, 2**32, 10 * count - words.size, dtype=np.uint32)
        words = np.append(words, more[more < limit])
    order = np.arange(count)
    loops.swap(order, (words % count).reshape(-1, 2))
    return order
