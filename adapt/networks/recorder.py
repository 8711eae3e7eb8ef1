"""What a recorder of one forward pass notes of each layer: shapes, cost, and what overwrites it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_, or_
from typing import Any

from torch import Tensor, nn, strided
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import TensorWeakRef

from adapt.errors import InputError
from adapt.networks.maps import as_map, elements
from adapt.networks.taps import aliases, first_logits, own_logits, tasks_of

NETWORK = "(network)"
"""How tables call the last layer, the network itself, whose name in `named_modules()` is empty."""
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
DROPOUT = "Drop"
"""Part of the types whose output in training is another one than in eval mode."""
ELEMENT = "(element)"
"""Type of a map in a list, tuple or mapping that a module returns."""


@dataclass(frozen=True)
class Layer:
    """One named module in a forward pass of one image, or one map of several that it returns."""

    name: str
    """As in `named_modules()`; empty for the network itself. An element's follows its module's:
    `encoder.2` of a list, `encoder.hidden_states.2` of an object."""
    aliases: tuple[str, ...]
    type: str
    leaf: bool
    """Has no modules inside."""
    container: bool
    """Is only a list or mapping of modules, such as a Sequential."""
    parameters: int
    """Of the module and of all modules in it."""
    calls: int = 0
    shape: tuple[int, ...] = ()
    """Of its last output; () where it gave none."""
    map: tuple[int, ...] = ()
    """Of what is tapped: (C, h, w), or (C, N) of N tokens without a grid; () = no map."""
    returned: str = ""
    """Type of an output that is no tensor."""
    stride: tuple[float, float] | None = None
    """Input size over map size, height and width; None = there is no map (C, h, w)."""
    same_as: str = ""
    """The layer whose very output this one hands on (a Sequential its last member's)."""
    overwritten_by: str = ""
    """The layer in which an in-place operation changes this one's output afterwards."""
    used: bool = True
    """Do the logits, of several heads those of each, depend on its output? An auxiliary head's is
    made beside them."""
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
        if self.map:
            return ""
        many = f"{self.shape[0]} of them for one image" if len(self.shape) in (3, 4) else ""
        return f"no map: {many or f'{len(self.shape)} dimensions'}"

    @property
    def obstacle(self) -> str:
        """Why it cannot be tapped beside deeper layers; empty = it can."""
        lost = f"overwritten in {self.overwritten_by}" if self.overwritten_by else ""
        return self.mapless or lost


class Recorder(TorchDispatchMode):
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
        self._bits: dict[str, int] = {}
        self._sources: dict[int, int] = {}  # of what lies in a storage, the bits of the layers
        self._logits = 0

    def macs(self) -> int:
        return self.counter.get_total_flops() // 2

    def untouched(self, module: nn.Module) -> Layer:
        """The layer before any call."""
        name = self.names[module]
        leaf = next(module.children(), None) is None
        parameters = sum(p.numel() for p in module.parameters())
        short = tuple(alias for alias, layer in self.aliases.items() if layer == name)
        container = isinstance(module, CONTAINERS)
        return Layer(name, short, type(module).__name__, leaf, container, parameters)

    def before(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        self._running.append((self.names[module], self.macs()))
        if DROPOUT in type(module).__name__ and getattr(module, "inplace", False):  # in training
            for name, (reference, _) in self._outputs.items():
                if any(reference() is x for x in inputs):
                    self.overwritten[name] = self.names[module]
        self._parameters |= {id(p): p.numel() for p in module.parameters(recurse=False)}

    def after(self, module: nn.Module, inputs: object, output: object) -> None:
        (name, start), until = self._running.pop(), self.macs()
        self._parameters |= {id(p): p.numel() for p in module.parameters()}
        layer = self.layers.pop(name, None) or self.untouched(module)
        logits = output if name else first_logits(module, output)
        self.note(layer, module, logits, until - start)
        if not name:
            heads = (own_logits(output, task) for task in tasks_of(module) or ("",))
            self._logits = reduce(and_, map(self._derived, heads))
        if not name and isinstance(output, list | tuple):
            self.layers[name] = replace(self.layers[name], returned=type(output).__name__)
        for path, element in elements(output) if name else ():
            inside, new = f"{name}.{path}", Layer(f"{name}.{path}", (), ELEMENT, True, False, 0)
            if inside not in self.names.values():
                self.note(self.layers.pop(inside, new), module, element, 0)

    def note(self, layer: Layer, module: nn.Module, output: object, macs: int) -> None:
        """One more call of a layer, its output and its multiply-accumulates."""
        bit = self._bits.setdefault(layer.name, 1 << len(self._bits))
        self._sources |= {place: self._sources.get(place, 0) | bit for place in storages(output)}
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        (height, width), found = self.size, tuple[int, ...]()
        if isinstance(output, Tensor) and output.ndim in (3, 4) and output.shape[0] == 1:
            found = tuple(as_map(output, module, self.size).shape[1:])
        if 0 in found[1:]:
            raise InputError(f"network: {layer.name or 'its output'} has no pixel: it is {shape}")
        self.layers[layer.name] = replace(
            layer,
            calls=layer.calls + 1,
            shape=shape,
            map=found,
            returned="" if isinstance(output, Tensor) else type(output).__name__,
            stride=(height / found[1], width / found[2]) if len(found) == 3 else None,
            same_as=self._keep(layer.name, output) if isinstance(output, Tensor) else "",
            parameters_until=sum(self._parameters.values()),
            macs=layer.macs + macs,
            macs_until=self.macs(),
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._sweep()
        derived = self._derived((args, kwargs))
        result = func(*args, **(kwargs or {}))
        self._sources |= dict.fromkeys(storages(result), derived)
        if func._schema.is_mutable:  # the version of what it writes counts up after this call only
            self._writer = self._running[-1][0] or NETWORK
        return result

    def used(self, name: str) -> bool:
        """Do the logits of every head depend on the output of a layer?"""
        return bool(self._logits & self._bits.get(name, 0))

    def _derived(self, values: object) -> int:
        """The bits of the layers from whose outputs tensors were computed."""
        return reduce(or_, (self._sources.get(place, 0) for place in storages(values)), 0)

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
        owner = next((n for n, (kept, _) in self._outputs.items() if kept() is output), "")
        self._outputs[name] = TensorWeakRef(output), output._version
        return owner


def storages(values: object) -> list[int]:
    """Where tensors lie, views with what they are views of; a sparse one has no such place."""
    tensors = (x for x in tree_leaves(values) if isinstance(x, Tensor) and x.layout is strided)
    return [x.untyped_storage()._cdata for x in tensors]
