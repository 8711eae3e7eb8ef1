"""How much of each unit's activation a training kept: R2 after Li, Grandvalet and Davoine (ICML
2018), section 5.3 and Figure 4."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.analysis.weights import box
from adapt.errors import InputError
from adapt.networks.batchnorm import eval_mode
from adapt.networks.taps import forward
from adapt.objective.distances import inside

SILENT = 1e-7
"""A unit whose standard deviation is below this share of its mean (or 0) is constant in float32."""


class Moments:
    """Sums over pairs of values (a, b) of each channel, batch by batch, in float64.

    Means and central sums are merged after Chan, Golub and LeVeque (1979), so that a large mean
    costs no digits: `mean` (2, C) of a and of b; `central` (3, C), the sums of (a - mean a)^2,
    (b - mean b)^2 and (a - mean a)(b - mean b); `change` (C), the sum of (b - a)^2.
    """

    count = 0
    mean = central = change = torch.zeros(0)

    def add(self, before: Tensor, after: Tensor) -> None:
        """Maps (B, C, h, w), (B, C, N) or (B, C), of the same images."""
        a, b = (x.detach().double().flatten(2) if x.ndim > 2 else x.detach().double()[..., None]
                for x in (before, after))  # fmt: skip
        more = Moments()
        more.count = a.shape[0] * a.shape[2]
        more.mean = torch.stack([a.mean((0, 2)), b.mean((0, 2))])
        da, db = a - more.mean[0][None, :, None], b - more.mean[1][None, :, None]
        more.central = torch.stack([(x * y).sum((0, 2)) for x, y in ((da, da), (db, db), (da, db))])
        more.change = (b - a).square().sum((0, 2))
        self.merge(more)

    def merge(self, more: "Moments") -> None:
        """Take in what other values gave, of which there may be none."""
        if not more.count:
            return
        mean, central, change = more.mean, more.central, more.change
        if self.count:
            off = mean - self.mean
            share = self.count * more.count / (self.count + more.count)
            apart = share * torch.stack([off[0] ** 2, off[1] ** 2, off[0] * off[1]])
            central = central + (self.central + apart)
            mean = self.mean + off * (more.count / (self.count + more.count))
            change = change + self.change
        self.count, self.mean = self.count + more.count, mean
        self.central, self.change = central, change

    def channels(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel of a and of b: (2, C) twice."""
        return self.mean.cpu().numpy(), (self.central[:2] / self.count).sqrt().cpu().numpy()

    def distance(self) -> float:
        """sum (b - a)^2 / sum a^2 over all channels: as the objective's `relative` distance."""
        size = self.central[0] + self.count * self.mean[0] ** 2
        return float(self.change.sum() / size.sum()) if size.sum() else float("nan")

    def r2(self) -> tuple[np.ndarray, np.ndarray]:
        """(C,) twice, with b's own variation as the whole; NaN where b is constant.

        First the R2 of b regressed on a with an intercept, in 0..1 (the squared correlation):
        001's coefficient "of the fine-tuned activations with respect to the original" ones. A unit
        that only changes its scale and offset keeps 1; a constant a explains nothing, 0. Then that
        of a itself as the prediction, 1 - sum (b - a)^2 / sum (b - mean b)^2: 1 only where nothing
        changed, below 0 where b's mean would have been nearer.
        """
        aa, bb, ab = self.central.cpu().numpy()
        still = np.stack([aa, bb]) <= self.count * (SILENT * self.mean.cpu().numpy()) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            fitted = np.where(still[0], 0.0, np.minimum(ab**2 / (aa * bb), 1.0))
            same = 1 - self.change.cpu().numpy() / bb
        return np.where(still[1], np.nan, fitted), np.where(still[1], np.nan, same)


def cells_that_count(maps: Tensor, valid: Tensor | None) -> list[Tensor]:
    """(B, C, h, w) or (B, C, N) -> (C, n) of each image, of the cells in which `valid` is not 0."""
    mask, cells = inside(maps, valid), maps.flatten(2)
    if mask is None:
        return list(cells)
    return [x[:, own] for x, own in zip(cells, mask.flatten(1).bool(), strict=True)]


@dataclass(frozen=True)
class Units:
    """R2 of the units (channels) of one layer, (C,) each; NaN = constant after training."""

    layer: str
    r2: np.ndarray
    identity: np.ndarray
    distance: float
    """Squared distance of the layer's maps relative to the size of those before."""

    def as_dict(self) -> dict[str, Any]:
        """For the JSON: both R2 as box-plots over the units that are not silent."""
        return {
            "layer": self.layer,
            "units": len(self.r2),
            "silent": int(np.isnan(self.r2).sum()),
            "distance": self.distance,
            "r2": box(self.r2, self.layer),
            "identity": box(self.identity, self.layer),
        }


def activations(
    before: nn.Module,
    after: nn.Module,
    layers: Sequence[str],
    images: Iterable[Sequence[Any]],
) -> list[Units]:
    """R2 of every unit's activation after a training with respect to that before: see Moments.r2.
    A unit is a channel, its samples all cells of all images.

    Args:
        before: the network before the training; computed in eval mode, left as it was.
        after: the same architecture after it.
        layers: names of layers or aliases, or LOGITS.
        images: what each of them sees, normalised (B, 3, H, W), usually the same tensor twice; and
            where not all of it counts, `valid` (B, H, W). One batch's maps are in memory at a time.

    Raises:
        InputError: a layer that cannot be tapped, or maps whose shapes differ.
    """
    moments = {name: Moments() for name in layers}
    with torch.no_grad(), eval_mode(before), eval_mode(after):
        for x_before, x_after, *valid in images:
            old, new = forward(before, x_before, layers), forward(after, x_after, layers)
            for name in layers:
                shapes = tuple(old[name].shape), tuple(new[name].shape)
                if shapes[0] != shapes[1]:
                    raise InputError(
                        f"{name}: maps of {shapes[0]} before and {shapes[1]} after cannot be "
                        "compared; give data.resize=[H,W], or other layers"
                    )
                maps = old[name], new[name]
                if not valid:
                    moments[name].add(*maps)
                    continue
                for a, b in zip(*(cells_that_count(x, valid[0]) for x in maps), strict=True):
                    moments[name].add(a[None], b[None])
    return [Units(name, *moments[name].r2(), moments[name].distance()) for name in layers]
