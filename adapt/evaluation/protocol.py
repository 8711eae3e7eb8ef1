"""From images to classes: whole, in sliding windows, or averaged over scales and mirroring."""

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.machine.runtime import Runtime
from adapt.networks.taps import logits_of, normalise, upsample
from adapt.settings.groups import NetworkConfig, ProtocolConfig

WHOLE = ProtocolConfig()
Logits = Callable[[Tensor], Tensor]
"""Normalised images (B, 3, H, W) -> logits (B, C, h, w), float32."""


def predict(
    machine: Runtime,
    net: nn.Module,
    network: NetworkConfig,
    images: Tensor,
    size: tuple[int, int],
    protocol: ProtocolConfig = WHOLE,
    batch: int = 0,
) -> np.ndarray:
    """uint8 images (B, 3, h, w) -> classes (B, H, W) at `size`.

    One pass over whole images takes the argmax of their upsampled logits (bilinear). Several scales
    or mirroring average the softmax probabilities at `size`, one scale after the other: unlike
    logits they have one range, so no scale outweighs the others (as Zhao et al. 2017 and Chen et
    al. 2018 evaluate). Held are the sum and one scale's share of it, never all scales.

    Args:
        machine: device and precision.
        net: in eval mode.
        network: normalisation.
        images: the network's input before normalisation.
        size: (H, W) of the prediction.
        protocol: whole, windows, scales.
        batch: how many windows go through the network together; of each image one at least.

    Raises:
        InputError: logits that are not finite, or a size that the network cannot take.
    """

    if protocol.crops != 1:
        raise InputError(
            f"protocol.crops={protocol.crops} is for classification; pixels have protocol.window"
        )

    def logits(x: Tensor) -> Tensor:
        found = finite_logits(machine, net, x)
        if found.ndim != 4:
            shape = tuple(found.shape)
            raise InputError(
                f"network: its logits are {shape}; (B, C, h, w), one label a pixel, is needed here"
            )
        return found

    run = windowed(logits, protocol.window, protocol.stride, batch) if protocol.window else logits
    normalised = normalise(machine.images(images), network.mean, network.std)
    if protocol.scales == [1.0] and not protocol.flip:
        found = most_likely(run(normalised), size)
    else:
        found = averaged(run, normalised, size, protocol).argmax(dim=1).to(torch.uint8)
    return found.cpu().numpy()


def most_likely(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (B, C, h, w) -> labels uint8 (B, H, W). One image at a time is upsampled, channels
    last, where a pixel's classes lie side by side: less memory, and a third of the time."""
    images = logits.to(memory_format=torch.channels_last).split(1)
    return torch.cat([upsample(one, size).argmax(dim=1).to(torch.uint8) for one in images])


def finite_logits(machine: Runtime, net: nn.Module, x: Tensor) -> Tensor:
    """Logits in float32, without a graph.

    Raises:
        InputError: logits that are not finite, or a size that the network cannot take.
    """
    with torch.no_grad(), machine.autocast():
        found = logits_of(forwarded(net, x)).float()
    if not found.isfinite().all():
        raise InputError(
            "run: the network's logits are not finite: its training diverged; a lower "
            "schedule.lr usually helps"
        )
    return found


def forwarded(net: nn.Module, x: Tensor) -> object:
    """The network's output, or an InputError that says which size it could not take."""
    try:
        return net(x)
    except InputError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, x.shape[-2:]))
        raise InputError(
            f"network: {len(x)} image(s) of {size} (H x W) fail: {error}; sizes come from "
            "data.resize, protocol.scales and protocol.window, memory goes with batch"
        ) from error


def averaged(
    run: Logits, images: Tensor, size: tuple[int, int], protocol: ProtocolConfig
) -> Tensor:
    """Sum of the probabilities (B, C, H, W) over scales, and over mirroring with `flip`."""
    total = torch.zeros(0)
    for scale in protocol.scales:
        scaled = rescaled(images, scale)
        for mirrored in (False, True) if protocol.flip else (False,):
            logits = run(scaled.flip(-1) if mirrored else scaled)
            found = upsample(logits.flip(-1) if mirrored else logits, size).softmax(dim=1)
            total = total.add_(found) if total.numel() else found
    return total


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Enlarged by a factor, bilinearly, and smoothed first where that shrinks them."""
    if scale == 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return nn.functional.interpolate(
        images, size, mode="bilinear", align_corners=False, antialias=scale < 1
    )


def windowed(logits: Logits, window: list[int], stride: list[int], batch: int = 0) -> Logits:
    """The same at the image's size from windows that slide over it, their logits averaged where
    they overlap. A window larger than the image is the image. At most `batch` windows go through
    the network together, but one of each image at least."""

    def run(images: Tensor) -> Tensor:
        sides = list(images.shape[-2:])
        height, width = (min(w, side) for w, side in zip(window, sides, strict=True))
        if [height, width] == sides:
            return logits(images)
        steps = stride or [max(1, 2 * w // 3) for w in window]
        total = torch.zeros(0)
        times = torch.zeros(1, 1, *sides, device=images.device)
        corners = product(places(sides[0], height, steps[0]), places(sides[1], width, steps[1]))
        spots = [np.s_[..., y : y + height, x : x + width] for y, x in corners]
        together = max(1, batch // len(images))
        for first in range(0, len(spots), together):
            group = spots[first : first + together]
            found = logits(torch.cat([images[here] for here in group]))
            for here, part in zip(group, found.split(len(images)), strict=True):
                if not total.numel():
                    total = part.new_zeros(*part.shape[:2], *sides)
                total[here] += upsample(part, (height, width))
                times[here] += 1
        return total.div_(times)

    return run


def places(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin so that they cover 0..length-1; the last ends exactly there."""
    return [*range(0, length - window, stride), length - window]
