"""Cubism filter on batches of tensors."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transforms.common import LINEAR
from transforms.gegl_cubism import check_colour, placed_tiles
from transforms.painting import LEAST, MOST, SUB, cover, fade_in, layers_of
from transforms.tiles import Tiles, source_pixels
from transforms.torch.common import check_images, from_light, to_light


class Layer(NamedTuple):
    """N tiles, from all images of a batch, of which no two overlap; all on the batch's device."""

    width: int
    """Of the widest box, in pixels."""
    image: Tensor
    """(N,) index of the image."""
    source: Tensor
    """(N, 2) x, y of the pixel whose colour a tile has."""
    first: Tensor
    """(N, 2) x, y of the top left pixel of its box."""
    begin: Tensor
    """(N, 4 h) first covered quarter cell of each sub-row, from the box's left."""
    end: Tensor
    """(N, 4 h) the cell behind the last one."""
    fade: Tensor
    """(N, 3) opacity as a plane: constant, per x, per y."""


def cubism(
    images: Tensor,
    *,
    tile_size: float = 10.0,
    tile_saturation: float = 2.5,
    bg_color: Sequence[int] = (0, 0, 0),
    seed: int | Sequence[int] = 0,
) -> Tensor:
    """Return `images` painted with tiles; the same tiles as `transforms.cubism` for the same seed.

    Tiles that do not overlap are painted at once, so that a batch takes as many steps as tiles lie
    over each other in its most crowded image.

    Args:
        images: (B, 3, H, W), uint8 or floating point in 0..1; not modified.
        tile_size: distance of the tiles in pixels, 1..256.
        tile_saturation: side of the tiles in tile sizes, 0..10; 0 leaves only the background.
        bg_color: three sRGB integers 0..255, seen where no tile lies.
        seed: 0..4294967295, one for all images, or B of them.

    Returns:
        (B, 3, H, W) of the type of `images`.

    Raises:
        ValueError: wrong kind of tensor, or a parameter of wrong type or out of range.
    """
    images = check_images(images)
    background = check_colour("bg_color", bg_color)
    count, _, height, width = images.shape
    seeds = list(seed) if isinstance(seed, Sequence) else [seed] * count
    if len(seeds) != count:
        raise ValueError(f"seed must be one integer or {count}, one an image, got {len(seeds)}")
    paintings = [
        placed_tiles(height, width, tile_size, tile_saturation, number) for number in seeds
    ]
    light = to_light(images, torch.promote_types(images.dtype, torch.float32))
    canvas = torch.from_numpy(LINEAR[background]).to(light)[:, None]
    canvas = canvas.repeat(1, count * height * width)
    for layer in _layers(paintings, height, width, images.device):
        _paint(canvas, light, layer)
    return from_light(canvas.view(3, *images[:, 0].shape).transpose(0, 1), images.dtype)


def _layers(
    paintings: list[Tiles], height: int, width: int, device: torch.device
) -> Iterator[Layer]:
    """Yield the tiles of all images from the bottom up."""
    if not paintings:
        return
    spans = [cover(tiles, height, width) for tiles in paintings]
    levels = np.concatenate([layers_of(part, height, width) for part in spans])
    order = np.argsort(levels, kind="stable")
    sub_rows = max(part.begin.shape[1] for part in spans)

    def arranged(parts: list[npt.NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)[order]).to(device)

    def padded(cells: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        return np.pad(cells, ((0, 0), (0, sub_rows - cells.shape[1])))

    tensors = (
        arranged([np.full(len(tiles.corners), i) for i, tiles in enumerate(paintings)]),
        arranged([source_pixels(tiles, height, width) for tiles in paintings]),
        arranged([part.first for part in spans]),
        arranged([padded(part.begin) for part in spans]),
        arranged([padded(part.end) for part in spans]),
        arranged([fade_in(tiles.corners) for tiles in paintings]).float(),
    )
    widest = max(int(part.extent[:, 0].max()) for part in spans)
    sizes = np.bincount(levels).tolist()
    for parts in zip(*(tensor.split(sizes) for tensor in tensors), strict=True):
        yield Layer(widest, *parts)


def _paint(canvas: Tensor, light: Tensor, layer: Layer) -> None:
    """Blend a layer over `canvas` (3, B H W), in place; `light` are the images (B, 3, H, W)."""
    _, _, height, width = light.shape
    column = torch.arange(layer.width, device=light.device)
    row = torch.arange(layer.begin.shape[1] // SUB, device=light.device)
    x = layer.first[:, :1] + column  # (N, w)
    y = layer.first[:, 1:] + row  # (N, h)

    cell = SUB * column
    ends = torch.minimum(layer.end[..., None], cell + SUB)
    covered = (ends - torch.maximum(layer.begin[..., None], cell)).clamp(min=0)
    coverage = covered.unflatten(1, (len(row), SUB)).sum(dim=2) / SUB**2  # (N, h, w)
    start, per_x, per_y = layer.fade.T[..., None, None]
    fading = (start + per_x * x[:, None, :] + per_y * y[:, :, None]).clamp(
        float(LEAST), float(MOST)
    )

    # Beside the canvas nothing is covered: what is added there is 0, wherever it goes.
    inside = y.clamp(max=height - 1)[:, :, None] * width + x.clamp(max=width - 1)[:, None, :]
    place = (layer.image[:, None, None] * (height * width) + inside).flatten()
    colour = light[layer.image, :, layer.source[:, 1], layer.source[:, 0]].T  # (3, N)
    below = canvas[:, place].view(3, *coverage.shape)
    change = coverage * fading * (colour[..., None, None] - below)
    canvas.index_add_(1, place, change.flatten(1))
