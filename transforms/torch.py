"""The filters on batches of tensors, CPU or CUDA: equal to those on arrays within one level.

Images are (B, 3, H, W): uint8, or floating point in 0..1; they are not modified. Results have the
same type and device. The other parameters are those of the filters on arrays. A wrong tensor or
parameter is a ValueError. The filters are differentiable between pixels: images get gradients. What
lies on the CPU and needs none is computed by the compiled loops of the filters on arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from transforms import gegl_cubism, gegl_photocopy, gegl_ripple
from transforms.common import LINEAR
from transforms.gegl_photocopy import BINS, LUMINANCE, THRESHOLD, blur, detail_radius, sigma_of
from transforms.gegl_ripple import BORDERS, SAMPLERS, Kernel, ripple_displacement
from transforms.parameters import parameters_of

__all__ = ["cubism", "photocopy", "ripple"]


def check_images(images: object) -> Tensor:
    """Return `images` if it is a batch of images that the filters know, else raise ValueError."""
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a tensor (B, 3, H, W), got {type(images).__name__}")
    known = images.dtype == torch.uint8 or images.is_floating_point()
    if not known or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(
            "images must be uint8 or floating point (B, 3, H, W) with H, W >= 1, "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    return images


def to_light(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the linear light, of type `dtype`, of sRGB images of any shape, IEC 61966-2-1.

    The images are uint8, or floating point that is cut to 0..1.
    """
    if images.dtype == torch.uint8:
        return _linear(images.device, dtype)[images.long()]
    value = images.to(dtype).clamp(0, 1)
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def from_light(light: Tensor, dtype: torch.dtype) -> Tensor:
    """Return linear light as sRGB images: rounded to 0..255 for uint8, else in 0..1."""
    light = light.clamp(0, 1)
    # The power's slope at 0 is infinite, which would poison the gradient of the branch not taken.
    curve = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    value = torch.where(light <= 0.0031308, 12.92 * light, curve)
    return (255 * value).round().to(dtype) if dtype == torch.uint8 else value.to(dtype)


