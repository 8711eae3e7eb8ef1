"""From images to classes: whole, in sliding windows, or averaged over scales and mirroring; and the
loss of logits."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adapt.data.images import index_type, void_of
from adapt.errors import InputError
from adapt.machine.runtime import Runtime
from adapt.networks.preprocessing import as_input
from adapt.networks.sizes import REFUSALS, reason
from adapt.networks.taps import logits_of, upsample
from adapt.settings.groups import NetworkConfig
from adapt.settings.protocol import ProtocolConfig

WHOLE = ProtocolConfig()
PART = 256
"""Classes whose logits are upsampled together at most, where only the most likely one is asked."""
Logits = Callable[[Tensor], Tensor]
"""Normalised images (B, N, H, W) -> logits (B, C, h, w), float32."""


def predict(
    machine: Runtime,
    net: nn.Module,
    network: NetworkConfig,
    images: Tensor,
    size: tuple[int, int],
    protocol: ProtocolConfig = WHOLE,
    batch: int = 0,
    probabilities: bool = False,
) -> np.ndarray:
    """Images (B, N, h, w), as in memory or normalised already -> classes (B, H, W) at `size`, of
    `index_type`, or with `probabilities` those of all of them, float32 (B, C, H, W).

    One pass over whole images takes the argmax of their bilinearly upsampled logits. With several
    scales or mirroring, the softmax probabilities at `size` are averaged (Zhao et al. 2017, Chen et
    al. 2018); they have one range, so that no scale outweighs the others. Only the sum and the
    probabilities of one scale are in memory at a time.

    Args:
        machine: the device and the precision.
        net: the network, in eval mode.
        network: its normalisation, and whether its last output is void.
        images: the network's input before normalisation.
        size: (H, W) of the prediction.
        protocol: whole images, windows or several scales.
        batch: how many windows go through the network together, at least one of each image.
        probabilities: of all classes instead of the most likely one.

    Raises:
        InputError: the logits are not finite, or the network cannot take a size.
    """
    if protocol.crops != 1:
        raise InputError(
            f"protocol.crops={protocol.crops} is for classification; pixels have protocol.window"
        )

    logits = partial(pixel_logits, machine, net)
    run = windowed(logits, protocol.window, protocol.stride, batch) if protocol.window else logits
    normalised = as_input(machine.images(images), network)
    if probabilities:
        passes = len(protocol.scales) * (1 + protocol.flip)
        return averaged(run, normalised, size, protocol).div_(passes).cpu().numpy()
    if protocol.scales == [1.0] and not protocol.flip:
        return classes_of(run(normalised), size, network)
    scores = averaged(run, normalised, size, protocol)
    return masks(indices(scores.argmax(dim=1), scores.shape[1]), scores.shape[1], network)


def classes_of(logits: Tensor, size: tuple[int, int], network: NetworkConfig) -> np.ndarray:
    """Logits (B, C, h, w) -> classes (B, H, W) at `size`, of `index_type`."""
    return masks(most_likely(logits, size), logits.shape[1], network)


def masks(found: Tensor, outputs: int, network: NetworkConfig) -> np.ndarray:
    """Indices of a network's `outputs` -> those of classes, the last one being void where it is."""
    labels, classes = found.cpu().numpy(), outputs - network.void
    if network.void:
        labels[labels == classes] = void_of(classes)
    return labels.astype(index_type(classes), copy=False)


def indices(labels: Tensor, classes: int) -> Tensor:
    """Labels as uint8, or as int32 where 8 bits do not hold them: torch has little for uint16."""
    return labels.to(torch.uint8 if index_type(classes) is np.uint8 else torch.int32)


