"""Feature maps at named layers, computing nothing beyond the deepest one that is asked for."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from adapt.errors import InputError, unknown

LOGITS = "logits"
"""The name under which `forward` returns the network's own output."""


class _Reached(Exception):
    """Raised from the hook of the last wanted layer to leave the forward pass."""


def check_taps(net: nn.Module, taps: Iterable[str], what: str = "taps") -> None:
    """Every tap must be the name of a submodule (`named_modules()`)."""
    names = [name for name, _ in net.named_modules() if name]
    for tap in taps:
        if tap not in names:
            leaves = [n for n in names if "." not in n]
            raise unknown(f"{what}: layer", tap, leaves if tap.count(".") == 0 else names)


def forward(net: nn.Module, x: Tensor, wanted: Iterable[str]) -> dict[str, Tensor]:
    """Output of the named submodules, and of the whole network under LOGITS.

    Without LOGITS the pass stops at the layer that completes the set, so what lies behind it costs
    nothing, gets no gradient and keeps its batch-norm statistics.

    Args:
        net: any module.
        x: its input (B, 3, H, W).
        wanted: names from `named_modules()`, or LOGITS.

    Raises:
        InputError: a name the network lacks, a layer that the pass never reaches, or a layer whose
            output the network then overwrites in place (an in-place ReLU behind it, say).
    """
    wanted = set(wanted)
    taps = wanted - {LOGITS}
    check_taps(net, taps)
    maps: dict[str, Tensor] = {}
    versions: dict[str, int] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            maps[name], versions[name] = output, output._version
            if maps.keys() == wanted:
                raise _Reached

        return hook

    with ExitStack() as stack:
        for name in taps:
            stack.enter_context(net.get_submodule(name).register_forward_hook(keep(name)))
        try:
            output = net(x)
            if LOGITS in wanted:
                maps[LOGITS] = output
        except _Reached:
            pass
    if missing := wanted - maps.keys():
        raise InputError(f"taps: the forward pass never reaches {', '.join(sorted(missing))}")
    for name, version in versions.items():
        if maps[name]._version != version:
            raise InputError(
                f"taps: the output of {name!r} is overwritten in place by a later layer; tap the "
                "layer behind it (its activation or pooling)"
            )
    return maps


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, half-pixel centres: (B, C, h, w) -> (B, C, H, W)."""
    return nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)


def normalise(images: Tensor, mean: Iterable[float], std: Iterable[float]) -> Tensor:
    """uint8 (B, 3, H, W) in 0..255 -> float32, (value / 255 - mean) / std per channel."""
    shape = (1, 3, 1, 1)
    m = torch.tensor(tuple(mean), device=images.device).view(shape) * 255
    s = torch.tensor(tuple(std), device=images.device).view(shape) * 255
    return images.to(torch.float32).sub_(m).div_(s)