def arrays_first(filter_: Callable[..., Any]) -> Callable[..., Callable[..., Tensor]]:
    """Have batches of uint8 on the CPU filtered by the filter on arrays, image by image."""

    def decorate(batched: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @wraps(batched)
        def call(images: Tensor, **told: Any) -> Tensor:
            count = len(check_images(images))
            if "seed" in told:
                told["seed"] = _seeds(told["seed"], count)
            if images.dtype != torch.uint8 or images.device.type != "cpu":
                return batched(images, **told) if count else images.clone()
            filtered = torch.empty(images.shape, dtype=torch.uint8)
            for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
                own = told | {"seed": told["seed"][i]} if "seed" in told else told
                filtered[i] = torch.from_numpy(filter_(image, **own)).permute(2, 0, 1)
            return filtered

        return call

    return decorate


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    seeds = list(seed) if isinstance(seed, Sequence) else [seed] * count
    if len(seeds) != count:
        raise ValueError(f"seed must be one integer or {count}, one an image, got {len(seeds)}")
    return seeds


def _compiled(images: Tensor) -> bool:
    """Can the compiled loops take them?"""
    return images.device.type == "cpu" and not images.requires_grad


@lru_cache(maxsize=8)
def _linear(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(LINEAR).to(device, dtype)


@parameters_of(gegl_photocopy.photocopy)
@arrays_first(gegl_photocopy.photocopy)
def photocopy(
    images: Tensor, *, mask_radius: float, sharpness: float, black: float, white: float
) -> Tensor:
    """Return `images` as grey photocopies with three equal channels; see `transforms.photocopy`.

    The recursive blurs are linear maps along rows and columns and are done as such, but where the
    loops can be: two products with matrices of the image's height and width, in double precision.
    """
    light = to_light(images, torch.float64)
    luminance = torch.einsum("bchw,c->bhw", light, light.new_tensor(LUMINANCE))
    detail = _blur(luminance, sigma_of(detail_radius(sharpness)))
    surround = _blur(luminance, sigma_of(mask_radius))
    lit = surround != 0
    # Divided by zero: 2 is white whatever the ramp, which is 1 at most.
    unlit_ratio = torch.where(detail > 0, 2.0, 0.0)
    ratio = torch.where(lit, detail / torch.where(lit, surround, 1.0), unlit_ratio)

    ramp, found = _white_ramps(ratio.detach(), lit, white)
    lift = (torch.minimum(ratio - THRESHOLD, ramp) / ramp.clamp(min=1e-9)).where(ramp > 0, 1.0)
    shade = detail * (1 - THRESHOLD + ratio) * (found * (black > 0))
    grey = torch.where(ratio < THRESHOLD, shade, lift + detail - lift * detail)
    return from_light(grey, images.dtype)[:, None].repeat(1, 3, 1, 1)


def _white_ramps(ratio: Tensor, lit: Tensor, white: float) -> tuple[Tensor, Tensor]:
    """Return each image's width of the ramp to white, and whether it has dark pixels: (B, 1, 1).

    `ratio` is (B, H, W), and a ratio where `lit` (B, H, W).
    """
    dark = (ratio >= 0) & (ratio < THRESHOLD) & lit
    bins = (ratio * BINS).long().clamp(0, BINS)
    counts = torch.zeros(len(ratio), BINS + 1, dtype=torch.long, device=ratio.device)
    counts.scatter_add_(1, bins.flatten(1), dark.flatten(1).long())
    total = counts.sum(dim=1, keepdim=True)
    above = counts.cumsum(dim=1).double() / total > white
    ramp = THRESHOLD - above.int().argmax(dim=1, keepdim=True).double() / BINS
    ramp = ramp.where(above.any(dim=1, keepdim=True), 0.0)
    ramp = ramp.where((total > 0) & (white > 0), 1.0)
    return ramp[..., None], (total > 0)[..., None]


def _blur(planes: Tensor, sigma: float) -> Tensor:
    """Return `planes` (B, H, W) blurred along x, then y, edge values repeated outwards."""
    if _compiled(planes):
        return torch.stack([torch.from_numpy(blur(p, sigma)) for p in planes.numpy()])
    height, width = planes.shape[1:]
    return _matrix(height, sigma, planes.device) @ (planes @ _matrix(width, sigma, planes.device).T)


@lru_cache(maxsize=8)
def _matrix(length: int, sigma: float, device: torch.device) -> Tensor:
    """Return the blur along an axis as a matrix (length, length): its answers to unit impulses."""
    answers = gegl_photocopy.blur_columns(np.eye(length), sigma)
    return torch.from_numpy(np.ascontiguousarray(answers)).to(device)


@parameters_of(gegl_ripple.ripple)
@arrays_first(gegl_ripple.ripple)
def ripple(images: Tensor, *, sampler_type: str, abyss_policy: str, **wave: Any) -> Tensor:
    """Return `images` displaced by a plane wave; see `transforms.ripple` for the parameters."""
    height, width = images.shape[2:]
    field = ripple_displacement((height, width), **wave)
    light = to_light(images, torch.promote_types(images.dtype, torch.float32))
    border = 0
    if abyss_policy in BORDERS:
        # A border of that colour, repeated outwards, is what "clamp" does anyway.
        border, light = 1, pad(light, (1, 1, 1, 1), value=BORDERS[abyss_policy])
    kernel, loop = SAMPLERS[sampler_type], abyss_policy == "loop"
    offset = 0.0 if sampler_type == "nearest" else 0.5
    x = (np.arange(width) + field[..., 0]).astype(np.float32) - offset + border
    y = (np.arange(height)[:, None] + field[..., 1]).astype(np.float32) - offset + border
    columns, across = _taps(x, light.shape[3], kernel, loop, light)
    rows, down = _taps(y, light.shape[2], kernel, loop, light)
    # Sixteen rows of a table, in which a row is a pixel of all images, make a pixel.
    places = (rows[:, :, None] * light.shape[3] + columns[:, None]).flatten(1)
    weights = (down[:, :, None] * across[:, None]).flatten(1)
    table = light.permute(2, 3, 0, 1).flatten(2).flatten(0, 1)
    total = embedding_bag(places, table, per_sample_weights=weights, mode="sum")
    total = total.view(height, width, len(images), 3).permute(2, 3, 0, 1)
    return from_light(total.contiguous(), images.dtype)


def _taps(
    position: np.ndarray, size: int, kernel: Kernel, loop: bool, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the four pixels 0..size-1 around positions (H, W) along one axis, and their weights.

    Both are (H W, 4), on the device of `like`.
    """
    first = np.floor(position)
    t = position - first
    weights = np.stack([a + t * (b + t * (c + t * d)) for a, b, c, d in kernel], axis=2)
    pixels = first.astype(np.int32)[..., None] + np.arange(-1, 3, dtype=np.int32)
    pixels = pixels % size if loop else pixels.clip(0, size - 1)
    device = like.device
    pixels, weights = pixels.reshape(-1, 4), weights.reshape(-1, 4)
    return torch.from_numpy(pixels).to(device), torch.from_numpy(weights).to(device, like.dtype)


class _Layer(NamedTuple):
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
    """(N, 4 h) the cell after the last one."""
    fade: Tensor
    """(N, 3) opacity as a plane: constant, per x, per y."""


@parameters_of(gegl_cubism.cubism)
@arrays_first(gegl_cubism.cubism)
def cubism(
    images: Tensor,
    *,
    tile_size: float,
    tile_saturation: float,
    bg_color: Sequence[int],
    seed: int | Sequence[int],
) -> Tensor:
    """Return `images` painted with tiles; the same tiles as `transforms.cubism` for the same seed.

    `seed` is one integer for all images, or B of them. Tiles that do not overlap are painted at
    once: a batch takes as many steps as tiles lie over each other in its most crowded image.
    """
    count, _, height, width = images.shape
    paintings = [
        gegl_cubism.place_tiles(height, width, tile_size, tile_saturation, number)
        for number in _seeds(seed, count)
    ]
    light = to_light(images, torch.promote_types(images.dtype, torch.float32))
    if _compiled(light) and light.dtype == torch.float32:
        colour = LINEAR[list(bg_color)].astype(np.float32)
        for image, tiles in zip(light.numpy(), paintings, strict=True):
            x, y = tiles.sources.T
            colours = np.ascontiguousarray(image[:, y, x].T)
            image[:] = gegl_cubism.painted(tiles, colours, colour, height, width)
        return from_light(light, images.dtype)
    canvas = torch.from_numpy(LINEAR[list(bg_color)]).to(light)[:, None]
    canvas = canvas.repeat(1, count * height * width)
    for layer in _layers(paintings, height, width, images.device):
        _paint(canvas, light, layer)
    return from_light(canvas.view(3, *images[:, 0].shape).transpose(0, 1), images.dtype)


def _layers(
    paintings: list[gegl_cubism.Tiles], height: int, width: int, device: torch.device
) -> Iterator[_Layer]:
    """Yield the tiles of all images from the bottom up."""
    from transforms import painting

    spans = [painting.cover(tiles.corners, height, width) for tiles in paintings]
    levels = np.concatenate([painting.layers_of(part, height, width) for part in spans])
    order = np.argsort(levels, kind="stable")
    sub_rows = max(part.begin.shape[1] for part in spans)

    def arranged(parts: list[npt.NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)[order]).to(device)

    def padded(cells: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        return np.pad(cells, ((0, 0), (0, sub_rows - cells.shape[1])))

    tensors = (
        arranged([np.full(len(tiles.corners), i) for i, tiles in enumerate(paintings)]),
        arranged([tiles.sources for tiles in paintings]),
        arranged([part.first for part in spans]),
        arranged([padded(part.begin) for part in spans]),
        arranged([padded(part.end) for part in spans]),
        arranged([painting.fade_in(tiles.corners) for tiles in paintings]).float(),
    )
    widest = max(int(part.extent[:, 0].max()) for part in spans)
    sizes = np.bincount(levels).tolist()
    for parts in zip(*(tensor.split(sizes) for tensor in tensors), strict=True):
        yield _Layer(widest, *parts)


def _paint(canvas: Tensor, light: Tensor, layer: _Layer) -> None:
    """Blend a layer over `canvas` (3, B H W), in place; `light` are the images (B, 3, H, W)."""
    from transforms.painting import LEAST, MOST, SUB

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
    fading = start + per_x * x[:, None, :] + per_y * y[:, :, None]
    fading = fading.clamp(float(LEAST), float(MOST))

    # Beside the canvas nothing is covered: what is added there is 0, wherever it goes.
    inside = y.clamp(max=height - 1)[:, :, None] * width + x.clamp(max=width - 1)[:, None, :]
    place = (layer.image[:, None, None] * (height * width) + inside).flatten()
    colour = light[layer.image, :, layer.source[:, 1], layer.source[:, 0]].T  # (3, N)
    below = canvas[:, place].view(3, *coverage.shape)
    change = coverage * fading * (colour[..., None, None] - below)
    canvas.index_add_(1, place, change.flatten(1))
