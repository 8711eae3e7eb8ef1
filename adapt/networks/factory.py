"""A user's own network: `network.factory=package.module:function`.

Importing a module runs its code, so only what the command line (or one's own experiment file) names
is imported: a run folder records its factory's name, and `permit`, or FRA_TRUST in the environment,
must have been told the same one.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.networks.own_modules import LATE, own_first
from adapt.settings.groups import NetworkConfig

COUNTS = ("classes", "num_classes", "n_classes")
"""Argument names under which a factory may ask for the number of classes."""
TRUST = "FRA_TRUST"
"""Environment variable: factories that are trusted, as patterns between commas, `nets:*`."""

_permitted: set[str] = set()
_given: ContextVar[dict[str, Callable[..., nn.Module]]] = ContextVar("given")

COMPILED = "_orig_mod"
"""Where torch.compile keeps the module that it compiled."""
OBJECT = "python:"
"""Begins the name of a network that was an object of Python and that no import finds."""


@contextmanager
def giving() -> Iterator[None]:
    """What is `given` inside is forgotten afterwards: two objects of one class have one name."""
    before = _given.set({})
    try:
        yield
    finally:
        _given.reset(before)


def given(name: str, network: nn.Module | Callable[..., nn.Module], what: str = "") -> str:
    """Let an object make the networks of a factory inside `giving`: whoever passes it trusts it.

    Args:
        name: the factory that it stands for; empty = named after it.
        network: a module, of which copies are made, or a function that makes one.
        what: tells two objects of one kind apart.

    Returns:
        The name, for `network.factory`: a function that can be imported has that of a factory.

    Raises:
        InputError: it is no module and cannot be called.
    """
    if not callable(network):
        kind = type(network).__name__
        raise InputError(f"network is a {kind}; give a module, or a function that makes one")
    own: Any = type(network) if isinstance(network, nn.Module) else network
    label = getattr(own, "__qualname__", type(own).__name__)
    if not name:
        found = getattr(sys.modules.get(own.__module__), label, None)
        findable = found is network and own.__module__ != "__main__"
        name = f"{own.__module__}:{label}" if findable else f"{OBJECT}{what}{label}"
    own = partial(trainable, network) if isinstance(network, nn.Module) else network
    _given.get()[name] = own
    return name


def trainable(net: nn.Module) -> nn.Module:
    """A copy on the CPU, in which everything may train where the whole network was frozen."""
    made = copied(net).cpu()
    return made if any(p.requires_grad for p in made.parameters()) else made.requires_grad_()


def copied(net: nn.Module) -> nn.Module:
    """A deep copy of a network."""
    return deepcopy(cut(net))


def cut(net: nn.Module) -> nn.Module:
    """The network, without the graphs of tensors that its modules keep beside their parameters,
    which deepcopy refuses: a weight of torch.nn.utils.weight_norm, a map that a hook has kept."""
    for module in net.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                vars(module)[name] = value.detach()
    return net


def permit(factory: str) -> None:
    """Allow a factory in this process: what the user names, never what a file says."""
    if factory:
        _permitted.add(factory)


def stand_in(factory: str) -> str:
    """The factory of a record; for an object of Python the one that the user names, if it is one
    and the object itself is not there."""
    lost = factory.startswith(OBJECT) and factory not in _given.get({})
    return next(iter(_permitted)) if lost and len(_permitted) == 1 else factory


def trusted(factory: str) -> bool:
    """Was the factory permitted, or does a pattern in FRA_TRUST fit it?"""
    patterns = os.environ.get(TRUST, "").split(",")
    return factory in _permitted or any(fnmatchcase(factory, p.strip()) for p in patterns)


def imported(name: str, setting: str = "network.factory") -> Callable[..., Any]:
    """The function of a permitted factory, or what another `setting` names; raises as
    `own_network`.

    Meanwhile the folder from which the command was started comes first on the path, for its own
    `adapt`, `transforms` and `viz` too (own_modules); what is imported later finds this project's.
    """
    if name.startswith(OBJECT):
        raise InputError(
            f"this network was the object {name.removeprefix(OBJECT)} in Python: adapt.load(run, "
            "network=...) takes it again, and a command takes network.factory=package.module:"
            "function, which makes one of the same layers"
        )
    if not trusted(name):
        raise InputError(
            f"this network was made by {name}, which is code of its own; if you trust it, give "
            f"network.factory={name} (teacher_network.factory, where it is a teacher's of another "
            f"network), or set {TRUST}={name} in the environment"
        )
    module, _, function = name.partition(":")
    if not module or not function or module.startswith("."):
        raise InputError(f"{setting} is {name!r}; give package.module:function")
    try:
        with own_code(f"{setting}={name}"):
            found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{setting}={name}: {error} (looked in {Path.cwd()} too)") from None
    if not callable(found):
        raise InputError(f"{setting}={name} is a value of type {type(found).__name__}, no function")
    return found


@contextmanager
def own_code(what: str) -> Iterator[None]:
    """Code of a user's runs inside, its own modules first; InputError where it ends the program."""
    try:
        with own_first(Path.cwd()):
            yield
    except SystemExit as error:
        raise InputError(f"{what} ends the program ({ended(error)}) instead of returning") from None


