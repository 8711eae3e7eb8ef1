"""The groups of GL-SP: which of a parameter's elements belong to one output channel."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

TRANSPOSED = nn.modules.conv._ConvTransposeNd


class Groups(NamedTuple):
    """How a parameter is cut into groups of equal size."""

    shape: tuple[int, ...]
    """What the parameter is viewed as."""
    dims: tuple[int, ...]
    """The dimensions of that view along which a group runs."""
    size: int
    """p_g, elements in a group."""

    @property
    def scale(self) -> float:
        """s_g = sqrt(p_g)."""
        return math.sqrt(self.size)

    def total(self, values: Tensor) -> Tensor:
        """Sum over each group; one element a group, and 1 in the dimensions of `dims`."""
        return values.view(self.shape).sum(self.dims, keepdim=True)

    def rows(self, values: Tensor) -> Tensor:
        """(groups, p_g), a group a row; a copy where the layout asks for it."""
        kept = [dim for dim in range(len(self.shape)) if dim not in self.dims]
        return values.view(self.shape).permute(*kept, *self.dims).reshape(-1, self.size)

    def norm(self, values: Tensor) -> Tensor:
        """Euclidean norm of each group, shaped as by `total`."""
        return torch.linalg.vector_norm(values.view(self.shape), dim=self.dims, keepdim=True)


def groups_of(parameter: Tensor, module: nn.Module | None, by: str) -> Groups:
    """The groups of one parameter.

    `channel`: the fan-in of an output channel (Li et al. 2020, section 3), p_g = h w d. Dimension 0
    is the output channel, so that of a grouped convolution a group has its own inputs only; of
    transposed convolutions (in, out / groups, h, w) it is the second, per block of inputs. Biases
    and the scales of norms, one number a channel, are groups of one. `layer`: the whole parameter.

    Args:
        parameter: of any shape.
        module: the one that owns it.
        by: channel | layer.
    """
    shape = tuple(parameter.shape)
    if by == "layer":
        shape = shape or (1,)
        dims = tuple(range(len(shape)))
    elif isinstance(module, TRANSPOSED) and len(shape) > 1:
        blocks = module.groups
        shape = (blocks, shape[0] // blocks, *shape[1:])
        dims = (1, *range(3, len(shape)))
    elif len(shape) < 2:
        shape, dims = (parameter.numel(), 1), (1,)
    else:
        dims = tuple(range(1, len(shape)))
    return Groups(shape, dims, math.prod(shape[d] for d in dims))
