"""Feature maps at named layers; the forward pass stops at the deepest tapped layer."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from adapt.errors import InputError, unknown
from adapt.networks.maps import as_map, elements

LOGITS = "logits"
"""The name under which `forward` returns the network's own output."""
OUTPUTS = ("out", LOGITS)
"""Keys of the logits in a mapping that a network returns."""


class _Complete(Exception):
    """Raised from the hook of the last wanted layer to leave the forward pass."""


def tap_of(task: str) -> str:
    """The name of a head's logits among the maps of `forward`; LOGITS where there is one head."""
    return f"{LOGITS}/{task}" if task else LOGITS


def is_logits(tap: str) -> bool:
    """Does a tap name the logits, or those of a head?"""
    return tap.partition("/")[0] == LOGITS


def tasks_of(net: nn.Module) -> tuple[str, ...]:
    """The tasks of a network that `build_network` made with several heads; () = it has one."""
    return getattr(net, "head_tasks", ())


class OneHead(nn.Module):
    """One head of a network as a network of its own: images -> the logits of a task."""

    def __init__(self, net: nn.Module, task: str) -> None:
        super().__init__()
        self.net, self.task = net, task

    def forward(self, x: Tensor) -> Tensor:
        return own_logits(self.net(x), self.task)


def of_task(net: nn.Module, task: str) -> nn.Module:
    """A network as one of its heads alone; the network itself where there is no task."""
    return OneHead(net, task) if task else net


def aliases(net: nn.Module) -> dict[str, str]:
    """Other names of layers: those that a network may carry (`pool5` -> `backbone.layer4`), and
    the second ones of modules that stand in it twice."""
    first = {module: name for name, module in net.named_modules()}
    every = net.named_modules(remove_duplicate=False)
    second = {name: first[module] for name, module in every if name != first[module]}
    return second | dict(getattr(net, "aliases", {}))


def resolve(net: nn.Module, tap: str, what: str = "taps") -> str:
    """The `named_modules()` name of a tap, which may be an alias.

    Raises:
        InputError: no layer and no alias is called so.
    """
    names = [name for name, _ in net.named_modules() if name]
    short = aliases(net)
    if tap in names:
        return tap
    if short.get(tap) in names:
        return short[tap]
    deep = "." in tap
    raise unknown(f"{what}: layer", tap, [*short, *(n for n in names if deep or "." not in n)])


def split_tap(net: nn.Module, tap: str) -> tuple[str, str]:
    """The `named_modules()` name of a tap's layer and, where the tap is a map of several that the
    layer returns (`encoder.2`), the path to it; the path is empty for the layer's own map.

    Raises:
        InputError: as `resolve`. Whether the layer returns such a map only a forward pass tells.
    """
    names = {name for name, _ in net.named_modules() if name}
    layer, path = tap, ""
    while layer and layer not in names and tap not in aliases(net):
        layer, _, last = layer.rpartition(".")
        path = f"{last}.{path}" if path else last
    return (layer, path) if layer and path else (resolve(net, tap), "")


def logits_of(output: object, task: str = "") -> Tensor:
    """The logits of a network's output, one a class: (B, C, h, w) or, of a classifier of whole
    images, (B, C); raises as `own_logits`."""
    return two_logits(own_logits(output, task))


def two_logits(logits: Tensor) -> Tensor:
    """One logit z, (B, 1, ...), as those of two classes, (0, z); others as they are.

    Their softmax is (1 - sigmoid(z), sigmoid(z)), their cross-entropy and KL divergence are the
    binary ones, and class 1 is the likelier one where z > 0.
    """
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def first_logits(net: nn.Module, output: object) -> Tensor:
    """The logits of a network's output; of several heads those of the first."""
    return own_logits(output, next(iter(tasks_of(net)), ""))


