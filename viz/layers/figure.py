"""The figure of scripts/layers.py: maps along a network, and how alike successive ones are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from viz.figures import COLOURS, GREY, drawing, literal, look, png
from viz.layers.similarity import AFTER, INSIDE, INTO, Similarity, kinds, spread
from viz.pictures import reduced, shrunk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, SIDE, SHADES = 11, 132, 32
"""Pictures in a row, pixels of their longer side, and colours: more would only swell the file."""
WIDTH = 12.0


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
        label = f"{kind}: {mean:.3f} ± {deviation:.3f} ({count} steps)"
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
