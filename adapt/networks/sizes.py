"""The sizes of images that a network takes, found by running it on blank ones."""

from contextlib import suppress

import torch
from torch import nn

from adapt.errors import InputError
from adapt.networks.batchnorm import eval_mode
from adapt.networks.maps import blank
from adapt.networks.taps import first_logits

REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError, LookupError)
"""What a network's own code raises for an image that it cannot take."""
STEPS = (2, 4, 7, 8, 14, 16, 28, 32, 64)
"""Multiples that networks want the sides of an image to be."""


def run(net: nn.Module, size: tuple[int, int]) -> object:
    """The output for a blank image (1, C, H, W) in eval mode, without a graph."""
    with torch.no_grad(), eval_mode(net):
        return net(blank(net, size))


def outputs(net: nn.Module, size: tuple[int, int]) -> int:
    """How many logits a network gives for a pixel or an image; InputError for a size that it cannot
    take."""
    try:
        found = run(net, size)
    except REFUSALS as error:
        raise unfit(net, size, error) from None
    return first_logits(net, found).shape[1]


def unfit(net: nn.Module, size: tuple[int, int], error: Exception) -> InputError:
    """What to say of an image that a network refused with an error."""
    if isinstance(error, InputError):
        return error
    if "channels, but got" in str(error):
        cure = "network.mean and network.std have a number for each channel that it sees"
    else:
        fit = fitting(net, size)
        cure = f"data.resize=[{fit[0]},{fit[1]}] fits" if fit else "give data.crop or data.resize"
    return InputError(
        f"network: it cannot take an image of {size[0]}x{size[1]} (H x W): {reason(error)}; {cure}"
    )


def reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


def fitting(net: nn.Module, size: tuple[int, int]) -> tuple[int, int] | None:
    """A size near to another that the network takes, or the one that its layers state (timm's
    `img_size`, transformers' `image_size`); None = neither."""
    near = [tuple(max(1, round(side / m)) * m for side in size) for m in STEPS]
    owners = [*net.modules(), *(getattr(m, "config", None) for m in net.modules())]
    stated = [getattr(o, name, None) for o in owners for name in ("img_size", "image_size")]
    pairs = [(s, s) if isinstance(s, int) else tuple(s) for s in stated if s]
    for tried in dict.fromkeys([*near, *(p for p in pairs if len(p) == 2)]):
        with suppress(*REFUSALS):
            first_logits(net, run(net, tried))
            return tried[0], tried[1]
    return None
