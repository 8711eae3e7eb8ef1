"""Gradient checkpointing (Chen et al. 2016): keep the input of a block, compute its maps again."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from adapt.errors import InputError
from adapt.networks.batchnorm import batch_norms
from adapt.networks.taps import is_logits, split_tap

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
SIZES = range(2, 7)
"""Of a block, in convolutions and linear layers: VGG's stages have 2 or 3, bottlenecks up to 4, a
transformer's attention and its perceptron 2 to 5, ASPP 6."""


def blocks(net: nn.Module, taps: Iterable[str]) -> list[nn.Module]:
    """The largest modules of 2 to 6 convolutions or linear layers without a tap inside, each
    computed again as one.

    Raises:
        InputError: there are none.
    """
    tapped = [split_tap(net, tap)[0] for tap in taps if not is_logits(tap)]
    if found := list(within(net, "", tapped)):
        return found
    raise InputError(
        f"gradient_checkpointing: {type(net).__name__} has no module of {SIZES[0]} to "
        f"{SIZES[-1]} convolutions or linear layers without a tap inside, which could be computed "
        "again as one"
    )


def within(net: nn.Module, prefix: str, tapped: list[str]) -> Iterator[nn.Module]:
    """The blocks of a module whose children's names begin with `prefix`."""
    for name, module in net.named_children():
        inside = f"{prefix}{name}."
        size = sum(isinstance(part, CONVOLUTIONS) for part in module.modules())
        is_called = type(module).forward is not nn.Module.forward  # a ModuleList is not
        if size in SIZES and is_called and not any(tap.startswith(inside) for tap in tapped):
            yield module
        else:
            yield from within(module, inside, tapped)


@contextmanager
def statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch norm inside leaves its statistics alone: the first pass has counted these maps."""
    norms = batch_norms(block)
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


@contextmanager
def recomputed(parts: Iterable[nn.Module]) -> Iterator[None]:
    """In a forward pass inside, the maps within each of `parts` are not kept for the backward pass,
    which computes them again: the same values and gradients, dropout and statistics included."""
    own = {block: vars(block).get("forward") for block in parts}
    try:
        for block in own:
            again = partial(contexts, block)
            block.forward = partial(
                checkpoint, block.forward, use_reentrant=False, context_fn=again
            )
        yield
    finally:
        for block, forward in own.items():
            vars(block).pop("forward", None)
            if forward is not None:  # one that somebody had put on this very module
                block.forward = forward


def contexts(block: nn.Module) -> tuple:
    """Of the first forward pass of a block and of the second."""
    return nullcontext(), statistics_kept(block)
