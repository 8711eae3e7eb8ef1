"""Which parameters an output depends on, read off its autograd graph without a backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from adapt.batchnorm import eval_mode
from adapt.taps import forward


@contextmanager
def probing(net: nn.Module, size: tuple[int, int]) -> Iterator[Tensor]:
    """A zero image (1, 3, H, W) where the network lies, to be run through it with a graph; modes,
    statistics and random numbers are as before afterwards."""
    first = next(net.parameters(), torch.empty(0))
    gpus = [first.device] if first.device.type == "cuda" else []
    with eval_mode(net), torch.random.fork_rng(gpus), torch.enable_grad():
        yield torch.zeros(1, 3, *size, device=first.device, dtype=first.dtype)


def leaves(outputs: Iterable[Tensor]) -> set[int]:
    """`id` of every tensor with `requires_grad` that the outputs were computed from."""
    waiting = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    seen, found = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if (variable := getattr(node, "variable", None)) is not None:
            found.add(id(variable))
        for after, _ in node.next_functions:
            if after is not None and after not in seen:
                seen.add(after)
                waiting.append(after)
    return found


def reached(net: nn.Module, taps: Iterable[str], size: tuple[int, int]) -> set[str]:
    """Names of the trainable parameters that a gradient from the maps at `taps` gets to.

    Found in eval mode on a zero image of (H, W).
    """
    with probing(net, size) as image:
        found = leaves(forward(net, image, taps).values())
    return {name for name, p in net.named_parameters() if id(p) in found}