def most_likely(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (B, C, h, w) -> classes (B, H, W), uint8 or int32. Upsampling one image at a time in
    channels last needs less memory and a third of the time; of more than PART classes only so many
    are upsampled together."""
    images = logits.to(memory_format=torch.channels_last).split(1)
    return torch.cat([indices(likeliest(one, size), logits.shape[1]) for one in images])


def likeliest(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (1, C, h, w) -> classes int64 (1, H, W)."""
    first, *others = logits.split(PART, dim=1)
    if not others:
        return upsample(first, size).argmax(dim=1)
    highest, label = upsample(first, size).max(dim=1)
    for number, part in enumerate(others, 1):
        value, place = upsample(part, size).max(dim=1)
        label = torch.where(value > highest, place + number * PART, label)
        highest = torch.maximum(highest, value)
    return label


def summed_loss(logits: Tensor, labels: list[np.ndarray], classes: int) -> np.ndarray:
    """The cross-entropy of logits (B, C, h, w) with B index masks (H, W), in nats, summed over all
    labelled pixels, and their number; logits are upsampled to each mask's own size."""
    sums, void = np.zeros(2), void_of(classes)
    for label, one in zip(labels, logits, strict=True):
        truth = torch.from_numpy(label).long().to(one.device)
        found = upsample(one[None], (label.shape[0], label.shape[1]))
        lost = cross_entropy(found, truth[None], ignore_index=void, reduction="sum")
        sums += (lost.item(), (truth != void).sum().item())
    return sums


def whole_logits(
    machine: Runtime, net: nn.Module, network: NetworkConfig, images: Tensor
) -> Tensor:
    """Images as in `predict` -> logits (B, C, h, w) of one pass over all of each."""
    return pixel_logits(machine, net, as_input(machine.images(images), network))


def pixel_logits(machine: Runtime, net: nn.Module, x: Tensor) -> Tensor:
    """As `finite_logits`, (B, C, h, w); InputError where they are of another shape."""
    found = finite_logits(machine, net, x)
    if found.ndim != 4:
        raise InputError(
            f"network: its logits are {tuple(found.shape)}; (B, C, h, w), one label a pixel, is "
            "needed here"
        )
    return found


def finite_logits(machine: Runtime, net: nn.Module, x: Tensor) -> Tensor:
    """Logits in float32, without a graph.

    Raises:
        InputError: the logits are not finite, or the network cannot take a size.
    """
    try:
        with torch.no_grad(), machine.autocast():
            output = net(x.clone())  # a network may write into its input, which has further views
    except InputError:
        raise
    except REFUSALS as error:
        size = "x".join(map(str, x.shape[-2:]))
        raise InputError(
            f"network: {len(x)} image(s) of {size} (H x W) fail: {reason(error)}; sizes come from "
            "data.resize, protocol.scales and protocol.window, memory goes with batch"
        ) from error
    found = logits_of(output).float()
    if not found.isfinite().all():
        raise InputError(
            "run: the network's logits are not finite: its training diverged; a lower "
            "schedule.lr usually helps"
        )
    return found


def averaged(
    run: Logits, images: Tensor, size: tuple[int, int], protocol: ProtocolConfig
) -> Tensor:
    """The sum of the probabilities (B, C, H, W) over all scales and, with `flip`, mirroring."""
    total = torch.zeros(0)
    for scale in protocol.scales:
        scaled = images
        if scale != 1:
            resized = [max(1, round(side * scale)) for side in images.shape[-2:]]
            scaled = nn.functional.interpolate(
                images, resized, mode="bilinear", align_corners=False, antialias=scale < 1
            )
        for mirrored in (False, True) if protocol.flip else (False,):
            logits = run(scaled.flip(-1) if mirrored else scaled)
            found = upsample(logits.flip(-1) if mirrored else logits, size).softmax(dim=1)
            total = total.add_(found) if total.numel() else found
    return total


def windowed(logits: Logits, window: list[int], stride: list[int], batch: int = 0) -> Logits:
    """As `logits`, at the image's size, from windows that slide over it; overlaps are averaged.

    A window larger than the image is the image. At most `batch` windows, but at least one of each
    image, go through the network together.
    """

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
    """The first pixels of windows that cover 0..length-1; the last window ends exactly there."""
    return [*range(0, length - window, stride), length - window]
