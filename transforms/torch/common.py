"""What the filters on tensors share: the check of a batch, sRGB <-> linear light."""

from functools import lru_cache

import torch
from torch import Tensor

from transforms.common import LINEAR


def check_images(images: object) -> Tensor:
    """Return `images` if it is a batch of images that the filters know, else raise ValueError."""
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a tensor (B, 3, H, W), got {type(images).__name__}")
    known = images.dtype == torch.uint8 or images.is_floating_point()
    if not known or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(
            "images must be uint8 or floating point (B, 3, H, W) with H, W >= 1, "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    return images


def to_light(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the linear light of sRGB images of any shape, IEC 61966-2-1.

    Args:
        images: uint8, or floating point that is cut to 0..1.
        dtype: of the result.
    """
    if images.dtype == torch.uint8:
        return _linear(images.device, dtype)[images.long()]
    value = images.to(dtype).clamp(0, 1)
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def from_light(light: Tensor, dtype: torch.dtype) -> Tensor:
    """Return linear light as sRGB images: rounded to 0..255 for uint8, else in 0..1."""
    light = light.clamp(0, 1)
    # The power's slope at 0 is infinite, which would poison the gradient of the branch not taken.
    curve = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    value = torch.where(light <= 0.0031308, 12.92 * light, curve)
    return (255 * value).round().to(dtype) if dtype == torch.uint8 else value.to(dtype)


@lru_cache(maxsize=8)
def _linear(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(LINEAR).to(device, dtype)
