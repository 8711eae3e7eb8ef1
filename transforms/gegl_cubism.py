"""Cubism filter: GEGL 0.4.42 behaviour of `gegl:cubism`."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from transforms.common import LINEAR, RGBImage, check_image, check_integer, check_real, encode

_Float = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]
_Plane = npt.NDArray[np.float32]

# Anti-aliasing: quarter pixels along both axes.
_SUB = 4
# Quarter cells looked at in one go, to bound the memory.
_BATCH_CELLS = 1 << 20


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
    tile_size = check_real("tile_size", tile_size, 1, 256)
    tile_saturation = check_real("tile_saturation", tile_saturation, 0, 10)
    background = _check_colour("bg_color", bg_color)
    seed = check_integer("seed", seed, 0, 2**32 - 1)

    height, width = image.shape[:2]
    corners, centres = _place_tiles(height, width, tile_size, tile_saturation, seed)
    x, y = centres.clip(0, (width - 1, height - 1)).astype(np.intp).T
    light = LINEAR.astype(np.float32)
    colours = light[image[y, x]][:, :, None, None]
    canvas = np.empty((3, height, width), dtype=np.float32)
    canvas[:] = light[background][:, None, None]
    for colour, ((top, left), opacity) in zip(
        colours, _opacities(corners, height, width), strict=True
    ):
        region = canvas[:, top : top + opacity.shape[0], left : left + opacity.shape[1]]
        region += opacity * (colour - region)
    return encode(canvas.transpose(1, 2, 0))


def _check_colour(name: str, value: object) -> _Integers:
    """Return `value` as three integers 0..255, shape (3,), else raise ValueError."""
    parts = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(parts, Sequence) or len(parts) != 3:
        raise ValueError(f"{name} must be three integers in [0, 255], got {value!r}")
    return np.array([check_integer(f"{name}[{i}]", part, 0, 255) for i, part in enumerate(parts)])


def _place_tiles(
    height: int, width: int, size: float, saturation: float, seed: int
) -> tuple[_Integers, _Float]:
    """Return the tiles in painting order: corners (N, 4, 2) and centres (N, 2), both as x, y."""
    columns = math.floor((width + size - 1) / size) + 1
    rows = math.floor((height + size - 1) / size) + 1
    count = rows * columns
    random = np.random.RandomState(seed)
    order = _shuffled(count, random)
    words = random.randint(0, 2**32, (count, 5, 2), dtype=np.uint32).astype(np.float64)
    uniform = (words[..., 0] / 2**32 + words[..., 1]) / 2**32

    grid = np.stack([order % columns, order // columns], axis=1)
    centres = grid * size + size / 4 - uniform[:, :2] * (size / 2)
    sides = saturation * (size + (uniform[:, 2:4] - 0.5) * (size / 4))
    turn = 2 * math.pi * uniform[:, 4, None]
    # Cut to integers at each step: it makes the tiles about half a pixel smaller.
    x, y = np.trunc(sides[:, None] / 2 * [(-1, -1), (1, -1), (1, 1), (-1, 1)]).transpose(2, 0, 1)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.trunc(np.stack([cos * x - sin * y, sin * x + cos * y], axis=2))
    return np.trunc(turned + centres[:, None]).astype(np.int64), centres


def _shuffled(count: int, random: np.random.RandomState) -> _Integers:
    """Return 0..count-1 after 5 * count random swaps, one after the other."""
    # Words from here on would favour the small indices.
    limit = 2**32 - 2**32 % count
    words = np.empty(0, dtype=np.uint32)
    while words.size < 10 * count:
        more = random.randint(0, 2**32, 10 * count - words.size, dtype=np.uint32)
        words = np.append(words, more[more < limit])
    order = list(range(count))
    for i, j in (words % count).reshape(-1, 2).tolist():
        order[i], order[j] = order[j], order[i]
    return np.array(order)


def _opacities(
    corners: _Integers, height: int, width: int
) -> Iterator[tuple[tuple[int, int], _Plane]]:
    """Yield for each tile the top left pixel and the opacities of its part of the canvas."""
    size = (width, height)
    first, end = corners.min(axis=1).clip(0, size), corners.max(axis=1).clip(0, size)
    extent = end - first
    # Tiles are of similar size: a batch of windows that fit the largest wastes little.
    window_width, window_height = extent.max(axis=0).tolist()
    batch = max(1, _BATCH_CELLS // max(1, _SUB * window_width * window_height))
    for start in range(0, len(corners), batch):
        part = slice(start, start + batch)
        opacity = _coverage(corners[part], first[part], window_width, window_height)
        opacity *= _fade(corners[part], first[part], window_width, window_height)
        boxes = zip(first[part].tolist(), extent[part].tolist(), opacity, strict=True)
        for (left, top), (columns, rows), plane in boxes:
            yield (top, left), plane[:rows, :columns]


def _coverage(corners: _Integers, first: _Integers, width: int, height: int) -> _Plane:
    """Return the covered share of the pixels of each tile's window, shape (n, height, width).

    In each of the four sub-rows of a pixel row, the quarter cells from the leftmost to the
    rightmost edge crossing are covered.
    """
    points, origin = _SUB * corners, _SUB * first
    sub_rows = origin[:, 1:] + np.arange(_SUB * height)
    lowest = np.full(sub_rows.shape, np.inf)
    highest = np.full(sub_rows.shape, -np.inf)
    for k in range(4):
        one, other = points[:, k - 1], points[:, k]
        downwards = one[:, 1:] < other[:, 1:]
        crossed, crossing = _crossings(
            np.where(downwards, one, other), np.where(downwards, other, one), sub_rows
        )
        np.minimum(lowest, crossing, out=lowest, where=crossed)
        np.maximum(highest, crossing, out=highest, where=crossed)

    # Sub-rows without a crossing begin behind their end and so cover nothing. Windows are at most
    # 4073 pixels wide (largest parameters), so their quarter cells fit 16 bits.
    begin, end = (
        (side - origin[:, :1]).clip(0, _SUB * width).astype(np.int16)[:, :, None]
        for side in (lowest, highest)
    )
    cell = np.arange(0, _SUB * width, _SUB, dtype=np.int16)
    cells = np.minimum(end, cell + np.int16(_SUB)) - np.maximum(begin, cell)
    cells = cells.clip(0, None).reshape(len(points), height, _SUB, width)
    return cells.sum(axis=2, dtype=np.int16) / np.float32(_SUB * _SUB)


def _crossings(
    upper: _Integers, lower: _Integers, sub_rows: _Integers
) -> tuple[npt.NDArray[np.bool], _Float]:
    """Tell which `sub_rows` (n, m) the edges (n, 2) cross, and at which quarter pixel x."""
    run = sub_rows - upper[:, 1:]
    drop = lower[:, 1] - upper[:, 1]
    step = (lower[:, 0] - upper[:, 0]) / np.maximum(drop, 1)
    # Added up from the upper end rather than multiplied: the rounding decides which quarter pixel
    # gets the many crossings that lie exactly between two.
    walk = np.repeat(step[:, None], max(1, drop.max()), axis=1)
    walk[:, 0] = upper[:, 0] + 0.5 * step
    walk = np.trunc(np.add.accumulate(walk, axis=1))
    crossing = np.take_along_axis(walk, run.clip(0, walk.shape[1] - 1), axis=1)
    return (run >= 0) & (run < drop[:, None]), crossing


def _fade(corners: _Integers, first: _Integers, width: int, height: int) -> _Plane:
    """Return the rise from 0.2 to 1 along the first edge of each tile, (n, height, width)."""
    edge = corners[:, 1] - corners[:, 0]
    start = first - corners[:, 0]
    # A tile without a first edge is solid.
    norm = (edge**2).sum(axis=1)
    x_part = (start[:, :1] + np.arange(width)) * edge[:, :1] / np.maximum(norm, 1)[:, None]
    y_part = (start[:, 1:] + np.arange(height) + 0.75) * edge[:, 1:] / np.maximum(norm, 1)[:, None]
    y_part += norm[:, None] == 0
    rise = y_part.astype(np.float32)[:, :, None] + x_part.astype(np.float32)[:, None, :]
    return rise.clip(0.2, 1)
