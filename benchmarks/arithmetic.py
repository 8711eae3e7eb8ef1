"""What a training costs, by arithmetic: operations, bytes over the link, images from the loader.

FLOPs are those of convolutions and matrix products, a multiply-accumulate being two, counted on
the meta device by torch's counter. Rates are per second, sizes in bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.reach import reached
from adapt.taps import LOGITS, forward

CLASSES = 21
POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")
TAPS: dict[str, tuple[str, ...]] = {
    "pool3": ("pool3",), "pool5": ("pool5",), "all": POOLS, "whole": (LOGITS,),
}  # fmt: skip
"""What a student's maps are taken of; `all` is five distances, `whole` distillation of logits."""
FP32 = 4


@dataclass(frozen=True)
class Cost:
    """Of one image through a network that stops behind the deepest tap."""

    forward: int
    """FLOPs."""
    backward: int
    """FLOPs: gradients of weights and of maps, but not of the image."""
    parameters: int
    """That get a gradient."""
    maps: int
    """Values of the deepest map."""

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
    within = reached(net, taps, size)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in within)
    with FlopCounterMode(display=False) as first:
        maps = forward(net, torch.empty(1, 3, *size, device="meta"), taps)
    with FlopCounterMode(display=False) as second:
        torch.stack([found.sum() for found in maps.values()]).sum().backward()
    return Cost(
        forward=first.get_total_flops(),
        backward=second.get_total_flops(),
        parameters=sum(p.numel() for name, p in net.named_parameters() if name in within),
        maps=maps[taps[-1]].numel(),
    )


@cache
def cost(tap: str, side: int, width: float = 1.0) -> Cost:
    """DeepLab-LargeFOV of 21 classes on a square image, to one of TAPS."""
    with torch.device("meta"):
        net = DeepLabVGG16(CLASSES, width)
    return count(net, TAPS[tap], (side, side))


def sent(reduced: float, processes: int) -> float:
    """Bytes that each process sends (and receives) in a ring all-reduce of `reduced` bytes."""
    return 2 * (processes - 1) / processes * reduced


def ring_seconds(reduced: float, processes: int, link: float) -> float:
    """A ring all-reduce limited by a link of so many bytes a second in each direction; latency,
    which a ring adds 2 (processes - 1) times, is left out."""
    return sent(reduced, processes) / link


def hidden_batch(tap_cost: Cost, processes: int, link: float, flops: float) -> float:
    """Pairs of a process whose computing takes as long as the all-reduce."""
    return ring_seconds(tap_cost.reduced, processes, link) * flops / tap_cost.pair


def steps_of(pairs: float, batch: float) -> float:
    """Steps of one epoch."""
    return pairs / batch
