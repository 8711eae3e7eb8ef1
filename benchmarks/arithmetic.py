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
from adapt.networks.taps import LOGITS, forward
from adapt.training.freezing import with_gradient

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
    within = with_gradient(net, taps, size)
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
    """Bytes that each process sends, and receives, in a ring all-reduce of `reduced` bytes."""
    return 2 * (processes - 1) / processes * reduced


def ring_seconds(reduced: float, processes: int, link: float) -> float:
    """A ring all-reduce over links of so many bytes a second in each direction; latency, of which
    a ring has 2 (processes - 1) times that of a message, is left out."""
    return sent(reduced, processes) / link


@dataclass(frozen=True)
class Machines:
    """What is assumed of them."""

    flops: float
    """That a GPU reaches."""
    cores: int
    """Of CPUs that decode, for each GPU."""
    rate: float
    """Images a second that one of them delivers."""
    bus: float
    """Host to GPU, for each GPU."""
    disk: float
    """A machine's own."""
    shared: float
    """The file system of all machines."""
    link: float
    """Of each GPU to the others of its machine, and to those of other machines if there are any."""
    network: float
    gpus: int = 8
    """Of a machine."""


@dataclass(frozen=True)
class Pair:
    """What a pair takes of them."""

    flops: float
    images: float
    file_bytes: float
    pixel_bytes: float
    reduced: float
    """Bytes all-reduced in a step of `batch` pairs of one GPU."""
    batch: int


def limits(pair: Pair, machines: Machines, gpus: int) -> dict[str, float]:
    """Pairs a second of all GPUs together that each resource allows."""
    hosts = -(-gpus // machines.gpus)
    link = machines.link if hosts == 1 else machines.network
    alone = float("inf")
    reducing = ring_seconds(pair.reduced, gpus, link)
    return {
        "arithmetic": gpus * machines.flops / pair.flops,
        "decoding": gpus * machines.cores * machines.rate / pair.images,
        "bus to the GPU": gpus * machines.bus / pair.pixel_bytes,
        "the machines' own disks": hosts * machines.disk / pair.file_bytes,
        "shared file system": machines.shared / pair.file_bytes,
        "all-reduce": gpus * pair.batch / reducing if gpus > 1 else alone,
    }
