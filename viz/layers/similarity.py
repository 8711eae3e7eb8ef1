"""How much the maps of successive layers of a network resemble each other, over several images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.data.augment import resize
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.machine.runtime import Runtime, progress
from adapt.networks.layers import Layer
from adapt.networks.saved import Model
from adapt.networks.taps import forward, normalise
from viz.layers.cka import principal, similarities

INSIDE, INTO, AFTER = "inside a block", "into a pooling or stride", "out of a pooling"


def kinds(layers: Sequence[Layer]) -> list[str]:
    """INSIDE, INTO or AFTER for each step from a layer of a path to the next."""
    return [
        INTO
        if "Pool" in new.type or new.shape[2] < old.shape[2]
        else (AFTER if "Pool" in old.type else INSIDE)
        for old, new in pairwise(layers)
    ]


@dataclass(frozen=True)
class Similarity:
    """CKA along a network's path over several images, and its maps of the first one."""

    path: list[Layer]
    matrices: np.ndarray
    """(images, L, L)"""
    image: np.ndarray
    """uint8 (H, W, 3), as the network got it."""
    pictures: list[np.ndarray]
    """First principal components, (h, w) in 0..1."""

    @property
    def labels(self) -> list[str]:
        return [(x.aliases or (x.name,))[0] for x in self.path]

    @property
    def steps(self) -> np.ndarray:
        """(images, L - 1): each layer and the next."""
        return np.diagonal(self.matrices, 1, 1, 2)

    def by_kind(self) -> dict[str, tuple[float, float, int]]:
        """Kind of step -> mean CKA, its standard deviation over images, number of such steps."""
        every, found = np.array(kinds(self.path)), {}
        for kind in [k for k in (INSIDE, INTO, AFTER) if k in every]:
            means = np.nanmean(self.steps[:, every == kind], axis=1)
            found[kind] = float(means.mean()), spread(means), int((every == kind).sum())
        return found

    def as_dict(self) -> dict[str, Any]:
        """As similarity.json has it."""
        steps = zip(pairwise(self.labels), kinds(self.path), self.steps.T, strict=True)
        return {
            "layers": [x.name for x in self.path],
            "steps": [
                {"from": a, "to": b, "kind": kind, "mean": float(np.nanmean(v)), "std": spread(v)}
                for (a, b), kind, v in steps
            ],
            "kinds": {k: {"mean": m, "std": s, "n": n} for k, (m, s, n) in self.by_kind().items()},
            "mean": self.matrices.mean(0).tolist(),
        }


def spread(values: np.ndarray) -> float:
    """Sample standard deviation; 0 of one value."""
    return float(np.nanstd(values, ddof=1)) if len(values) > 1 else 0.0


def maps_of(
    machine: Runtime, model: Model, image: np.ndarray, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Maps (1, C, h, w) of uint8 (H, W, 3) in the layers `names`, fp32 on the CPU."""
    pixels = machine.images(tensor(image)[None])
    with torch.no_grad():
        seen = normalise(pixels, model.network.mean, model.network.std)
        found = forward(model.net, seen, names)
    return {name: found[name].float().cpu() for name in names}


def measure(
    machine: Runtime, model: Model, path: list[Layer], images: Sequence[Path], size: list[int]
) -> Similarity:
    """CKA of the maps of some layers, image by image in eval mode.

    Args:
        machine: where the network runs.
        model: the network with its normalisation.
        path: its layers, in the order of computing.
        images: files; of the first also the maps are kept.
        size: (H, W) they are brought to; [] = as they are.
    """
    machine.place(model.net).eval()
    names = [x.name for x in path]
    matrices: list[np.ndarray] = []
    pictures: list[np.ndarray] = []
    for file in progress(images, what="similarity"):
        image = resize({"x1": read_image(file)}, size)["x1"]
        maps = list(maps_of(machine, model, image, names).values())
        if not matrices:
            first, like = image, image.mean(axis=2)
            for feature_map in maps:
                pictures.append(like := principal(feature_map, like))
        matrices.append(similarities(maps))
    return Similarity(path, np.stack(matrices), first, pictures)
