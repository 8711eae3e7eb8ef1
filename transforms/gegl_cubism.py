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
    compiled,
    encode,
)
from transforms.tiles import (
    Spans,
    Tiles,
    cover,
    coverage,
    line_of,
    place_tiles,
    source_pixels,
)

_Integers = npt.NDArray[np.int64]
_Fade = npt.NDArray[np.float64]
_Canvas = npt.NDArray[np.float32]

RANGES = {"tile_size": (1.0, 256.0), "tile_saturation": (0.0, 10.0)}
# Opacity of a tile where it begins and where it ends.
LEAST, MOST = np.float32(0.2), np.float32(1)


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
    _paint(canvas, spans, fade_in(tiles.corners), light[image[y, x]])
    return _encoded(canvas, SRGB8)


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
    shown = _visible(cover(tiles, height, width), fade_in(tiles.corners), height, width)
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
def _paint(canvas: _Canvas, spans: Spans, fade: _Fade, colours: _Canvas) -> None:
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
def _visible(spans: Spans, fade: _Fade, height: int, width: int) -> _Integers:
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
def _encoded(canvas: _Canvas, table: RGBImage) -> RGBImage:
    """Return linear light (3, H, W) as an sRGB image (H, W, 3)."""
    channels, height, width = canvas.shape
    image = np.empty((height, width, channels), dtype=np.uint8)
    for y in range(height):
        for channel in range(channels):
            light, row = canvas[channel, y], image[y]
            for x in range(width):
                row[x, channel] = encode(light[x], table)
    return image
