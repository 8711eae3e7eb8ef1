"""The first layers of a network kept as they are (Yosinski et al. 2014; Li et al. 2020, 5.2)."""

from contextlib import ExitStack
from typing import NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from adapt.batchnorm import freeze
from adapt.errors import InputError, listing
from adapt.penalties.split import CONVOLUTIONS
from adapt.reach import leaves, probing
from adapt.taps import resolve


class Event(NamedTuple):
    """A module starts, or finishes with its outputs."""

    name: str
    outputs: tuple[Tensor, ...] | None


def events_of(net: nn.Module, size: tuple[int, int]) -> list[Event]:
    """A forward pass in eval mode on a zero image of (H, W), as its modules meet it."""
    events: list[Event] = []
    with ExitStack() as stack:
        for name, module in net.named_modules():

            def before(_: nn.Module, inputs: object, name: str = name) -> None:
                events.append(Event(name, None))

            def after(_: nn.Module, inputs: object, output: object, name: str = name) -> None:
                tensors = tuple(t for t in tree_leaves(output) if isinstance(t, Tensor))
                events.append(Event(name, tensors))

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)
        net(stack.enter_context(probing(net, size)))
    return events


def end_of(events: list[Event], net: nn.Module, until: str) -> int:
    """How many of the events belong to the frozen part.

    Raises:
        InputError: more layers than there are, an unknown one, or one that is never called.
    """
    modules = dict(net.named_modules())
    if until.isdigit():
        starts = {
            e.name: i
            for i, e in reversed(list(enumerate(events)))
            if e.outputs is None and isinstance(modules[e.name], CONVOLUTIONS)
        }
        order, count = sorted(starts.values()), int(until)
        if count > len(order):
            raise InputError(
                f"freeze={until}: the network has {len(order)} convolution and linear layers"
            )
        return order[count] if count < len(order) else len(events)
    name = resolve(net, until, "freeze")
    for i, event in enumerate(events):
        if event.name == name and event.outputs is not None:
            return i + 1
    raise InputError(f"freeze={until}: the forward pass never reaches that layer")


def freeze_first(net: nn.Module, until: str, size: tuple[int, int]) -> set[str]:
    """Freeze all that has run when the layer `until`, by name or alias, is done; or, for a number
    k, the first k convolution and linear layers in the order of the forward pass, with what stands
    between them and behind the last (batch norm, activation).

    Frozen parameters have no gradient; frozen modules, batch norm's statistics and dropout among
    them, stay in eval mode whatever `.train()` says, so that the part computes what the start
    computes. An activation or dropout that is used again further on is left alone.

    Args:
        net: a network from (1, 3, H, W).
        until: a layer's name or alias, or a number; empty or 0 = nothing.
        size: (H, W).

    Returns:
        The names of the parameters that it froze.

    Raises:
        InputError: as `end_of`.
    """
    if until in ("", "0"):
        return set()
    modules = dict(net.named_modules())
    free = {name for name, p in net.named_parameters() if p.requires_grad}
    events = events_of(net, size)
    end = end_of(events, net, until)
    outputs = [t for e in events[:end] for t in e.outputs or ()]
    behind = leaves(outputs)  # also what a module that is not done yet owns itself
    later = {e.name for e in events[end:] if e.outputs is None}
    for name in {e.name for e in events[:end] if e.outputs is not None}:
        module = modules[name]
        leaf, own = not list(module.children()), [*module.parameters(), *module.buffers()]
        if leaf and (own or name not in later):
            freeze(module)
    for parameter in net.parameters():
        if id(parameter) in behind:
            parameter.requires_grad_(False)
    return {name for name in free if not net.get_parameter(name).requires_grad}


def refuse_new(frozen: set[str], start: dict[str, Tensor] | None, until: str) -> None:
    """Only layers that the start has can be kept.

    Raises:
        InputError: frozen parameters that were initialised at random.
    """
    if frozen and start is None:
        raise InputError(f"freeze={until}: there is no start whose layers to keep; give start=RUN")
    if random := frozen - (start or {}).keys():
        raise InputError(f"freeze={until}: the start does not have {listing(random)}")
