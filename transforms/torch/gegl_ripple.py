"""Ripple filter on batches of tensors."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from transforms.common import check_choice
from transforms.gegl_ripple import SAMPLERS, Kernel
from transforms.torch.common import check_images, from_light, to_light
from transforms.wave import ABYSSES, BORDERS, ripple_displacement


def ripple(
    images: Tensor,
    *,
    amplitude: float = 25.0,
    period: float = 200.0,
    phi: float = 0.0,
    angle: float = 0.0,
    sampler_type: str = "cubic",
    wave_type: str = "sine",
    abyss_policy: str = "clamp",
    tileable: bool = False,
) -> Tensor:
    """Return `images` displaced by a plane wave; see `transforms.ripple` for the parameters.

    Args:
        images: (B, 3, H, W), uint8 or floating point in 0..1; not modified.
        amplitude: largest displacement in pixels, 0..1000.
        period: wave length in pixels, 0..1000; below 0.0001 nothing is displaced.
        phi: phase in wave lengths, -1..1.
        angle: degrees, -180..180; 0 displaces vertically along x, 90 horizontally along y.
        sampler_type: "nearest", "linear" or "cubic".
        wave_type: "sine", "triangle" or "sawtooth".
        abyss_policy: "clamp", "loop", "black", "white" or "none".
        tileable: adjust angle and period so that the wave fits the images.

    Returns:
        (B, 3, H, W) of the type of `images`.

    Raises:
        ValueError: wrong kind of tensor, or a parameter of wrong type, unknown or out of range.
    """
    images = check_images(images)
    check_choice("sampler_type", sampler_type, SAMPLERS)
    check_choice("abyss_policy", abyss_policy, ABYSSES)
    height, width = images.shape[2:]
    field = ripple_displacement(
        (height, width),
        amplitude=amplitude,
        period=period,
        phi=phi,
        angle=angle,
        wave_type=wave_type,
        tileable=tileable,
    )
    light = to_light(images, torch.promote_types(images.dtype, torch.float32))
    border = 0
    if abyss_policy in BORDERS:
        # A border of that colour, repeated outwards, is what "clamp" does anyway.
        border, light = 1, pad(light, (1, 1, 1, 1), value=BORDERS[abyss_policy])
    kernel, loop = SAMPLERS[sampler_type], abyss_policy == "loop"
    offset = 0.0 if sampler_type == "nearest" else 0.5
    x = (np.arange(width) + field[..., 0]).astype(np.float32) - offset + border
    y = (np.arange(height)[:, None] + field[..., 1]).astype(np.float32) - offset + border
    columns, across = _taps(x, light.shape[3], kernel, loop, light)
    rows, down = _taps(y, light.shape[2], kernel, loop, light)
    total = torch.zeros_like(light[:, :, :height, :width])
    for i in range(4):
        for j in range(4):
            total = total + down[i] * across[j] * light[:, :, rows[i], columns[j]]
    return from_light(total, images.dtype)


def _taps(
    position: np.ndarray, size: int, kernel: Kernel, loop: bool, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the four pixels 0..size-1 around positions (H, W) along one axis, and their weights.

    Both are (4, H, W), on the device of `like`.
    """
    first = np.floor(position)
    powers = (position - first)[..., None] ** np.arange(4)
    weights = np.moveaxis(powers @ np.array(kernel).T, 2, 0)
    pixels = first.astype(np.int64) + np.arange(-1, 3)[:, None, None]
    pixels = pixels % size if loop else pixels.clip(0, size - 1)
    device = like.device
    return torch.from_numpy(pixels).to(device), torch.from_numpy(weights).to(device, like.dtype)
