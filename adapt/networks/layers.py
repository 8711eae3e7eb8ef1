"""A network's layers as a forward pass meets them: shapes, cost, and which can be tapped."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import TensorWeakRef

from adapt.errors import InputError, unknown
from adapt.networks.batchnorm import eval_mode
from adapt.networks.taps import LOGITS, aliases, logits_of

NETWORK = "(network)"
"""How tables call the last layer, the network itself, whose name in `named_modules()` is empty."""
NEAR = 8
"""Choices that a message lists."""


@dataclass(frozen=True)
class Layer:
    """One named module in a forward pass of one image."""

    name: str
    """As in `named_modules()`; empty for the network itself."""
    aliases: tuple[str, ...]
    type: str
    leaf: bool
    """Has no modules inside."""
    parameters: int
    """Of the module and of all modules in it."""
    calls: int = 0
    shape: tuple[int, ...] = ()
    """Of its last output, (1, C, h, w) for a map; () where it gave none."""
    returned: str = ""
    """Type of an output that is no tensor."""
    stride: tuple[float, float] | None = None
    """Input size over map size, height and width; None = the output is no map."""
    same_as: str = ""
    """The layer whose very output this one hands on (a Sequential its last member's)."""
    overwritten_by: str = ""
    """The layer in which an in-place operation changes this one's output afterwards."""
    parameters_until: int = 0
    """Of everything that has run when its output is there."""
    macs: int = 0
    """Multiply-accumulates of the module and of all modules in it."""
    macs_until: int = 0
    share: float = 0.0
    """Its part of the network's multiply-accumulates, 0..1."""
    share_until: float = 0.0
    """What a pass that stops behind it costs, 0..1."""

    @property
    def mapless(self) -> str:
        """Why there is no one map to tap; empty = there is."""
        if not self.calls:
            return "never called"
        if self.calls > 1:
            return f"called {self.calls} times"
        if self.returned:
            return f"returns {self.returned}"
        return f"no map: {len(self.shape)} dimensions" if self.stride is None else ""

    @property
    def obstacle(self) -> str:
        """Why it cannot be tapped beside deeper layers; empty = it can."""
        lost = f"overwritten in {self.overwritten_by}" if self.overwritten_by else ""
        return self.mapless or lost


class _Writes(TorchDispatchMode):
    """Finds outputs that an in-place operation changes. They are held weakly: a tensor that is
    gone can no longer be overwritten, and a large network's maps must not pile up."""

    def __init__(self, running: list[str]) -> None:
        super().__init__()
        self.running = running
        self.kept: dict[str, tuple[TensorWeakRef, int]] = {}
        self.found: dict[str, str] = {}
        self._writer = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.sweep()
        result = func(*args, **(kwargs or {}))
        if func._schema.is_mutable:  # its version counts up behind this call only
            self._writer = self.running[-1] or NETWORK
        return result

    def sweep(self) -> None:
        if not self._writer:
            return
        for name, (reference, version) in list(self.kept.items()):
            tensor = reference()
            if tensor is None:
                del self.kept[name]
            elif tensor._version != version:
                self.found[name] = self._writer
                del self.kept[name]
        self._writer = ""

    def keep(self, name: str, output: Tensor) -> str:
        """Watch an output; returns the earlier layer whose output it is."""
        self.sweep()
        owners = (n for n, (reference, _) in self.kept.items() if reference() is output)
        owner = next(owners, "")
        self.kept[name] = TensorWeakRef(output), output._version
        return owner


class _Recorder:
    """Hooks of every module, and what they saw, in the order in which modules finish."""

    def __init__(self, net: nn.Module, size: tuple[int, int], counter: FlopCounterMode) -> None:
        self.size, self.counter = size, counter
        self.names = {module: name for name, module in net.named_modules()}
        self.short: dict[str, list[str]] = {}
        for alias, name in aliases(net).items():
            self.short.setdefault(name, []).append(alias)
        self.running: list[str] = []
        self.writes = _Writes(self.running)
        self.layers: dict[str, Layer] = {}
        self._starts: list[int] = []
        self._parameters: dict[int, int] = {}

    def macs(self) -> int:
        return self.counter.get_total_flops() // 2

    def blank(self, module: nn.Module) -> Layer:
        """The layer before any call."""
        name = self.names[module]
        return Layer(
            name=name,
            aliases=tuple(self.short.get(name, ())),
            type=type(module).__name__,
            leaf=next(module.children(), None) is None,
            parameters=sum(p.numel() for p in module.parameters()),
        )

    def before(self, module: nn.Module, inputs: object) -> None:
        self.running.append(self.names[module])
        self._starts.append(self.macs())
        self._parameters |= {id(p): p.numel() for p in module.parameters(recurse=False)}

    def after(self, module: nn.Module, inputs: object, output: object) -> None:
        name = self.running.pop()
        until, start = self.macs(), self._starts.pop()
        self._parameters |= {id(p): p.numel() for p in module.parameters()}
        if not name:
            output = logits_of(output)
        layer = self.layers.pop(name, None) or self.blank(module)
        owner = self.writes.keep(name, output) if isinstance(output, Tensor) else ""
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        height, width = self.size
        self.layers[name] = replace(
            layer,
            calls=layer.calls + 1,
            shape=shape,
            returned="" if isinstance(output, Tensor) else type(output).__name__,
            stride=(height / shape[2], width / shape[3]) if len(shape) == 4 else None,
            same_as=owner,
            parameters_until=sum(self._parameters.values()),
            macs=layer.macs + until - start,
            macs_until=until,
        )


def trace(net: nn.Module, size: tuple[int, int], channels: int = 3) -> list[Layer]:
    """Every module of a network as a forward pass in eval mode meets it.

    Ordered as the modules finish, so that a block follows its members; the network itself is last,
    behind it come only modules that were never called. Modes, weights, statistics and hooks are
    left as they were. Multiply-accumulates are those of convolutions and matrix products.

    Args:
        net: any module from (1, channels, H, W) to logits.
        size: (H, W) of the input, which is 0 everywhere.
        channels: of the input.

    Raises:
        InputError: the network cannot take an image of this size, or its output is no logits.
    """
    first = next(net.parameters(), torch.empty(0))
    image = torch.zeros(1, channels, *size, device=first.device, dtype=first.dtype)
    counter = FlopCounterMode(display=False)
    recorder = _Recorder(net, size, counter)
    with ExitStack() as stack:
        for module in recorder.names:
            stack.callback(module.register_forward_pre_hook(recorder.before).remove)
            stack.callback(module.register_forward_hook(recorder.after).remove)
        for context in (torch.no_grad(), eval_mode(net), recorder.writes, counter):
            stack.enter_context(context)
        try:
            net(image)
        except InputError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InputError(
                f"network: it cannot take an image of {size[0]}x{size[1]} (H x W): {error}; give "
                "data.crop or data.resize"
            ) from None
    found, total = recorder.layers, max(1, recorder.macs())
    found |= {n: recorder.blank(m) for m, n in recorder.names.items() if n not in found}
    return [
        replace(
            layer,
            overwritten_by=recorder.writes.found.get(name, ""),
            share=layer.macs / total,
            share_until=layer.macs_until / total,
        )
        for name, layer in found.items()
    ]


def check(layers: Iterable[Layer], taps: Iterable[str], what: str = "taps") -> None:
    """Every tap must be the name or alias of a layer whose map one forward pass can hand out.

    A map that is overwritten later can be had where it is the deepest of the taps, because the pass
    then stops behind it; LOGITS among the taps means that it runs to the end.

    Raises:
        InputError: an unknown name, or a layer that is never called, called several times,
            overwritten in place, or without a map; with the reason and what can be tapped near it.
    """
    named = {layer.name: layer for layer in layers if layer.name}
    short = {alias: layer for layer in named.values() for alias in layer.aliases}
    free = [name for name, layer in named.items() if not layer.obstacle]
    order, wanted = list(named), set(taps)
    found: dict[str, Layer] = {}
    for tap in sorted(wanted - {LOGITS}):
        if tap not in named and tap not in short:
            raise unknown(f"{what}: layer", tap, [*short, *free])
        found[tap] = named.get(tap) or short[tap]
    deepest = max(found.values(), key=lambda x: order.index(x.name), default=None)
    for tap, layer in found.items():
        stops = layer is deepest and LOGITS not in wanted
        if reason := layer.mapless if stops else layer.obstacle:
            inside = layer.name.rpartition(".")[0]
            near = [n for n in free if n.rpartition(".")[0] == inside] or list(short) or free
            raise InputError(
                f"{what}: {tap} cannot be tapped ({reason}); near it can: {', '.join(near[:NEAR])}"
            )


CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LINEAR = ("Conv", "Linear", "BatchNorm", "GroupNorm", "LayerNorm", "InstanceNorm")
"""Beginnings of the types whose maps the next activation or norm layer only finishes."""
LEAST = 4
"""Layers that a main path should have before blocks stay closed."""


def main_path(net: nn.Module, layers: Sequence[Layer]) -> list[Layer]:
    """The tappable layers from image to logits whose maps differ, in order.

    Containers are opened and blocks with a forward pass of their own are not, as their inner
    branches follow no one order; blocks are opened level by level where fewer than LEAST layers are
    left. Of a convolution with norm and activation only the last is kept, and of several layers
    that hand on the same map the first, with the alias of any of them. Maps of one cell are left
    out.
    """
    modules = dict(net.named_modules())

    def opened(name: str, left: int) -> list[str]:
        """Names below a module, blocks replaced by what is in them `left` times."""
        found = []
        for child, module in modules[name].named_children():
            path = f"{name}.{child}" if name else child
            closed = not isinstance(module, CONTAINERS)
            leaf = next(module.children(), None) is None
            if leaf or (closed and not left):
                found.append(path)
            else:
                found += opened(path, left - closed)
        return found

    short = {x.same_as or x.name: x.aliases for x in layers if x.aliases}
    path: list[Layer] = []
    for left in range(LEAST):
        names = set(opened("", left))
        every = [x for x in layers if x.name in names and x.calls == 1 and not x.returned]
        ahead = [*every[1:], None]
        kept = [
            x
            for x, after in zip(every, ahead, strict=True)
            if not x.obstacle
            and x.shape[2:] != (1, 1)
            and (x.same_as or x.name) not in {k.same_as or k.name for k in every[: every.index(x)]}
            and not (after and _finishes(after, x))
        ]
        path = [replace(x, aliases=short.get(x.same_as or x.name, ())) for x in kept]
        if len(path) >= LEAST:
            break
    return path


def _finishes(after: Layer, layer: Layer) -> bool:
    """Is `after` the norm or activation of a convolution or norm layer?"""
    if not layer.leaf or not layer.type.startswith(LINEAR) or after.shape != layer.shape:
        return False
    small = after.leaf and after.parameters <= 4 * layer.shape[1]
    return small and "Pool" not in after.type and not after.same_as
