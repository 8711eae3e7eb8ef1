"""Feature maps at named layers; the forward pass stops at the deepest tapped layer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from adapt.errors import InputError, unknown

LOGITS = "logits"
"""The name under which `forward` returns the network's own output."""


class _Complete(Exception):
    """Raised from the hook of the last wanted layer to leave the forward pass."""


def aliases(net: nn.Module) -> dict[str, str]:
    """Short names of layers that a network may carry: `pool5` -> `backbone.layer4`, say."""
    return dict(getattr(net, "aliases", {}))


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


def logits_of(output: object) -> Tensor:
    """The logits of a network's output, (B, C, h, w) or, of a classifier of whole images, (B, C): a
    tensor, a dict with `out` (torchvision), or an object with `.logits` (transformers).

    Raises:
        InputError: anything else.
    """
    if isinstance(output, Mapping) and "out" in output:
        output = output["out"]
    elif not isinstance(output, Tensor) and hasattr(output, "logits"):
        output = output.logits
    if isinstance(output, Tensor) and output.ndim in (2, 4):
        return output
    shown = f"tensor {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise InputError(
        f"network: its output is a {shown}; it must be logits (B, C, h, w), or (B, C) of whole "
        "images: a tensor, a mapping with 'out', or an object with .logits"
    )


def elements(output: object, before: str = "") -> Iterator[tuple[str, Tensor]]:
    """The maps (B, C, h, w) in a list, tuple or mapping, each with its path: `2`, or
    `hidden_states.2` of an object of transformers. A tensor has none."""
    items: Iterable[tuple[object, object]] = ()
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, list | tuple):
        items = enumerate(output)
    for key, value in items:
        if isinstance(value, Tensor) and value.ndim == 4:
            yield f"{before}{key}", value
        else:
            yield from elements(value, f"{before}{key}.")


def forward(net: nn.Module, x: Tensor, wanted: Iterable[str]) -> dict[str, Tensor]:
    """Output of the named submodules, and of the whole network under LOGITS.

    Without LOGITS the pass stops at the layer that completes the set, so the layers after it cost
    nothing, get no gradient and keep their batch-norm statistics.

    Args:
        net: any module.
        x: its input (B, 3, H, W).
        wanted: names from `named_modules()`, aliases, elements of what a layer returns
            (`encoder.2`), or LOGITS.

    Raises:
        InputError: a name the network lacks, a layer that the pass never reaches or whose output
            is not a tensor, or one that the network then overwrites in place (by an in-place ReLU
            after it, say).
    """
    wanted = set(wanted)
    taps = {name: split_tap(net, name) for name in wanted - {LOGITS}}
    maps: dict[str, Tensor] = {}
    versions: dict[str, int] = {}

    def keep(name: str, path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            inside = dict(elements(output))
            found = inside.get(path) if path else output
            if not isinstance(found, Tensor):
                raise not_one_map(name, path, inside)
            maps[name], versions[name] = found, found._version
            if maps.keys() == wanted:
                raise _Complete

        return hook

    with ExitStack() as stack:
        for name, (layer, path) in taps.items():
            stack.enter_context(net.get_submodule(layer).register_forward_hook(keep(name, path)))
        try:
            output = net(x)
            if LOGITS in wanted:
                maps[LOGITS] = logits_of(output)
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


def as_input(images: Tensor, mean: Iterable[float], std: Iterable[float]) -> Tensor:
    """What a network sees, float32 (B, C, H, W): images of integers normalised, others as they
    are."""
    return images.float() if images.is_floating_point() else normalise(images, mean, std)


def normalise(images: Tensor, mean: Iterable[float], std: Iterable[float]) -> Tensor:
    """(B, C, H, W) in 0..255, of uint16 in 0..65535 -> float32, (value / largest - mean) / std per
    channel."""
    shape, largest = (1, 3, 1, 1), 65_535 if images.dtype == torch.uint16 else 255
    m = torch.tensor(tuple(mean), device=images.device).view(shape) * largest
    s = torch.tensor(tuple(std), device=images.device).view(shape) * largest
    return images.to(torch.float32).sub_(m).div_(s)
