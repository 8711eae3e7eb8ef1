"""From images to classes: whole, in sliding windows, or averaged over scales and mirroring."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from adapt.config import NetworkConfig, ProtocolConfig
from adapt.runtime import Runtime
from adapt.taps import logits_of, normalise, upsample

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
) -> np.ndarray:
    """uint8 images (B, 3, h, w) -> classes (B, H, W) at `size`.

    One pass over whole images takes the argmax of their upsampled logits (bilinear). Several scales
    or mirroring average the softmax probabilities at `size`, one scale after the other: unlike
    logits they have one range, so no scale outweighs the others (as Zhao et al. 2017 and Chen et
    al. 2018 evaluate).
    """

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), machine.autocast():
            return logits_of(net(x)).float()

    run = windowed(logits, protocol.window, protocol.stride) if protocol.window else logits
    normalised = normalise(machine.images(images), network.mean, network.std)
    if protocol.scales == [1.0] and not protocol.flip:
        total = upsample(run(normalised), size)
    else:
        total = averaged(run, normalised, size, protocol)
    return total.argmax(dim=1).to(torch.uint8).cpu().numpy()


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
            total = total + found if total.numel() else found
    return total


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Enlarged by a factor, bilinearly, and smoothed first where that shrinks them."""
    if scale == 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return nn.functional.interpolate(
        images, size, mode="bilinear", align_corners=False, antialias=scale < 1
    )


def windowed(logits: Logits, window: list[int], stride: list[int]) -> Logits:
    """The same at the image's size from windows that slide over it, their logits averaged where
    they overlap. A window larger than the image is the image."""

    def run(images: Tensor) -> Tensor:
        sides = list(images.shape[-2:])
        height, width = (min(w, side) for w, side in zip(window, sides, strict=True))
        if [height, width] == sides:
            return logits(images)
        steps = stride or [max(1, 2 * w // 3) for w in window]
        total = torch.zeros(0)
        times = torch.zeros(1, 1, *sides, device=images.device)
        for top in places(sides[0], height, steps[0]):
            for left in places(sides[1], width, steps[1]):
                here = np.s_[..., top : top + height, left : left + width]
                found = upsample(logits(images[here]), (height, width))
                if not total.numel():
                    total = found.new_zeros(*found.shape[:2], *sides)
                total[here] += found
                times[here] += 1
        return total / times

    return run


def places(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin so that they cover 0..length-1; the last ends exactly there."""
    return [*range(0, length - window, stride), length - window]
