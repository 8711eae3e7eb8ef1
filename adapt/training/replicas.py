"""The student as DistributedDataParallel copies it: only the maps that a term asks for."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adapt.machine.processes import world
from adapt.networks.gradient_checkpointing import recomputed
from adapt.networks.taps import forward


class Tapped(nn.Module):
    """A network's maps at some taps, as a module: (B, 3, H, W) -> name -> (B, C, h, w)."""

    def __init__(
        self, net: nn.Module, taps: frozenset[str], again: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.net, self.taps = net, taps
        self.again = tuple(again)  # no ModuleList: they are the network's own

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        with recomputed(self.again):
            return forward(self.net, images, self.taps)


def replicated(net: nn.Module, taps: frozenset[str], again: Sequence[nn.Module]) -> nn.Module:
    """`Tapped`, whose gradients are averaged over the processes; the maps inside `again` are not
    kept for the backward pass.

    Every trainable parameter of the network must get a gradient from the taps
    (`adapt.training.freezing.reached`), or the processes wait for each other for ever.
    """
    tapped = Tapped(net, taps, again)
    return DistributedDataParallel(tapped) if world() > 1 else tapped
