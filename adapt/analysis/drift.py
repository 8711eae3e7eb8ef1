"""How far a network's maps of new images are from those of old ones, layer by layer and without
labels: on pairs of the same scene, or by the statistics of channels alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from torch import Tensor, nn

from adapt.analysis.activations import Moments, cells_that_count
from adapt.analysis.similarity import cells_of, cka
from adapt.errors import InputError
from adapt.networks.batchnorm import eval_mode
from adapt.networks.taps import forward

CELLS = 1024
"""Cells of a map, evenly spaced, that its similarity to another is estimated on at most."""

Images = Iterable[tuple[Tensor, Tensor | None]]
"""Normalised batches (B, C, H, W), and the mask (B, H, W) of pixels that count, by which cells are
left out; None = all count."""


@dataclass(frozen=True)
class MapDrift:
    """One layer's maps of the old domain beside those of the new one."""

    layer: str
    mean: np.ndarray
    """(2, C): of each channel over all cells and images, old and new."""
    std: np.ndarray
    """(2, C): standard deviation, likewise."""
    distance: float = nan
    """Pairs: sum (F(x2) - F(x1))^2 / sum F(x1)^2, the objective's `relative` distance."""
    cka: np.ndarray | None = None
    """Pairs: linear CKA of F(x1) and F(x2), (pairs,); NaN where `similarity.cka` has none."""
    halves: float = nan
    """No pairs: `statistics` of the old images' second half against their first: what other images
    of one camera differ by."""

    @property
    def parts(self) -> tuple[float, float]:
        """As `frechet`: what the means and what the standard deviations differ by."""
        return frechet(self.mean, self.std)

    @property
    def statistics(self) -> float:
        """Fréchet distance of the channels' statistics, relative to the old maps' size."""
        return sum(self.parts)


def frechet(mean: np.ndarray, std: np.ndarray) -> tuple[float, float]:
    """Squared Fréchet distance between two Gaussians with diagonal covariances, relative to the
    mean squared length S = sum_c (m_1^2 + s_1^2) of the first one's vectors, in two parts that add
    up: sum_c (m_2 - m_1)^2 / S and sum_c (s_2 - s_1)^2 / S; NaN where S is 0.

    Dowson and Landau (1982), as in FID (Heusel et al. 2017), there with full covariances. Of pairs
    it is the part of the relative distance that statistics account for, since for each channel mean
    (b - a)^2 = (m_2 - m_1)^2 + (s_2 - s_1)^2 + 2 s_1 s_2 (1 - r), with r the correlation of a and b
    (Kobayashi and Salam 2000).

    Args:
        mean: (2, C) of each channel.
        std: (2, C), likewise.
    """
    size = (mean[0] ** 2 + std[0] ** 2).sum() or nan
    means, stds = (float(((x[1] - x[0]) ** 2).sum() / size) for x in (mean, std))
    return means, stds


def drift_of_pairs(
    net: nn.Module, layers: Sequence[str], pairs: Iterable[tuple[Tensor, Tensor, Tensor | None]]
) -> list[MapDrift]:
    """The drift of some layers on pairs of the same scenes, in eval mode.

    Args:
        net: the network, which sees both images of a pair.
        layers: names or aliases of layers with maps (B, C, h, w) or (B, C, N).
        pairs: normalised x1 and x2, (B, C, H, W), and the mask of both, as in `Images`. One batch's
            maps are in memory at a time.

    Raises:
        InputError: a layer without any cell that counts, or one that cannot be tapped.
    """
    moments: dict[str, Moments] = {name: Moments() for name in layers}
    similar: dict[str, list[float]] = {name: [] for name in layers}
    with torch.no_grad(), eval_mode(net):
        for x1, x2, valid in pairs:
            old, new = forward(net, x1, layers), forward(net, x2, layers)
            for name in layers:
                both = (cells_that_count(maps[name], valid) for maps in (old, new))
                for a, b in zip(*both, strict=True):
                    moments[name].add(a[None], b[None])
                    similar[name].append(cka(*(cells_of(spaced(x.T)) for x in (a, b))))
    refuse_empty(moments)
    return [
        MapDrift(name, *moments[name].channels(), moments[name].distance(), np.array(similar[name]))
        for name in layers
    ]


def refuse_empty(moments: Mapping[str, Moments]) -> None:
    """InputError for a layer of whose maps no cell counts."""
    if nothing := [name for name, found in moments.items() if not found.count]:
        raise InputError(f"layer {nothing[0]}: no image has a cell that its `valid` mask leaves")


def spaced(values: Tensor) -> Tensor:
    """(n, C) -> at most CELLS of its rows, evenly spaced."""
    if len(values) <= CELLS:
        return values
    return values[torch.linspace(0, len(values) - 1, CELLS).round().long()]


def drift_of_sets(
    net: nn.Module, layers: Sequence[str], halves: tuple[Images, Images], new: Images
) -> list[MapDrift]:
    """The drift of some layers between images that are no pairs, from the statistics of channels.

    Args:
        net: the network, in eval mode.
        layers: as in `drift_of_pairs`.
        halves: the old domain's images in two halves.
        new: the new domain's.

    Raises:
        InputError: as `drift_of_pairs`.
    """
    first, second, other = (statistics(net, layers, images) for images in (*halves, new))
    found = []
    for name in layers:
        within = frechet(*beside(first[name], second[name]))
        first[name].merge(second[name])
        found.append(MapDrift(name, *beside(first[name], other[name]), halves=sum(within)))
    return found


def statistics(net: nn.Module, layers: Sequence[str], images: Images) -> dict[str, Moments]:
    """Moments of some layers' channels over all cells and images, in eval mode."""
    found = {name: Moments() for name in layers}
    with torch.no_grad(), eval_mode(net):
        for x, valid in images:
            for name, maps in forward(net, x, layers).items():
                for cells in cells_that_count(maps, valid):
                    found[name].add(cells[None], cells[None])
    refuse_empty(found)
    return found


def beside(old: Moments, new: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of two sets of maps: (2, C) twice."""
    (m1, s1), (m2, s2) = old.channels(), new.channels()
    return np.stack([m1[0], m2[0]]), np.stack([s1[0], s2[0]])
