"""A linear map of the channels after one layer of the teacher, fitted in closed form to bring its
maps of new images to those of old ones: a baseline without training, and a way to choose layers."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adapt.data import DataSet, pixels_only, some
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, batches_of
from adapt.machine.runtime import Runtime
from adapt.networks.batchnorm import eval_mode
from adapt.networks.cuts import cuts_of
from adapt.networks.factory import copied
from adapt.networks.layers import auto_taps, trace
from adapt.networks.taps import LOGITS, forward, resolve
from adapt.objective.distances import inside
from adapt.objective.terms import distilled

FITTED, SCORED = 50, 20
"""Pairs that the maps are fitted on and others that they are scored on, at most; of fewer pairs the
same shares."""
STRENGTH = 1e-3
"""Of the ridge, relative to the mean variance of the layer's channels on new images."""
NOTHING = "none"
"""The score of the network without any map stands under this name."""

Pairs = Iterable[tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor | None]]
"""Normalised x1 and x2, (B, C, H, W), and the mask (B, H, W) of what counts; without it, or with
None, all does."""
Maps = dict[str, tuple[Tensor, Tensor]]
"""Layer -> weight A (C, C) and bias b (C,), float32: A F + b of each cell of its map F."""


class _Sums:
    """Sums in float64 over cells of x = F(x2) and d = F(x1) - F(x2), (C, n) each."""

    def __init__(self) -> None:
        self.count = 0
        self.x = self.d = self.xx = self.xd = torch.zeros((), dtype=torch.float64)

    def add(self, x: Tensor, d: Tensor) -> None:
        self.count += x.shape[1]
        self.x, self.d = self.x + x.sum(1), self.d + d.sum(1)
        self.xx, self.xd = self.xx + x @ x.T, self.xd + x @ d.T

    def solved(self) -> tuple[Tensor, Tensor]:
        """A and b of `ridge_maps`."""
        x, d = self.x / self.count, self.d / self.count
        xx, xd = self.xx / self.count - x.outer(x), self.xd / self.count - x.outer(d)
        ridge = STRENGTH * xx.diagonal().mean().clamp(min=torch.finfo(xx.dtype).tiny)
        unit = torch.eye(len(x), dtype=xx.dtype, device=xx.device)
        change = torch.linalg.solve(xx + ridge * unit, xd).T
        return (unit + change).float(), (d - change @ x).float()


@torch.no_grad()
def ridge_maps(
    net: nn.Module, layers: Sequence[str], pairs: Pairs, teacher: nn.Module | None = None
) -> Maps:
    """For each layer A, b = argmin mean over cells |A F(x2) + b - F(x1)|^2 + lambda |A - I|^2.

    Ridge regression (Hoerl and Kennard 1970) towards the identity I, so that equal images give
    A = I and b = 0, and channels that never respond stay. With x = F(x2), d = F(x1) - F(x2) and
    their covariances S over the cells, A = I + ((S_xx + lambda I)^-1 S_xd)^T and b = mean(d) -
    (A - I) mean(x). lambda is STRENGTH times the mean of S_xx's diagonal. Sums are in float64.

    Args:
        net: the network, which sees both images of a pair in eval mode.
        layers: names or aliases of layers with maps (B, C, h, w).
        pairs: one batch's maps are in memory at a time.
        teacher: whose maps of x1 are the aim; None = the network's own.

    Raises:
        InputError: a layer of whose maps no cell counts, or one that cannot be tapped.
    """
    sums = {name: _Sums() for name in layers}
    teacher = teacher or net
    with eval_mode(net), eval_mode(teacher):
        for x1, x2, *masks in pairs:
            valid = masks[0] if masks else None
            old, new = forward(teacher, x1, layers), forward(net, x2, layers)
            for name, own in sums.items():
                mask = inside(new[name], valid)
                y, x = (m.double().movedim(1, 0) for m in (old[name], new[name]))  # (C, B, h, w)
                keep = torch.ones_like(x[0]).bool() if mask is None else mask[:, 0].bool()
                own.add(x[:, keep], (y - x)[:, keep])
    if empty := [name for name, own in sums.items() if not own.count]:
        raise InputError(f"ridge, layer {empty[0]}: no pair has a cell that its mask leaves")
    return {name: own.solved() for name, own in sums.items()}


def insert_map(net: nn.Module, layer: str, weight: Tensor, bias: Tensor) -> RemovableHandle:
    """From now on a layer's map F, (B, C, h, w), is A F + b; what is returned takes that back."""

    def mapped(_: nn.Module, inputs: object, own: Tensor) -> Tensor:
        return nn.functional.conv2d(own, weight[..., None, None], bias)

    return net.get_submodule(resolve(net, layer)).register_forward_hook(mapped)


