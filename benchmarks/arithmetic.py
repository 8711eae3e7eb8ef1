"""What a step costs, by arithmetic: operations and bytes of gradients.

FLOPs are those of convolutions and matrix products, a multiply-accumulate being two, counted on
the meta device by torch's counter.
"""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import LOGITS, forward

CLASSES = 21
TAPS: dict[str, tuple[str, ...]] = {
    "pool3": ("pool3",),
    "pool5": ("pool5",),
    "all": tuple(f"pool{n}" for n in range(1, 6)),
    "whole": (LOGITS,),
}
"""What a student's maps are taken of; `all` is five distances, `whole` distillation of logits."""
FP32 = 4


class Cost(NamedTuple):
    """Of one image through a network that stops after the deepest tap: FLOPs of both passes (no
    gradient of the image), how many parameters get a gradient, and values of the deepest map."""

    forward: int
    backward: int
    parameters: int
    maps: int

    @property
    def pair(self) -> int:
        """FLOPs of an adaptation step for each pair: student and truncated teacher."""
        return 2 * self.forward + self.backward

    @property
    def supervised(self) -> int:
        """FLOPs of a supervised step for each image."""
        return self.forward + self.backward

    @property
    def reduced(self) -> int:
        """Bytes of gradients that the processes average in a step, whatever its batch."""
        return FP32 * self.parameters


def count(net: nn.Module, taps: Iterable[str], size: tuple[int, int]) -> Cost:
    """The cost of a network on the meta device, one image of (H, W)."""
    taps = list(taps)
    with FlopCounterMode(display=False) as first:
        maps = forward(net, torch.empty(1, 3, *size, device="meta"), taps)
    with FlopCounterMode(display=False) as second:
        torch.stack([found.sum() for found in maps.values()]).sum().backward()
    parameters = sum(p.numel() for p in net.parameters() if p.grad is not None)
    flops = first.get_total_flops(), second.get_total_flops()
    return Cost(*flops, parameters, maps[taps[-1]].numel())


@cache
def cost(tap: str, side: int, width: float = 1.0) -> Cost:
    """DeepLab-LargeFOV on a square image, to one of TAPS or a layer."""
    with torch.device("meta"):
        net = DeepLabVGG16(CLASSES, width)
    return count(net, TAPS.get(tap, (tap,)), (side, side))


def sent(reduced: float, processes: int) -> float:
    """Bytes that each process sends, and receives, in a ring all-reduce of `reduced` bytes."""
    return 2 * (processes - 1) / processes * reduced