def own_logits(output: object, task: str = "") -> Tensor:
    """The logits as a network gives them, (B, C, h, w) or, of a classifier of whole images, (B, C),
    where C may be 1.

    It is a tensor; a list or tuple whose first member they are, before those of auxiliary heads; a
    mapping with `out` (torchvision) or `logits`, or with nothing else; or an object with `.logits`
    (transformers). Of several heads it is what a mapping has for the `task`.

    Raises:
        InputError: anything else.
    """
    if task and not (isinstance(output, Mapping) and task in output):
        raise InputError(
            f"network: its output is {described(output)}; of several tasks it must be a mapping "
            f"with the logits of each, {task} among them"
        )
    found: object = output[task] if isinstance(output, Mapping) and task else output
    if isinstance(found, Mapping):
        named = [found[key] for key in OUTPUTS if key in found] or list(found.values())
        found = named[0] if len(named) == 1 or found.keys() & set(OUTPUTS) else found
    elif not isinstance(found, Tensor) and hasattr(found, "logits"):
        found = found.logits
    if isinstance(found, list | tuple) and found:
        found = found[0]
    if isinstance(found, Tensor) and found.ndim in (2, 4):
        return found
    raise InputError(
        f"network: its output is {described(output)}; it must be logits (B, C, h, w), or (B, C) of "
        "whole images: a tensor, the first of a tuple, a mapping with 'out' or 'logits', or an "
        "object with .logits"
    )


def described(output: object) -> str:
    """What an output is, for messages: `a tensor (1, 196, 768)`, `a MaskOutput of masks, classes`,
    `a tuple of a tensor (1, 3, 8), a tensor (1, 3, 4)`."""
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    of = ""
    if isinstance(output, Mapping):
        of = ", ".join(map(str, output))
    elif isinstance(output, list | tuple):
        of = ", ".join(map(described, output))
    return f"a {type(output).__name__}{f' of {of}' if of else ''}"


def forward(net: nn.Module, x: Tensor, wanted: Iterable[str]) -> dict[str, Tensor]:
    """The maps of the named submodules (`as_map`), and the network's own output under LOGITS, or of
    several heads as `tap_of` names them.

    Without logits the pass stops at the layer that completes the set, so the layers after it cost
    nothing, get no gradient and keep their batch-norm statistics. The network gets a copy of the
    input, which it may write into.

    Args:
        net: any module.
        x: its input (B, C, H, W).
        wanted: names from `named_modules()`, aliases, elements of what a layer returns
            (`encoder.2`), or the logits.

    Raises:
        InputError: a name the network lacks, a layer that the pass never reaches or whose output
            is not a tensor, one that is called twice until the deepest is reached, or that the
            network then overwrites in place (by an in-place ReLU after it, say).
    """
    wanted, size = set(wanted), (x.shape[-2], x.shape[-1])
    logits = {name for name in wanted if is_logits(name)}
    taps = {name: split_tap(net, name) for name in wanted - logits}
    maps: dict[str, Tensor] = {}
    versions: dict[str, int] = {}

    def keep(name: str, path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            inside = dict(elements(output))
            found = inside.get(path) if path else output
            if not isinstance(found, Tensor):
                raise not_one_map(name, path, inside)
            if name in maps:
                raise InputError(f"taps: {name!r} is called several times, so it has no one map")
            maps[name] = as_map(found, module, size)  # a view has the version of what it is of
            versions[name] = found._version
            if maps.keys() == wanted:
                raise _Complete

        return hook

    with ExitStack() as stack:
        for name, (layer, path) in taps.items():
            stack.enter_context(net.get_submodule(layer).register_forward_hook(keep(name, path)))
        try:
            output = net(x.clone())
            maps |= {name: logits_of(output, name.partition("/")[2]) for name in logits}
        except _Complete:
            pass
    if missing := wanted - maps.keys():
        raise InputError(f"taps: the forward pass never reaches {', '.join(sorted(missing))}")
    for name, version in versions.items():
        if maps[name]._version != version:
            raise InputError(
                f"taps: the output of {name!r} is overwritten in place by a later layer; tap the "
                "layer after it (its activation or pooling)"
            )
    return maps


def not_one_map(tap: str, path: str, inside: Iterable[str]) -> InputError:
    """The error for a tap where its layer returns no tensor; `inside` are paths of those that it
    does return."""
    layer = tap.removesuffix(f".{path}")
    if path:
        return unknown("taps: layer", tap, [layer, *(f"{layer}.{other}" for other in inside)])
    there = ", ".join(f"{layer}.{other}" for other in inside) or "a layer inside it"
    return InputError(f"taps: {tap!r} returns no tensor; tap {there}")


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, half-pixel centres: (B, C, h, w) -> (B, C, H, W)."""
    return nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
