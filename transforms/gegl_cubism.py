"""Cubism filter: GEGL 0.4.42 behaviour of `gegl:cubism`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.common import (
    LINEAR,
    SRGB8,
    RGBImage,
    check_image,
    check_integer,
    check_real,
    check_size,
)
from transforms.painting import cover, encoded, fade_in, paint, visible
from transforms.tiles import Tiles, place_tiles, source_pixels

_Integers = npt.NDArray[np.int64]
_Fade = npt.NDArray[np.float64]
_Canvas = npt.NDArray[np.float32]

RANGES = {"tile_size": (1.0, 256.0), "tile_saturation": (0.0, 10.0)}


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
    image = check_image(image)
    background = check_colour("bg_color", bg_color)
    height, width = image.shape[:2]
    tiles = placed_tiles(height, width, tile_size, tile_saturation, seed)
    x, y = source_pixels(tiles, height, width).T
    light = LINEAR.astype(np.float32)
    canvas = np.empty((3, height, width), dtype=np.float32)
    canvas[:] = light[background][:, None, None]
    spans = cover(tiles, height, width)
    paint(canvas, spans, fade_in(tiles.corners), light[image[y, x]])
    return encoded(canvas, SRGB8)


def cubism_sources(
    size: tuple[int, int],
    *,
    tile_size: float = 10.0,
    tile_saturation: float = 2.5,
    seed: int = 0,
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
    height, width = check_size(size)
    tiles = placed_tiles(height, width, tile_size, tile_saturation, seed)
    shown = visible(cover(tiles, height, width), fade_in(tiles.corners), height, width)
    # The background is tile -1: the last entry.
    return np.vstack([source_pixels(tiles, height, width), [(-1, -1)]])[shown]


def placed_tiles(height: int, width: int, size: float, saturation: float, seed: int) -> Tiles:
    """Return the tiles of checked parameters."""
    return place_tiles(
        height,
        width,
        check_real("tile_size", size, RANGES),
        check_real("tile_saturation", saturation, RANGES),
        check_integer("seed", seed, 0, 2**32 - 1),
    )


def check_colour(name: str, value: object) -> _Integers:
    """Return `value` as three integers 0..255, shape (3,), else raise ValueError."""
    parts = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(parts, Sequence) or len(parts) != 3:
        raise ValueError(f"{name} must be three integers in [0, 255], got {value!r}")
    return np.array([check_integer(f"{name}[{i}]", part, 0, 255) for i, part in enumerate(parts)])
