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


def laid_out(
    pulled: Pulled, targets: list[Tensor], whole_groups: bool
) -> tuple[Pulled, list[Tensor]] | None:
    """Views of a single parameter in the order in which it lies in memory: (numbers,), or where
    groups must stay together (groups, p_g).

    None: tensors that lie in memory in different orders, or groups that are no rows there (whole
    layers, transposed convolutions).
    """
    first, groups = pulled.weights[0], pulled.groups[0]
    strides = first.stride()
    order = sorted(range(first.ndim), key=lambda dim: -strides[dim])
    tensors = (pulled.weights, pulled.origins, pulled.fisher, targets)
    laid = [[t.permute(order) for t in found] for found in tensors]
    if not all(t.is_contiguous() for found in laid for t in found):
        return None
    if not whole_groups:
        weights, origins, fisher, aims = ([t.view(-1) for t in found] for found in laid)
        return pulled._replace(weights=weights, origins=origins, fisher=fisher), aims
    if order[:1] != [0] or groups.dims != tuple(range(1, first.ndim)):
        return None
    weights, origins, fisher, aims = ([t.view(len(t), -1) for t in found] for found in laid)
    rows = Groups(tuple(weights[0].shape), (1,), groups.size)
    return Pulled(weights, origins, fisher, [rows], pulled.epsilon), aims


def pieces(
    pulled: Pulled, targets: list[Tensor], whole_groups: bool = False, times: int = 1
) -> Iterator[tuple[Pulled, list[Tensor]]]:
    """The same numbers in pieces: views of weights, origins, Fisher information and targets.

    What cannot be cut comes as it is: parameters on a GPU or of several tensors, and those that
    `laid_out` has no views of. `times` larger pieces: for many operations a piece.
    """
    most = PIECE * times * torch.get_num_threads()
    first = pulled.weights[0]
    small = len(pulled.weights) > 1 or first.is_cuda or first.numel() <= most
    views = None if small else laid_out(pulled, targets, whole_groups)
    if views is None:
        yield pulled, targets
        return
    flat, aims = views
    groups = flat.groups[0]
    size = max(1, most // groups.size) if whole_groups else most
    tensors = (flat.weights, flat.origins, flat.fisher, aims)
    split = [[t.split(size) for t in found] for found in tensors]
    for number, piece in enumerate(split[0][0]):
        own = Groups(tuple(piece.shape), (1,), groups.size) if whole_groups else groups
        weights, origins, fisher, parts = ([t[number] for t in found] for found in split)
        yield Pulled(weights, origins, fisher, [own], pulled.epsilon), parts
