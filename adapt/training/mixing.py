"""What a step does with its pairs before the networks see them: mixup, and crops that are moved
against each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adapt.errors import InputError
from adapt.networks.layers import Layer, pooled, scale
from adapt.networks.taps import LOGITS
from adapt.objective.terms import Maps, Objective
from adapt.settings.training import TrainConfig


def mixup(batch: Maps, alpha: float, seed: Sequence[int]) -> Maps:
    """Each pair mixed with another one of the batch (Zhang et al., ICLR 2018, equation 1): x1 with
    x1 and x2 with x2 of the same partner, as lambda x + (1 - lambda) x' with the same lambda.

    Args:
        batch: normalised images x1 and x2 (B, C, H, W), and maybe `valid` (B, H, W), 0 or 1: of a
            mixture it is 1 where it is of both.
        alpha: lambda ~ Beta(alpha, alpha), drawn for each pair.
        seed: what partners and lambdas are drawn from.
    """
    draw, count = np.random.default_rng(seed), len(batch["x2"])
    partner = torch.from_numpy(draw.permutation(count))
    share = torch.from_numpy(draw.beta(alpha, alpha, count))[:, None, None, None]
    found = {}
    for key, own in batch.items():
        other = own[partner.to(own.device)]
        found[key] = own * other if key == "valid" else other.lerp(own, share.to(own))
    return found


@dataclass(frozen=True)
class Crops:
    """Crops of x1 and x2, `room` pixels smaller than the images of `size` (H, W), of which that of
    x2 begins `shift` pixels (down, right) from that of x1.

    Where shifts are multiples of the network's stride, the cells that both crops show are the same
    ones. They differ near the borders of the crops all the same, as one network sees zero padding
    where the other one sees the image; those cells count as all do, so that equal images and
    weights give 0, up to rounding, only without padding.
    """

    size: tuple[int, int]
    room: int
    shift: tuple[int, int]

    def crop(self, image: Tensor, side: str) -> Tensor:
        """x1 or x2 (B, C, H, W) -> (B, C, H - room, W - room)."""
        top, left = (max(0, d if side == "x2" else -d) for d in self.shift)
        height, width = (length - self.room for length in self.size)
        return image[..., top : top + height, left : left + width]

    def common(self, whole: Tensor) -> Tensor:
        """What both crops show of an image or mask (..., H, W)."""
        height, width = (length - self.room for length in self.size)
        down, right = map(abs, self.shift)
        return whole[..., down:height, right:width]

    def cells(self, maps: Maps, side: str) -> Maps:
        """The cells of maps (B, C, h, w) of one side's crop that both crops show. A map's stride is
        a power of two, rounded."""
        found = {}
        for tap, own in maps.items():
            cut = []
            for length, cells, d in zip(self.size, own.shape[-2:], self.shift, strict=True):
                moved = round(d / 2 ** round(math.log2((length - self.room) / cells)))
                first = max(0, moved if side == "x1" else -moved)
                cut.append(slice(first, first + cells - abs(moved)))
            found[tap] = own[..., cut[0], cut[1]]
        return found


def crops(size: Sequence[int], cells: int, cell: int, seed: Sequence[int]) -> Crops:
    """Crops of images of `size` (H, W) that lie up to `cells` cells, of `cell` pixels each, apart,
    either way."""
    down, right = (np.random.default_rng(seed).integers(-cells, cells + 1, 2) * cell).tolist()
    return Crops((size[0], size[1]), cells * cell, (down, right))


def cell_of(
    config: TrainConfig,
    objective: Objective,
    own: Sequence[Layer],
    theirs: Sequence[Layer],
    size: tuple[int, int],
) -> int:
    """The largest stride of student and teacher, in pixels, of which moved crops are multiples; 0
    where `crop_shift` is off.

    Raises:
        InputError: a map without a grid, or crops that would have nothing in common.
    """
    if not config.crop_shift:
        return 0
    strides = []
    for layers, taps in ((own, objective.student), (theirs, objective.teacher)):
        pools = {x.name for x in pooled(layers)}
        for x in layers:
            if x.stride and x.name not in pools and x.map[1:] != (1, 1):
                strides.append(2 ** max(scale(x)))
            elif flat := taps & {x.name or LOGITS, *x.aliases}:
                raise InputError(
                    f"crop_shift: layer {min(flat)} has no map of rows and columns that moves with "
                    "the image"
                )
    cell = max(strides)
    most = max(0, (min(size) // cell - 1) // 2)
    if config.crop_shift > most:
        raise InputError(
            f"crop_shift is {config.crop_shift} cells of {cell} px, the network's stride; crops of "
            f"images of {size[0]}x{size[1]} have something in common up to {most}"
        )
    return cell
