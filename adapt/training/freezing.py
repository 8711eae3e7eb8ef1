"""The first layers of a network kept as they are (Yosinski et al. 2014; Li et al. 2020, 5.2), and
which parameters a gradient gets to."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from adapt.errors import InputError, listing
from adapt.networks.batchnorm import eval_mode, freeze
from adapt.networks.maps import blank
from adapt.networks.taps import forward, resolve
from adapt.penalties.split import CONVOLUTIONS


def freeze_first(net: nn.Module, until: str, size: tuple[int, int]) -> set[str]:
    """Freeze all that has run when the layer `until`, by name or alias, is done; or, for a number
    k, the first k convolution and linear layers in the order of the forward pass, with what stands
    between them and after the last (batch norm, activation). Of branches that start at one map,
    as a residual block and the convolution of its shortcut do, the first is counted, so that k is
    that of Li et al. (10 for the first stage of ResNet-101); the others go with it.

    Frozen parameters have no gradient; frozen modules, batch norm's statistics and dropout among
    them, stay in eval mode whatever `.train()` says, so that the part computes what the start
    computes. An activation or dropout that is used again further on is left alone.

    Args:
        net: a network from (1, C, H, W).
        until: a layer's name or alias, or a number; empty or 0 = nothing.
        size: (H, W).

    Returns:
        The names of the parameters that it froze.

    Raises:
        InputError: as `frozen_part`.
    """
    if until in ("", "0"):
        return set()
    modules = dict(net.named_modules())
    free = {name for name, p in net.named_parameters() if p.requires_grad}
    events = events_of(net, size)
    end = frozen_part(events, net, until)
    before = leaves(t for e in events[:end] for t in e.outputs or ())  # also of unfinished modules
    later = {e.name for e in events[end:] if e.outputs is None}
    for name in {e.name for e in events[:end] if e.outputs is not None}:
        module = modules[name]
        has_own = [*module.parameters(), *module.buffers()]
        if not list(module.children()) and (has_own or name not in later):
            freeze(module)
    for parameter in net.parameters():
        if id(parameter) in before:
            parameter.requires_grad_(False)
    return {name for name in free if not net.get_parameter(name).requires_grad}


class Event(NamedTuple):
    """A module starts on its inputs, or finishes with its outputs."""

    name: str
    outputs: tuple[Tensor, ...] | None
    inputs: tuple[object, ...] = ()


def events_of(net: nn.Module, size: tuple[int, int]) -> list[Event]:
    """A forward pass in eval mode on a zero image of (H, W), as its modules meet it."""
    events: list[Event] = []
    with ExitStack() as stack:
        for name, module in net.named_modules():

            def before(_: nn.Module, inputs: tuple[object, ...], name: str = name) -> None:
                events.append(Event(name, None, inputs))

            def after(_: nn.Module, inputs: object, output: object, name: str = name) -> None:
                tensors = tuple(t for t in tree_leaves(output) if isinstance(t, Tensor))
                events.append(Event(name, tensors))

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)
        net(stack.enter_context(probing(net, size)))
    return events


def frozen_part(events: list[Event], net: nn.Module, until: str) -> int:
    """How many of the events belong to the frozen part; InputError for more layers than there are,
    an unknown one, and one that is never called."""
    if until.isdigit():
        modules, counted, used, order = dict(net.named_modules()), set[str](), set[int](), []
        for i, event in enumerate(events):
            if event.outputs is None and isinstance(modules[event.name], CONVOLUTIONS):
                maps = {id(tensor) for tensor in event.inputs}
                if event.name not in counted and not maps & used:
                    order.append(i)
                counted.add(event.name)
                used |= maps
        order.append(len(events))
        if int(until) >= len(order):
            raise InputError(
                f"freeze={until}: the network has {len(order) - 1} convolution and linear layers "
                "one after the other"
            )
        return order[int(until)]
    name = resolve(net, until, "freeze")
    for i, event in enumerate(events):
        if event.name == name and event.outputs is not None:
            return i + 1
    raise InputError(f"freeze={until}: the forward pass never reaches that layer")


def refuse_new(frozen: set[str], start_point: dict[str, Tensor] | None, until: str) -> None:
    """InputError for frozen parameters that were initialised at random: only layers that the start
    has can be kept."""
    if frozen and start_point is None:
        raise InputError(f"freeze={until}: there is no start whose layers to keep; give start=RUN")
    if random := frozen - (start_point or {}).keys():
        raise InputError(f"freeze={until}: the start does not have {listing(random)}")


def with_gradient(net: nn.Module, taps: Iterable[str], size: tuple[int, int]) -> set[str]:
    """Names of the trainable parameters that a gradient from the maps at `taps` gets to, found in
    eval mode on a zero image of (H, W)."""
    with probing(net, size) as image:
        found = leaves(forward(net, image, taps).values())
    return {name for name, p in net.named_parameters() if id(p) in found}


@contextmanager
def probing(net: nn.Module, size: tuple[int, int]) -> Iterator[Tensor]:
    """A zero image (1, C, H, W) where the network lies, to be run through it with a graph; modes,
    statistics and random numbers are as before afterwards."""
    with eval_mode(net), own_random(net), torch.enable_grad():
        yield blank(net, size)


def own_random(net: nn.Module) -> AbstractContextManager[None]:
    """What is drawn within, on the CPU and where the network lies, is not missing afterwards."""
    first = next(net.parameters(), torch.empty(0))
    return torch.random.fork_rng([first.device] if first.device.type == "cuda" else [])


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
