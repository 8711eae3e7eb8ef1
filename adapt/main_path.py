"""A network's main path: the layers from image to logits whose maps differ."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from adapt.layers import Layer

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LINEAR = ("Conv", "Linear", "BatchNorm", "GroupNorm", "LayerNorm", "InstanceNorm")
"""Beginnings of the types whose maps the next activation or norm layer only finishes."""
LEAST = 4
"""Layers that a main path should have before blocks stay closed."""


def main_path(net: nn.Module, layers: Sequence[Layer]) -> list[Layer]:
    """The tappable layers from image to logits whose maps differ, in order.

    Containers are opened and blocks with a forward pass of their own are not, as their inner
    branches follow no one order; blocks are opened level by level where fewer than LEAST layers are
    left. Of a convolution with norm and activation only the last is kept, and of several layers
    that hand on the same map the first, with the alias of any of them. Maps of one cell are left
    out.
    """
    modules = dict(net.named_modules())

    def opened(name: str, left: int) -> list[str]:
        """Names below a module, blocks replaced by what is in them `left` times."""
        found = []
        for child, module in modules[name].named_children():
            path = f"{name}.{child}" if name else child
            closed = not isinstance(module, CONTAINERS)
            leaf = next(module.children(), None) is None
            if leaf or (closed and not left):
                found.append(path)
            else:
                found += opened(path, left - closed)
        return found

    short = {x.same_as or x.name: x.aliases for x in layers if x.aliases}
    path: list[Layer] = []
    for left in range(LEAST):
        names = set(opened("", left))
        every = [x for x in layers if x.name in names and x.calls == 1 and not x.returned]
        ahead = [*every[1:], None]
        kept = [
            x
            for x, after in zip(every, ahead, strict=True)
            if not x.obstacle
            and x.shape[2:] != (1, 1)
            and (x.same_as or x.name) not in {k.same_as or k.name for k in every[: every.index(x)]}
            and not (after and _finishes(after, x))
        ]
        path = [replace(x, aliases=short.get(x.same_as or x.name, ())) for x in kept]
        if len(path) >= LEAST:
            break
    return path


def _finishes(after: Layer, layer: Layer) -> bool:
    """Is `after` the norm or activation of a convolution or norm layer?"""
    if not layer.leaf or not layer.type.startswith(LINEAR) or after.shape != layer.shape:
        return False
    small = after.leaf and after.parameters <= 4 * layer.shape[1]
    return small and "Pool" not in after.type and not after.same_as
