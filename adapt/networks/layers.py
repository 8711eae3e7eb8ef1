"""A network's layers as a forward pass meets them: shapes, cost, and which can be tapped."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import takewhile

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adapt.errors import InputError, unknown
from adapt.machine.runtime import compiles, unguarded
from adapt.networks.batchnorm import eval_mode
from adapt.networks.maps import blank
from adapt.networks.recorder import DROPOUT, ELEMENT, Layer, Recorder
from adapt.networks.sizes import REFUSALS, unfit
from adapt.networks.taps import LOGITS, is_logits

NEAR = 8
"""Choices that a message lists."""
LINEAR = ("Conv", "Linear", "BatchNorm", "GroupNorm", "LayerNorm", "InstanceNorm")
"""Beginnings of the types whose maps the next activation or norm layer only finishes."""
LEAST = 4
"""Layers that a main path should have before blocks stay closed."""


def trace(net: nn.Module, size: tuple[int, int]) -> list[Layer]:
    """Every module of a network as a forward pass in eval mode meets it.

    The modules come in the order in which they finish, so that a block follows its members; the
    network itself follows them all, and only modules that were never called come after it. Modes,
    weights, statistics and hooks are left as they were. Multiply-accumulates are those of
    convolutions and matrix products.

    Args:
        net: any module from (1, C, H, W) to logits.
        size: (H, W) of the input, which is 0 everywhere.

    Raises:
        InputError: the network cannot take an image of this size, or its output is no logits.
    """
    counter = FlopCounterMode(display=False)
    recorder, refusal = Recorder(net, size, counter), None
    with ExitStack() as stack:
        for module in recorder.names:
            stack.callback(module.register_forward_pre_hook(recorder.before).remove)
            stack.callback(module.register_forward_hook(recorder.after).remove)
        for context in (torch.no_grad(), eval_mode(net), recorder, counter):
            stack.enter_context(context)
        eager = not compiles() and unguarded(recorder, counter.mode)
        try:
            net(blank(net, size))
        except REFUSALS as error:
            refusal = error
    if eager and compiles():  # the network has begun to: again, with the guards
        return trace(net, size)
    if refusal is not None:
        raise unfit(net, size, refusal)
    found, total = recorder.layers, max(1, recorder.macs())
    found |= {n: recorder.untouched(m) for m, n in recorder.names.items() if n not in found}
    return [
        replace(
            layer,
            overwritten_by=recorder.overwritten.get(name, ""),
            used=recorder.used(layer.same_as or name),
            share=layer.macs / total,
            share_until=layer.macs_until / total,
        )
        for name, layer in found.items()
    ]


def check(layers: Sequence[Layer], taps: Iterable[str], what: str = "taps") -> None:
    """Every tap must be the name or alias of a layer whose map one forward pass can hand out.

    A map that is overwritten later can be had where it is the deepest of the taps, because the pass
    then stops after it; LOGITS among the taps means that it runs to the end.

    Raises:
        InputError: an unknown name, or a layer that is never called, called several times,
            overwritten in place, or without a map; with the reason, what can be tapped near it, and
            what `taps=auto` would take.
    """
    named = {layer.name: layer for layer in layers if layer.name}
    short = {alias: layer for layer in named.values() for alias in layer.aliases}
    free = [name for name, layer in named.items() if not layer.obstacle]
    wanted = {LOGITS if is_logits(tap) else tap for tap in taps}
    if strange := sorted(wanted - {LOGITS, *named, *short}):
        raise InputError(
            f"{unknown(f'{what}: layer', strange[0], [*short, *free])}. {proposal(layers)}"
        )
    found = {tap: named.get(tap) or short[tap] for tap in sorted(wanted - {LOGITS})}
    deepest = [x for x in named.values() if x in found.values()][-1:]
    parts = [x for x in named.values() if x.type == ELEMENT and not x.obstacle]
    for tap, layer in found.items():
        stops = [layer] == deepest and LOGITS not in wanted
        if reason := layer.mapless if stops else layer.obstacle:
            beside = layer.name.rpartition(".")[0]
            near = [x.name for x in parts if x.name.startswith(f"{layer.name}.")]
            near = near or [n for n in free if n.rpartition(".")[0] == beside] or list(short)
            raise InputError(
                f"{what}: {tap} cannot be tapped ({reason}); near it can: "
                f"{', '.join((near or free)[:NEAR])}. {proposal(layers)}"
            )


def auto_taps(layers: Sequence[Layer]) -> dict[str, float]:
    """What `taps=auto` takes of a network as `trace` met it: on the way down to its coarsest maps
    the last map of every stride, and the last map before the classifier. Their weights grow
    linearly with depth and add up to 1.

    Strides are powers of two, rounded. On the way down only the main path counts, so that no branch
    inside a block does. Dropout's output, what the logits do not depend on (an auxiliary head) and
    pyramid pooling (Zhao et al. 2017), whose few cells are no stride, never do. The maps at the end
    that have as many channels as the logits are taken for logits, unless they are rectified. Of the
    layers that hand on the same map the outermost is named, before dropout.

    Returns:
        Name -> weight in the order of the forward pass; empty where the second half of the
        computation has no map (B, C, h, w), as in a transformer of tokens.
    """
    logits = next(x for x in layers if not x.name)
    dropouts = {x.name for x in layers if DROPOUT in x.type}
    unfit = {x.name for x in layers if {x.name, x.overwritten_by} & dropouts}
    unfit |= {x.name for x in pooled(layers)}
    fit = (x for x in layers if x.used and x.stride and not x.obstacle and x.map[1:] != (1, 1))
    maps = [x for x in fit if (x.same_as or x.name) not in unfit]
    rectified = {x.name for x in layers if "LU" in x.type}  # ReLU, PReLU, GELU, SiLU
    while maps and maps[-1].map[0] == logits.shape[1]:
        if {maps[-1].name, maps[-1].same_as} & rectified:
            break
        maps.pop()
    if not maps or maps[-1].share_until < 0.5:
        return {}
    on_path = {x.name for x in main_path(layers)}
    strides = {x: scale(x) for x in maps if x.name in on_path or x is maps[-1]}
    scales = list(strides.values())
    coarsest = max(i for i, stride in enumerate(scales) if stride == max(scales))
    last = {stride: x for x, stride in list(strides.items())[: coarsest + 1]}
    chosen = [x for x in strides if x in last.values() or x is maps[-1]]
    return linear(layers, [outermost(x, layers) for x in chosen])


def scale(layer: Layer) -> tuple[int, ...]:
    """log2 of a map's stride, height and width, rounded."""
    return tuple(round(math.log2(side)) for side in layer.stride or ())


