"""How far each layer has moved from where it started, while a network trains."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from adapt.penalties import owned, split_shared
from adapt.penalties.split import by_layer


class Drift:
    """The start point's shared parameters beside the network's, by the layer that owns them.

    Args:
        net: the student.
        start_point: the starting checkpoint's tensors; copied to fp32 where `net` is.
    """

    def __init__(self, net: nn.Module, start_point: dict[str, Tensor]) -> None:
        shared, _ = split_shared(net, start_point)
        parameters = dict(net.named_parameters())
        self.layers = {
            layer: [(parameters[n], owned(parameters[n], start_point[n])) for n in names]
            for layer, names in by_layer(net, shared).items()
        }

    @torch.no_grad()
    def relative(self) -> dict[str, float]:
        """|w - w0| / |w0| of every layer, over all its parameters; layers that started at 0 are
        left out."""
        found = {}
        for layer, pairs in self.layers.items():
            if size := length(w0 for _, w0 in pairs):
                found[layer] = length(w.detach().float() - w0 for w, w0 in pairs) / size
        return found


def length(tensors: Iterable[Tensor]) -> float:
    """Euclidean norm of all of them together."""
    return float(torch.stack([torch.linalg.vector_norm(t) for t in tensors]).norm())
