"""The least that a step can take, operation by operation: the longer of its arithmetic at the peak
and its inputs and outputs through memory once.

Counted on the meta device with the network in bf16 and the loss in fp32, as autocast has them.
What an eager step does beyond that (adding biases after cuDNN's convolutions, casting weights, the
optimiser, re-reading what no cache keeps) comes on top; what a compiler fuses comes off.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import LOGITS, forward, upsample

BANDWIDTH = 3.35
"""TB/s of an H100 SXM, from its data sheet."""
ACTIVATIONS = ("relu_", "threshold_backward")


class Costs(TorchDispatchMode):
    """FLOPs and bytes of every operation inside."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[tuple[str, float, float]] = []
        """Name, FLOPs, bytes."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given, name = kwargs or {}, func._overloadpacket.__name__
        out = func(*args, **given)
        if func.is_view or name.startswith("empty"):
            return out
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **given, out_val=out) if count else 0
        read = {id(t): t for t in tree_leaves((args, given)) if isinstance(t, Tensor)}
        written = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        passed = sum(t.numel() * t.element_size() for t in (*read.values(), *written))
        self.costs.append((name, flops, passed))
        return out

    def least(self, peak: float, bandwidth: float) -> tuple[float, float]:
        """Seconds of what arithmetic bounds and of what memory bounds, at FLOP/s and byte/s."""
        arithmetic = memory = 0.0
        for _, flops, passed in self.costs:
            if flops / peak > passed / bandwidth:
                arithmetic += flops / peak
            else:
                memory += passed / bandwidth
        return arithmetic, memory

    def without(self, names: tuple[str, ...]) -> "Costs":
        """The same but for operations that a compiler may have fused into others."""
        rest = Costs()
        rest.costs = [cost for cost in self.costs if cost[0] not in names]
        return rest


def supervised_costs(size: int, classes: int, batch: int) -> Costs:
    """Of a supervised step's forward and backward pass."""
    with torch.device("meta"):
        net = DeepLabVGG16(classes).bfloat16()
        images = torch.empty(batch, 3, size, size, dtype=torch.bfloat16)
        labels = torch.empty(batch, size, size, dtype=torch.long)
    with Costs() as costs:
        logits = forward(net, images, [LOGITS])[LOGITS].float()
        nn.functional.cross_entropy(upsample(logits, (size, size)), labels).backward()
    return costs