def linear(layers: Sequence[Layer], taps: Iterable[str]) -> dict[str, float]:
    """Names or aliases -> weights that grow linearly with depth and add up to 1, the shallowest
    layer first."""
    depths = {name: i for i, x in enumerate(layers) for name in (x.name, *x.aliases)}
    ordered = sorted(taps, key=lambda tap: depths.get(tap, len(depths)))  # LOGITS is the last
    total = len(ordered) * (len(ordered) + 1) / 2
    return {tap: place / total for place, tap in enumerate(ordered, 1)}


def proposal(layers: Sequence[Layer]) -> str:
    """`taps=auto would take ...`, for messages; or why it would take none."""
    if taps := auto_taps(layers):
        return f"taps=auto would take {weighted(taps)}"
    return "taps=auto finds no map (B, C, h, w) in the second half of the network's computation"


def weighted(taps: Mapping[str, float]) -> str:
    """`{pool3: 0.333, pool5: 0.667}`, as it is given on the command line."""
    return f"{{{', '.join(f'{name}: {weight:.3g}' for name, weight in taps.items())}}}"


def pooled(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Adaptive poolings to several cells, and what follows each of them in its module."""
    places = set[str]()
    for x in layers:
        if found := "Adaptive" in x.type and x.map[1:] != (1, 1):
            places.add(x.name.rpartition(".")[0])
        if found or any(f"{x.name}.".startswith(f"{place}.") for place in places):
            yield x


def outermost(layer: Layer, layers: Sequence[Layer]) -> str:
    """The shortest name under which a layer's map is handed on before dropout, which in training
    changes it."""
    owner = layer.same_as or layer.name
    same = [x for x in layers if owner in (x.name, x.same_as) and not x.obstacle]
    kept = takewhile(lambda x: DROPOUT not in x.type, same)
    return min(kept, key=lambda x: (x.type == ELEMENT, x.name.count("."))).name


def main_path(layers: Sequence[Layer]) -> list[Layer]:
    """The tappable layers from image to logits whose maps differ, in order.

    Containers are opened, and so are blocks that return several maps or none. Other blocks,
    whose branches follow no one order, are opened level by level where fewer than LEAST layers
    are left. Of a convolution with norm and activation only the last is kept, and of several
    layers that hand on the same map the first, with any alias. Maps of one cell are left out.
    """
    inside: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.name and layer.type != ELEMENT:
            inside.setdefault(layer.name.rpartition(".")[0], []).append(layer)

    def opened(name: str, left: int) -> Iterator[str]:
        """Names below a module, blocks replaced by what is in them `left` times."""
        for child in inside.get(name, ()):  # a shared module has one name only
            closed = not child.container and not child.returned
            if child.leaf or (closed and not left):
                yield child.name
            else:
                yield from opened(child.name, left - closed)

    short = {x.same_as or x.name: x.aliases for x in layers if x.aliases}
    path: list[Layer] = []
    for left in range(LEAST):
        names = set(opened("", left))
        called = (x for x in layers if x.name in names and x.calls == 1 and x.used)
        every = [x for x in called if not x.returned]
        path, seen = [], set()
        for layer, following in zip(every, [*every[1:], None], strict=True):
            owner = layer.same_as or layer.name
            finished = following is not None and _finishes(following, layer)
            if owner not in seen and not (
                layer.obstacle or finished or not layer.stride or layer.map[1:] == (1, 1)
            ):
                path.append(replace(layer, aliases=short.get(owner, ())))
            seen.add(owner)
        if len(path) >= LEAST:
            break
    return path


def _finishes(following: Layer, layer: Layer) -> bool:
    """Is `following` the norm or activation of a convolution or norm layer?"""
    if not (layer.leaf and layer.type.startswith(LINEAR) and layer.map == following.map != ()):
        return False
    small = following.leaf and following.parameters <= 4 * layer.map[0]
    return small and "Pool" not in following.type and not following.same_as