@torch.no_grad()
def ridge_scores(net: nn.Module, maps: Maps, pairs: Pairs) -> dict[str, np.ndarray]:
    """KL(T(x1) || T_{>l}(A_l F_l(x2))), mean over valid cells, of every pair: layer -> (pairs,);
    that of the network as it is under NOTHING. Arguments as `ridge_maps` has and gives them."""
    found: dict[str, list[float]] = {name: [] for name in (NOTHING, *maps)}
    with eval_mode(net):
        for x1, x2, *masks in pairs:
            valid = masks[0] if masks else None
            wanted = forward(net, x1, [LOGITS])[LOGITS]
            for name, values in found.items():
                with insert_map(net, name, *maps[name]) if name in maps else nullcontext():
                    said = forward(net, x2, [LOGITS])[LOGITS]
                for i in range(len(x1)):
                    batch = {} if valid is None else {"valid": valid[i : i + 1]}
                    values.append(distilled(said[i : i + 1], wanted[i : i + 1], batch).item())
    return {name: np.array(values) for name, values in found.items()}


@dataclass(frozen=True)
class Ridge:
    """The maps of every layer that was tried, and how well they undo the shift."""

    maps: Maps
    """In the order of the forward pass."""
    scores: dict[str, np.ndarray]
    """As `ridge_scores` gives them."""
    pairs: int
    """That the maps were fitted on."""

    @property
    def best(self) -> str:
        """The layer after which the score is smallest."""
        return min(self.maps, key=lambda name: self.scores[name].mean())

    @property
    def as_good(self) -> list[str]:
        """The layers that are no worse than the best by more than a standard error of the
        difference over pairs (the one-standard-error rule of Breiman et al. 1984)."""
        worse = {name: self.scores[name] - self.scores[self.best] for name in self.maps}
        return [k for k, d in worse.items() if d.mean() <= d.std(ddof=1) / len(d) ** 0.5]

    def __str__(self) -> str:
        each = ", ".join(f"{name} {values.mean():.3g}" for name, values in self.scores.items())
        return (
            f"ridge: 1x1 map after a layer, fitted on {self.pairs} pairs; KL(old || new) on "
            f"{len(self.scores[NOTHING])} others: {each}; smallest after {self.best}"
        )


def with_map(
    machine: Runtime, net: nn.Module, reading: Reading, training: DataSet
) -> tuple[nn.Module, Ridge]:
    """A copy of a network with the map after the layer where it undoes most of the shift; raises
    as `ridge`."""
    found, made = ridge(machine, net, reading, training), copied(net)
    insert_map(made, found.best, *found.maps[found.best])
    return made.eval(), found


def ridge(machine: Runtime, net: nn.Module, reading: Reading, training: DataSet) -> Ridge:
    """Fit and score a map after every layer of a network's main path from which it can be
    continued, up to the last map before the classifier, in fp32.

    Args:
        machine: the device, on which the network lies.
        net: the network of the old domain.
        reading: the size, the batch and the normalisation.
        training: pairs, of which FITTED + SCORED are taken, evenly spaced.

    Raises:
        InputError: too few pairs, images without pairs or with one label each, or no such layer.
    """
    pixels_only(training, "ridge")
    chosen = some(training, FITTED + SCORED)
    count = max(2, round(len(chosen.samples) * SCORED / (FITTED + SCORED)))
    scored = some(chosen, count)
    apart = {sample.name for sample in scored.samples}
    rest = tuple(sample for sample in chosen.samples if sample.name not in apart)
    if not training.paired or not rest:
        raise InputError(
            "ridge needs pairs (data.target), at least 3 of them in the training part; there are "
            f"{len(training.samples) if training.paired else 0}"
        )

    def pairs(data: DataSet) -> Pairs:
        return batches_of(machine, reading, data, "ridge", "x1", "x2")

    x1, *_ = next(iter(pairs(scored)))
    size = x1.shape[2], x1.shape[3]
    layers = trace(net, size)
    order = {layer.name: place for place, layer in enumerate(layers)}
    last = order[next(reversed(auto_taps(layers)), "")]  # or the network itself
    path = [x for x in cuts_of(net, layers, size) if len(x.map) == 3 and order[x.name] <= last]
    if not path:
        raise InputError("ridge: no map of the network's main path is all that its output hangs on")
    names = [(*x.aliases, x.name)[0] for x in path]
    maps = ridge_maps(net, names, pairs(replace(chosen, samples=rest)))
    return Ridge(maps, ridge_scores(net, maps, pairs(scored)), len(rest))
