"""Photocopy filter on batches of tensors."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from transforms.common import check_real
from transforms.gegl_photocopy import (
    BINS,
    LUMINANCE,
    RANGES,
    THRESHOLD,
    WHITE_RATIO,
    blur_columns,
    detail_radius,
    sigma_of,
)
from transforms.torch.common import check_images, from_light, to_light


def photocopy(
    images: Tensor,
    *,
    mask_radius: float = 10.0,
    sharpness: float = 0.5,
    black: float = 0.2,
    white: float = 0.2,
) -> Tensor:
    """Return `images` as grey photocopies; see `transforms.photocopy`.

    The recursive blurs are linear maps along rows and columns and are done as such: two products
    with matrices of the image's height and width, in double precision.

    Args:
        images: (B, 3, H, W), uint8 or floating point in 0..1; not modified.
        mask_radius: radius in pixels of the surroundings compared with, 0..50.
        sharpness: 0..1; 1 keeps the finest detail.
        black: 0..1; only 0 matters: the dark pixels then become black.
        white: 0..1, share of an image's dark pixels that sets the width of its ramp to white.

    Returns:
        (B, 3, H, W) of the type of `images`, three equal channels.

    Raises:
        ValueError: wrong kind of tensor, or a parameter of wrong type or out of range.
    """
    images = check_images(images)
    mask_radius = check_real("mask_radius", mask_radius, RANGES)
    sharpness = check_real("sharpness", sharpness, RANGES)
    black = check_real("black", black, RANGES)
    white = check_real("white", white, RANGES)

    light = to_light(images, torch.float64)
    luminance = torch.einsum("bchw,c->bhw", light, light.new_tensor(LUMINANCE))
    detail = _blur(luminance, sigma_of(detail_radius(sharpness)))
    surround = _blur(luminance, sigma_of(mask_radius))
    lit = surround != 0
    unlit_ratio = torch.where(detail > 0, WHITE_RATIO, 0.0)
    ratio = torch.where(lit, detail / torch.where(lit, surround, 1.0), unlit_ratio)

    ramp, found = _white_ramps(ratio.detach(), lit, white)
    lift = (torch.minimum(ratio - THRESHOLD, ramp) / ramp.clamp(min=1e-9)).where(ramp > 0, 1.0)
    shade = detail * (1 - THRESHOLD + ratio) * (found * (black > 0))
    grey = torch.where(ratio < THRESHOLD, shade, lift + detail - lift * detail)
    return from_light(grey, images.dtype)[:, None].repeat(1, 3, 1, 1)


def _white_ramps(ratio: Tensor, lit: Tensor, white: float) -> tuple[Tensor, Tensor]:
    """Return each image's width of the ramp to white, and whether it has dark pixels: (B, 1, 1).

    `ratio` is (B, H, W), and a ratio where `lit` (B, H, W).
    """
    dark = (ratio >= 0) & (ratio < THRESHOLD) & lit
    bins = (ratio * BINS).long().clamp(0, BINS)
    counts = torch.zeros(len(ratio), BINS + 1, dtype=torch.long, device=ratio.device)
    counts.scatter_add_(1, bins.flatten(1), dark.flatten(1).long())
    total = counts.sum(dim=1, keepdim=True)
    above = counts.cumsum(dim=1).double() / total > white
    ramp = THRESHOLD - above.int().argmax(dim=1, keepdim=True).double() / BINS
    ramp = ramp.where(above.any(dim=1, keepdim=True), 0.0)
    ramp = ramp.where((total > 0) & (white > 0), 1.0)
    return ramp[..., None], (total > 0)[..., None]


def _blur(planes: Tensor, sigma: float) -> Tensor:
    """Return `planes` (B, H, W) blurred along x, then y, edge values repeated outwards."""
    height, width = planes.shape[1:]
    return _matrix(height, sigma, planes.device) @ (planes @ _matrix(width, sigma, planes.device).T)


@lru_cache(maxsize=8)
def _matrix(length: int, sigma: float, device: torch.device) -> Tensor:
    """Return the blur along an axis as a matrix (length, length): its answers to unit impulses."""
    return torch.from_numpy(np.ascontiguousarray(blur_columns(np.eye(length), sigma))).to(device)
