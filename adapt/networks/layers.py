"""A network's layers as a forward pass meets them: shapes, cost, and which can be tapped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LINEAR = ("Conv", "Linear", "BatchNorm", "GroupNorm", "LayerNorm", "InstanceNorm")
"""Beginnings of the types whose maps the next activation or norm layer only finishes."""
LEAST = 4
"""Layers that a main path should have before blocks stay closed."""


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
    """The part that a pass computes which stops after it, 0..1."""

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


class _Recorder(TorchDispatchMode):
    """Hooks of every module, what they saw in the order in which modules finish, and which outputs
    an in-place operation changed. Outputs are held weakly: a tensor that is gone can no longer be
    overwritten, and a large network's maps must not pile up."""

    def __init__(self, net: nn.Module, size: tuple[int, int], counter: FlopCounterMode) -> None:
        super().__init__()
        self.size, self.counter = size, counter
        self.names = {module: name for name, module in net.named_modules()}
        self.aliases, self.layers = aliases(net), dict[str, Layer]()
        self.overwritten: dict[str, str] = {}
        self._running: list[tuple[str, int]] = []
        self._parameters: dict[int, int] = {}
        self._outputs: dict[str, tuple[TensorWeakRef, int]] = {}
        self._writer = ""

    def macs(self) -> int:
        return self.counter.get_total_flops() // 2

    def blank(self, module: nn.Module) -> Layer:
        """The layer before any call."""
        name = self.names[module]
        leaf = next(module.children(), None) is None
        parameters = sum(p.numel() for p in module.parameters())
        short = tuple(alias for alias, layer in self.aliases.items() if layer == name)
        return Layer(name, short, type(module).__name__, leaf, parameters)

    def before(self, module: nn.Module, inputs: object) -> None:
        self._running.append((self.names[module], self.macs()))
        self._parameters |= {id(p): p.numel() for p in module.parameters(recurse=False)}

    def after(self, module: nn.Module, inputs: object, output: object) -> None:
        (name, start), until = self._running.pop(), self.macs()
        self._parameters |= {id(p): p.numel() for p in module.parameters()}
        if not name:
            output = logits_of(output)
        layer = self.layers.pop(name, None) or self.blank(module)
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        height, width = self.size
        self.layers[name] = replace(
            layer,
            calls=layer.calls + 1,
            shape=shape,
            returned="" if isinstance(output, Tensor) else type(output).__name__,
            stride=(height / shape[2], width / shape[3]) if len(shape) == 4 else None,
            same_as=self._keep(name, output) if isinstance(output, Tensor) else "",
            parameters_until=sum(self._parameters.values()),
            macs=layer.macs + until - start,
            macs_until=until,
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._sweep()
        result = func(*args, **(kwargs or {}))
        if func._schema.is_mutable:  # the version of what it writes counts up after this call only
            self._writer = self._running[-1][0] or NETWORK
        return result

    def _sweep(self) -> None:
        """Note whose outputs the last in-place operation has changed."""
        for name, (reference, version) in list(self._outputs.items()) if self._writer else ():
            tensor = reference()
            if tensor is not None and tensor._version != version:
                self.overwritten[name] = self._writer
            if tensor is None or tensor._version != version:
                del self._outputs[name]
        self._writer = ""

    def _keep(self, name: str, output: Tensor) -> str:
        """Watch an output; returns the earlier layer whose output it is."""
        self._sweep()
        owners = (n for n, (reference, _) in self._outputs.items() if reference() is output)
        owner = next(owners, "")
        self._outputs[name] = TensorWeakRef(output), output._version
        return owner


def trace(net: nn.Module, size: tuple[int, int]) -> list[Layer]:
    """Every module of a network as a forward pass in eval mode meets it.

    The modules come in the order in which they finish, so that a block follows its members; the
    network itself follows them all, and only modules that were never called come after it. Modes,
    weights, statistics and hooks are left as they were. Multiply-accumulates are those of
    convolutions and matrix products.

    Args:
        net: any module from (1, 3, H, W) to logits.
        size: (H, W) of the input, which is 0 everywhere.

    Raises:
        InputError: the network cannot take an image of this size, or its output is no logits.
    """
    first = next(net.parameters(), torch.empty(0))
    image = torch.zeros(1, 3, *size, device=first.device, dtype=first.dtype)
    counter = FlopCounterMode(display=False)
    recorder = _Recorder(net, size, counter)
    with ExitStack() as stack:
        for module in recorder.names:
            stack.callback(module.register_forward_pre_hook(recorder.before).remove)
            stack.callback(module.register_forward_hook(recorder.after).remove)
        for context in (torch.no_grad(), eval_mode(net), recorder, counter):
            stack.enter_context(context)
        try:
            net(image)
        except (RuntimeError, ValueError, AssertionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"network: it cannot take an image of {size[0]}x{size[1]} (H x W): {error}; give "
                "data.crop or data.resize"
            ) from None
    found, total = recorder.layers, max(1, recorder.macs())
    found |= {n: recorder.blank(m) for m, n in recorder.names.items() if n not in found}
    return [
        replace(
            layer,
            overwritten_by=recorder.overwritten.get(name, ""),
            share=layer.macs / total,
            share_until=layer.macs_until / total,
        )
        for name, layer in found.items()
    ]


def check(layers: Iterable[Layer], taps: Iterable[str], what: str = "taps") -> None:
    """Every tap must be the name or alias of a layer whose map one forward pass can hand out.

    A map that is overwritten later can be had where it is the deepest of the taps, because the pass
    then stops after it; LOGITS among the taps means that it runs to the end.

    Raises:
        InputError: an unknown name, or a layer that is never called, called several times,
            overwritten in place, or without a map; with the reason and what can be tapped near it.
    """
    named = {layer.name: layer for layer in layers if layer.name}
    short = {alias: layer for layer in named.values() for alias in layer.aliases}
    free, wanted = [name for name, layer in named.items() if not layer.obstacle], set(taps)
    if strange := sorted(wanted - {LOGITS, *named, *short}):
        raise unknown(f"{what}: layer", strange[0], [*short, *free])
    found = {tap: named.get(tap) or short[tap] for tap in sorted(wanted - {LOGITS})}
    deepest = [x for x in named.values() if x in found.values()][-1:]
    for tap, layer in found.items():
        stops = [layer] == deepest and LOGITS not in wanted
        if reason := layer.mapless if stops else layer.obstacle:
            inside = layer.name.rpartition(".")[0]
            near = [n for n in free if n.rpartition(".")[0] == inside] or list(short) or free
            raise InputError(
                f"{what}: {tap} cannot be tapped ({reason}); near it can: {', '.join(near[:NEAR])}"
            )


def main_path(net: nn.Module, layers: Sequence[Layer]) -> list[Layer]:
    """The tappable layers from image to logits whose maps differ, in order.

    Containers are opened. Blocks with a forward pass of their own are not, because their inner
    branches follow no one order; they are opened level by level where fewer than LEAST layers are
    left. Of a convolution with norm and activation only the last is kept, and of several layers
    that hand on the same map the first, with the alias of any of them. Maps of one cell are left
    out.
    """

    def opened(module: nn.Module, prefix: str, left: int) -> Iterator[str]:
        """Names below a module, blocks replaced by what is in them `left` times."""
        for child, inner in module.named_children():
            closed = not isinstance(inner, CONTAINERS)
            leaf = next(inner.children(), None) is None
            if leaf or (closed and not left):
                yield prefix + child
            else:
                yield from opened(inner, f"{prefix}{child}.", left - closed)

    short = {x.same_as or x.name: x.aliases for x in layers if x.aliases}
    path: list[Layer] = []
    for left in range(LEAST):
        names = set(opened(net, "", left))
        every = [x for x in layers if x.name in names and x.calls == 1 and not x.returned]
        path, seen = [], set()
        for layer, following in zip(every, [*every[1:], None], strict=True):
            owner = layer.same_as or layer.name
            finished = following is not None and _finishes(following, layer)
            if owner not in seen and not (layer.obstacle or finished or layer.shape[2:] == (1, 1)):
                path.append(replace(layer, aliases=short.get(owner, ())))
            seen.add(owner)
        if len(path) >= LEAST:
            break
    return path


def _finishes(following: Layer, layer: Layer) -> bool:
    """Is `following` the norm or activation of a convolution or norm layer?"""
    if not layer.leaf or not layer.type.startswith(LINEAR) or following.shape != layer.shape:
        return False
    small = following.leaf and following.parameters <= 4 * layer.shape[1]
    return small and "Pool" not in following.type and not following.same_as
