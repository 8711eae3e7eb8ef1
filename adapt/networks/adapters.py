"""Small residual modules after layers of a network whose own weights stay as they are.

`export` ships a copy of this file, which therefore imports nothing of this project.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

NAME = "added_adapter"
"""Under which a layer has its adapter, so that all other tensors keep their names."""
UP, DOWN = "up.weight", "down.weight"
Sizes = Mapping[str, Sequence[int]]
"""Layer -> channels of its map, and the adapter's rank."""


class Adapter(nn.Module):
    """x + up(relu(down(x))) of maps (B, C, h, w), where `down` and `up` are 1x1 convolutions to
    `rank` channels and back (Houlsby et al. 2019); of rank 0 x + up(x), any affine map of the
    channels (Rebuffi et al. 2017). `up` starts at 0, and so the adapter as the identity, exactly.
    """

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, rank, 1) if rank else None
        self.up = nn.Conv2d(rank or channels, channels, 1)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(x if self.down is None else self.down(x).relu())


def adapted(net: nn.Module, sizes: Sizes) -> nn.Module:
    """The network with new adapters after some layers, none a Sequential, which would call it by
    itself; each returns one map (B, C, h, w)."""
    for layer, (channels, rank) in sizes.items():
        module = net.get_submodule(layer)
        module.add_module(NAME, Adapter(channels, rank))
        module.register_forward_hook(after)
    return net


def after(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """A forward hook: the adapter's output instead of the layer's."""
    return module.get_submodule(NAME)(output)


def is_added(tensor: str) -> bool:
    """Does the name of a tensor belong to an adapter?"""
    return NAME in tensor.split(".")


def sizes_in(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """The adapters that a state_dict has."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(f".{NAME}.{UP}"):
            layer = name.removesuffix(f".{NAME}.{UP}")
            rank = tensor.shape[1] if f"{layer}.{NAME}.{DOWN}" in tensors else 0
            found[layer] = [tensor.shape[0], rank]
    return found


@torch.no_grad()
def load_maps(net: nn.Module, maps: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Make adapters of rank 0 the affine maps W x + b of the channels: layer -> W (C, C), b (C)."""
    for layer, (weight, bias) in maps.items():
        up = net.get_submodule(f"{layer}.{NAME}.up")
        assert isinstance(up, nn.Conv2d) and up.bias is not None
        up.weight.copy_((weight - torch.eye(len(weight)).to(weight))[..., None, None])
        up.bias.copy_(bias)
