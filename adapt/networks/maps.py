"""Maps in what layers return: (B, C, h, w), channels last, or the tokens of a transformer."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import ceil

import torch
from torch import Tensor, nn

LEADING = 8
"""Class and register tokens that may stand before the tokens of the grid."""
FEWEST = 16
"""Cells of a grid that has such tokens: a few of them are a grid and some more by chance."""
WIDTHS = ("out_channels", "num_features", "out_features")
"""Attributes of layers that say how many channels their output has."""


def blank(net: nn.Module, size: tuple[int, int]) -> Tensor:
    """An image (1, C, H, W) of zeros where the network lies, of as many channels as it sees."""
    first = next(net.parameters(), torch.empty(0))
    channels = getattr(net, "image_channels", 3)
    return torch.zeros(1, channels, *size, device=first.device, dtype=first.dtype)


def elements(output: object, before: str = "") -> Iterator[tuple[str, Tensor]]:
    """The maps and tokens in a list, tuple or mapping, each with its path: `2`, or
    `hidden_states.2` of an object of transformers. A tensor has none."""
    items: Iterable[tuple[object, object]] = ()
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, list | tuple):
        items = enumerate(output)
    for key, value in items:
        if isinstance(value, Tensor) and value.ndim in (3, 4):
            yield f"{before}{key}", value
        else:
            yield from elements(value, f"{before}{key}.")


def as_map(output: Tensor, module: nn.Module, size: tuple[int, int]) -> Tensor:
    """A layer's output as a map (B, C, h, w), or as (B, C, N) where N tokens lie on no grid.

    Tokens, (B, N, C) or (B, C, N), are brought to the grid of the image's patches: h w = N, where h
    and w are the image's sides over one stride, rounded either way. Up to LEADING tokens before the
    grid's, which are class and register tokens, are left out of it. Without such a grid all tokens
    are kept. Four dimensions are (B, C, h, w), or (B, h, w, C) as in timm's Swin.

    Which dimension has the channels is told by the widths of the layers inside the module, and by
    which of them goes with one stride of the image. Other outputs stay as they are.

    Args:
        output: of the module.
        module: whose layers tell how many channels it puts out.
        size: (H, W) of the image.
    """
    if output.ndim == 4:
        _, a, b, c = output.shape
        first, last = stride_of((b, c), size), stride_of((a, b), size)
        if last and has_width(module, c) and not (first and has_width(module, a)):
            return output.movedim(-1, 1)
    elif output.ndim == 3:
        _, n, c = output.shape
        of_n, of_c = has_width(module, n), has_width(module, c)
        in_front = of_n if of_n != of_c else bool(not grid_of(n, size) and grid_of(c, size))
        tokens = output if in_front else output.mT  # (B, C, N)
        leading, grid = grid_of(tokens.shape[2], size) or (0, None)
        return tokens[..., leading:].unflatten(2, grid) if grid else tokens
    return output


def has_width(module: nn.Module, channels: int) -> bool:
    """Does a layer in the module put out so many channels?"""
    return any(
        channels in (getattr(layer, name, None) for name in WIDTHS)
        or tuple(getattr(layer, "normalized_shape", ())) == (channels,)
        for layer in module.modules()
    )


def cells(size: tuple[int, int], stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The grids (h, w) over an image (H, W) of a network that cuts off what is over, and pads."""
    height, width = size
    return (height // stride, width // stride), (ceil(height / stride), ceil(width / stride))


@cache
def stride_of(grid: tuple[int, int], size: tuple[int, int]) -> int | None:
    """The one stride that gives a grid (h, w) over an image (H, W); None = there is none."""
    near = range(max(1, size[0] // (grid[0] + 1)), size[0] // max(1, grid[0] - 1) + 2)
    return next((stride for stride in near if grid in cells(size, stride)), None)


@cache
def grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, tuple[int, int]] | None:
    """How many leading tokens stand before those of a grid (h, w) over an image, and that grid."""
    grids = {h * w: (h, w) for s in range(max(size), 0, -1) for h, w in cells(size, s)}
    for leading in range(LEADING + 1):
        if (cell := tokens - leading) in grids and cell >= (FEWEST if leading else 1):
            return leading, grids[cell]
    return None
