"""How much the maps of successive layers of a network resemble each other, over several images:
linear CKA over their cells, their first principal components, and the figure of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from adapt.analysis.similarity import similarities
from adapt.data.augment import resize
from adapt.data.images import as_rgb, read_image
from adapt.data.sampling import tensor
from adapt.machine.runtime import Runtime, progress
from adapt.networks.layers import Layer
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import Model
from adapt.networks.taps import forward
from viz.figures import COLOURS, GREY, drawing, literal, look, png
from viz.pictures import reduced, shrunk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSIDE, INTO, AFTER = "inside a block", "into a pooling or stride", "out of a pooling"
ACROSS, SIDE, SHADES = 11, 132, 32
"""Pictures in a row, pixels of their longer side, and colours: more would only swell the file."""
WIDTH = 12.0


def principal(feature_map: Tensor, like: np.ndarray) -> np.ndarray:
    """The first principal component of a map (1, C, h, w) over its cells: (h, w) in 0..1.

    Its sign, which is arbitrary, makes it resemble `like` (any size); the extreme hundredths are
    clipped.
    """
    cells = feature_map[0].double().flatten(1)
    cells = cells - cells.mean(1, keepdim=True)
    channels, count = cells.shape
    if channels < count:
        component = torch.linalg.eigh(cells @ cells.T).eigenvectors[:, -1] @ cells
    else:
        component = torch.linalg.eigh(cells.T @ cells).eigenvectors[:, -1]
    size = (feature_map.shape[2], feature_map.shape[3])
    picture = component.view(size).numpy()
    other = adaptive_avg_pool2d(torch.from_numpy(like)[None, None].double(), size)[0, 0].numpy()
    if ((other - other.mean()) * picture).sum() < 0:
        picture = -picture
    low, high = np.percentile(picture, (1, 99))
    return np.clip((picture - low) / max(high - low, np.finfo(float).tiny), 0, 1)


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

    def text(self, mean: float, std: float) -> str:
        """`0.552 ± 0.013`, or of one image `0.552`: one has no spread."""
        return f"{mean:.3f} ± {std:.3f}" if len(self.matrices) > 1 else f"{mean:.3f}"

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
) -> dict[str, Tensor]:
    """Maps (1, C, h, w) of an image (H, W, C) in the layers `names`, fp32 on the CPU."""
    pixels = machine.images(tensor(image)[None])
    with torch.no_grad():
        found = forward(model.net, as_input(pixels, model.network), names)
    return {name: found[name].float().cpu() for name in names}


def measure(
    machine: Runtime,
    model: Model,
    path: list[Layer],
    images: Sequence[Path],
    size: list[int],
    how: tuple[Sequence[int], Sequence[float]] = ((), ()),
) -> Similarity:
    """CKA of the maps of some layers, image by image in eval mode.

    Args:
        machine: where the network runs.
        model: the network with its normalisation.
        path: its layers, in the order of computing.
        images: files; of the first also the maps are kept.
        size: (H, W) they are brought to; [] = as they are.
        how: bands and range that they are read with, as by `read_image`.
    """
    machine.place(model.net).eval()
    names = [x.name for x in path]
    matrices: list[np.ndarray] = []
    pictures: list[np.ndarray] = []
    for file in progress(images, what="similarity"):
        image = resize({"x1": read_image(file, *how)}, size)["x1"]
        maps = list(maps_of(machine, model, image, names).values())
        if not matrices:
            first, like = as_rgb(image), image.mean(axis=2)
            for feature_map in maps:
                pictures.append(like := principal(feature_map, like))
        matrices.append(similarities(maps))
    return Similarity(path, np.stack(matrices), first, pictures)


def similarity_chart(found: Similarity, title: str) -> bytes:
    """Pictures of every layer of the first image, the curve of steps, and all pairs (PNG)."""
    rows = -(-(len(found.path) + 1) // ACROSS)
    height, width = found.image.shape[:2]
    strip = rows * (WIDTH / ACROSS * height / width + 0.22)
    with drawing(WIDTH, strip + 4.1, 1) as (figure, axes):
        figure.delaxes(axes[0])
        figure.suptitle(title, x=0.004, ha="left", fontsize=10.5, color=GREY)
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(strip, 3.9)).ravel()
        cells = above.subplots(rows, ACROSS, squeeze=False).ravel()
        for axis in cells:
            axis.set_axis_off()
        pooling = [i for i, kind in enumerate(kinds(found.path), 1) if kind == INTO]
        draw_maps(list(cells), found, pooling)
        left, right = below.subplots(1, 2, width_ratios=(2.1, 1))
        draw_steps(left, found, pooling)
        draw_pairs(figure, right, found, pooling)
        return reduced(png(figure), kmeans=5)  # SHADES of maps, the rest for image and text


def draw_maps(axes: "list[Axes]", found: Similarity, pooling: Sequence[int]) -> None:
    """The image and each layer's first principal component; layers that pool are marked."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"].resampled(SHADES)
    axes[0].imshow(shrunk(found.image, SIDE))
    axes[0].set_title("image", fontsize=7.5, loc="center")
    for place, (label, picture) in enumerate(zip(found.labels, found.pictures, strict=True)):
        axis = axes[place + 1]
        small = shrunk(picture, SIDE)
        axis.imshow(small, cmap=shades, interpolation="nearest", vmin=0, vmax=1)
        colour = COLOURS[1] if place in pooling else "#374151"
        axis.set_title(without_prefix(label), fontsize=7.5, loc="center", color=colour)


def draw_steps(axis: "Axes", found: Similarity, pooling: Sequence[int]) -> None:
    """CKA of each map and the next, mean and deviation over images."""
    for place in pooling:
        axis.axvspan(place - 0.42, place + 0.42, color="#FBE3D2", lw=0)
    steps, every = found.steps, np.array(kinds(found.path))
    at = np.arange(len(every)) + 0.5
    means, spreads = np.nanmean(steps, axis=0), np.array([spread(s) for s in steps.T])
    axis.plot(at, means, color="#9CA3AF", lw=1, zorder=1)
    for kind, (mean, deviation, count) in found.by_kind().items():
        colour, marker = look((INSIDE, INTO, AFTER).index(kind))
        here = every == kind
        label = f"{kind}: {found.text(mean, deviation)} ({count} steps)"
        axis.errorbar(
            at[here], means[here], spreads[here], color=colour, fmt=marker, capsize=2, label=label
        )
    axis.set(title="Similarity (CKA) of each map and the next", xlim=(-0.6, len(every) + 0.6))
    names = [without_prefix(name) for name in found.labels]
    axis.set_xticks(range(len(names)), names, rotation=60, fontsize=7.5)
    axis.legend(loc="best")


def draw_pairs(figure: "Figure", axis: "Axes", found: Similarity, pooling: Sequence[int]) -> None:
    """CKA of every two maps."""
    image = axis.imshow(found.matrices.mean(0), cmap="viridis", vmin=0, vmax=1)
    names = [without_prefix(n) if i in pooling else "" for i, n in enumerate(found.labels)]
    axis.set_title("Every two maps")
    axis.set_xticks(range(len(names)), names, rotation=60, fontsize=7.5)
    axis.set_yticks(range(len(names)), names, fontsize=7.5)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, shrink=0.85, pad=0.02)


def without_prefix(name: str) -> str:
    """Long dotted names without their first part."""
    name = literal(name)
    return name.partition(".")[2] if name.count(".") > 1 or len(name) > 14 else name
