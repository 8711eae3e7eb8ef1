"""Parameters cut so small that what a penalty computes on the way to its result stays in a CPU's
cache: the whole of a layer would go through memory once for every operation."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from adapt.penalties.groups import Groups

PIECE = 3 * 2**16
"""Numbers a thread: 768 KiB in fp32, of an L2 cache of 1 MiB and its share of the next."""


class Pulled(NamedTuple):
    """Parameters of one kind, position by position."""

    weights: list[Tensor]
    origins: list[Tensor]
    """w0, fp32; empty = zeros."""
    fisher: list[Tensor]
    """F, fp32, not negative; empty = ones."""
    groups: list[Groups]
    epsilon: float
    """The smoothing e; 0 = none."""

    def away(self) -> list[Tensor]:
        """w - w0; the weights themselves, not copies, where w0 = 0."""
        if not self.origins:
            return self.weights
        return list(torch._foreach_sub(self.weights, self.origins))


def pieces(
    pulled: Pulled, targets: list[Tensor], whole_groups: bool
) -> Iterator[tuple[Pulled, list[Tensor]]]:
    """The same numbers in pieces: views of weights, origins, Fisher information and targets.

    What cannot be cut comes as it is: parameters on a GPU or of several tensors, tensors that lie
    in memory in different orders, and groups that are not rows (whole layers, transposed
    convolutions) where `whole_groups` must stay together.
    """
    most = PIECE * torch.get_num_threads()
    tensors = [pulled.weights, pulled.origins, pulled.fisher, targets]
    first, groups = pulled.weights[0], pulled.groups[0]
    if len(pulled.weights) > 1 or first.is_cuda or first.numel() <= most:
        yield pulled, targets
        return
    strides = first.stride()
    order = sorted(range(first.ndim), key=lambda dim: -strides[dim])
    laid = [[t.permute(order) for t in found] for found in tensors]
    rows = order[0] == 0 and groups.dims == tuple(range(1, first.ndim))
    dense = all(t.is_contiguous() for found in laid for t in found)
    if not dense or (whole_groups and not rows):
        yield pulled, targets
        return
    shape = (len(first), -1) if whole_groups else (-1,)
    size = max(1, most // groups.size) if whole_groups else most
    split = [[t.view(shape).split(size) for t in found] for found in laid]
    for number, piece in enumerate(split[0][0]):
        own = Groups(tuple(piece.shape), (1,), groups.size) if whole_groups else groups
        weights, origins, fisher, aims = ([t[number] for t in found] for found in split)
        yield Pulled(weights, origins, fisher, [own], pulled.epsilon), aims