def ended(error: SystemExit) -> str:
    """How code has asked for the end of the program."""
    return f"SystemExit: {error.code!r}"


def own_network(config: NetworkConfig, classes: int | dict[str, int]) -> nn.Module:
    """Call the factory with `network.arguments`, and with the number of classes, of several tasks
    those of each, if it takes one; the network's weights are float32.

    Raises:
        InputError: not permitted, not importable, no such function, arguments that it refuses, one
            that ends the program, or a result that is no nn.Module, or one that `plain` refuses.
    """
    name = config.factory
    make = _given.get({}).get(name) or imported(name)
    arguments = dict(config.arguments)
    if odd := [argument for argument in arguments if not argument.isidentifier()]:
        raise InputError(f"network.arguments: {odd[0]!r} is no name of an argument")
    wanted = [p for p in inspect.signature(make).parameters if p in COUNTS and p not in arguments]
    if wanted and not classes:
        raise InputError(
            f"network.factory={name} takes {wanted[0]}: name the classes (data.classes=[…]), or "
            f"give '+network.arguments={{{wanted[0]}: N}}'"
        )
    arguments |= dict.fromkeys(wanted[:1], classes)
    try:
        with own_code(f"network.factory={name}"):
            net = make(**arguments)
    except ImportError as error:
        raise InputError(f"network.factory={name}: {error} ({LATE})") from None
    except TypeError as error:
        raise InputError(f"network.factory={name}: called with {arguments}: {error}") from None
    if not isinstance(net, nn.Module):
        raise InputError(f"network.factory={name} returned a {type(net).__name__}, no nn.Module")
    return plain(net, f"network.factory={name}").float()


def plain(net: nn.Module, what: str) -> nn.Module:
    """The network with its modules as they were before torch.compile, in whose code no hook of a
    tap is called; a line says so.

    Raises:
        InputError: a module of TorchScript, or one with parameters that have no shape yet, or no
            elements.
    """
    compiled, net = COMPILED in vars(net).get("_modules", {}), getattr(net, COMPILED, net)
    for name, module in list(net.named_modules()):
        where = f"{what}: {name or 'the network'}"
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"{where} is TorchScript, whose layers cannot be tapped; give the module that was "
                "scripted or traced"
            )
        if any(map(is_lazy, (*module.parameters(recurse=False), *module.buffers(recurse=False)))):
            raise InputError(
                f"{where} is lazy: its shapes are known after a first pass only; run an image "
                "through the network before it is handed over"
            )
        for own, parameter in module.named_parameters(recurse=False):
            if not parameter.numel():
                shape = "x".join(map(str, parameter.shape))
                raise InputError(f"{where}: {own} is {shape}: it has no elements")
        compiled = compiled or module._compiled_call_impl is not None
        module._compiled_call_impl = None
        for child, inner in module.named_children():
            if hasattr(inner, COMPILED):
                setattr(module, child, getattr(inner, COMPILED))
                compiled = True
    if compiled:
        say(f"{what}: torch.compile is undone: taps and gradients need the layers as they were")
    return net
