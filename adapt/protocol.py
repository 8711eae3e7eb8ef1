"""From images to classes: whole, in sliding windows, or averaged over scales and mirroring."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from adapt.config import NetworkConfig, at_least, size_pair
from adapt.errors import InputError
from adapt.runtime import Runtime
from adapt.taps import logits_of, normalise, upsample


@dataclass
class ProtocolConfig:
    """How an image becomes a prediction: whole by default, in windows, at several scales."""

    window: list[int] = field(default_factory=list)
    """(H, W) of windows that slide over the image; [] = the whole image at once."""
    stride: list[int] = field(default_factory=list)
    """(H, W) from window to window; [] = two thirds of the window."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Factors by which the image is enlarged; their probabilities are averaged."""
    flip: bool = False
    """Average with the prediction of the mirrored image, at every scale."""

    def __post_init__(self) -> None:
        size_pair("protocol.window", self.window)
        size_pair("protocol.stride", self.stride)
        if self.stride and not self.window:
            raise InputError("protocol.stride needs protocol.window=[H,W]")
        if self.stride and any(s > w for s, w in zip(self.stride, self.window, strict=True)):
            raise InputError(
                f"protocol.stride is {self.stride}, protocol.window {self.window}: windows that do "
                "not touch leave gaps"
            )
        if not self.scales:
            raise InputError("protocol.scales is empty; [1.0] is the image as it is")
        for scale in self.scales:
            at_least("protocol.scales", scale, 0, above=True)

    @property
    def tag(self) -> str:
        """For file names: `` for whole images, `window321x321_scales0.75-1_flip`, say."""
        parts = []
        if self.window:
            parts.append(f"window{'x'.join(map(str, self.window))}")
        if self.stride:
            parts.append(f"stride{'x'.join(map(str, self.stride))}")
        if self.scales != [1.0]:
            parts.append(f"scales{'-'.join(f'{s:g}' for s in self.scales)}")
        return "_".join([*parts, *(["flip"] if self.flip else [])])


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

    Raises:
        InputError: logits that are not finite.
    """

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), machine.autocast():
            found = logits_of(net(x)).float()
        if not found.isfinite().all():
            raise InputError("the network's logits are not finite: its training diverged")
        return found

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
