"""The figure of scripts/layers.py: maps along a network, and how alike successive ones are."""

import io

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from viz.figures import COLOURS, GREY, MARKERS, drawing, literal, png
from viz.layers.similarity import AFTER, INSIDE, INTO, Similarity, kinds, spread
from viz.pictures import shrunk

ACROSS, SIDE, SHADES = 11, 132, 32
"""Pictures in a row, pixels of their longer side, and colours: more would only swell the file."""
LOOKS = {k: (COLOURS[i], MARKERS[i]) for i, k in enumerate((INSIDE, INTO, AFTER))}
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
        _strip(list(cells), found)
        left, right = below.subplots(1, 2, width_ratios=(2.1, 1))
        _curve(left, found)
        _matrix(figure, right, found)
        return _by_palette(png(figure))


def _by_palette(picture: bytes) -> bytes:
    """A PNG with 256 colours, a third as large: SHADES of maps, the rest for image and text."""
    with Image.open(io.BytesIO(picture)) as full:
        fewer = full.convert("RGB").quantize(256, kmeans=5, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    fewer.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def pooling(found: Similarity) -> list[int]:
    """Places of the layers that pool or stride."""
    return [i for i, kind in enumerate(kinds(found.path), 1) if kind == INTO]


def _strip(axes: list[Axes], found: Similarity) -> None:
    axes[0].imshow(shrunk(found.image, SIDE))
    axes[0].set_title("image", fontsize=7.5, loc="center")
    marked, shades = pooling(found), matplotlib.colormaps["viridis"].resampled(SHADES)
    for place, (label, picture) in enumerate(zip(found.labels, found.pictures, strict=True)):
        axis = axes[place + 1]
        small = shrunk(picture, SIDE)
        axis.imshow(small, cmap=shades, interpolation="nearest", vmin=0, vmax=1)
        colour = COLOURS[1] if place in marked else "#374151"
        axis.set_title(_short(label), fontsize=7.5, loc="center", color=colour)


def _curve(axis: Axes, found: Similarity) -> None:
    for place in pooling(found):
        axis.axvspan(place - 0.42, place + 0.42, color="#FBE3D2", lw=0)
    steps, every = found.steps, np.array(kinds(found.path))
    at = np.arange(len(every)) + 0.5
    means, spreads = np.nanmean(steps, axis=0), np.array([spread(s) for s in steps.T])
    axis.plot(at, means, color="#9CA3AF", lw=1, zorder=1)
    for kind, (mean, deviation, count) in found.by_kind().items():
        colour, marker = LOOKS[kind]
        here = every == kind
        label = f"{kind}: {mean:.3f} ± {deviation:.3f} ({count} steps)"
        axis.errorbar(
            at[here], means[here], spreads[here], color=colour, fmt=marker, capsize=2, label=label
        )
    axis.set(title="Similarity (CKA) of each map and the next", xticks=range(len(found.path)))
    axis.set_xlim(-0.6, len(found.path) - 0.4)
    axis.set_xticklabels([_short(name) for name in found.labels], rotation=60, fontsize=7.5)
    axis.legend(loc="best")


def _matrix(figure: Figure, axis: Axes, found: Similarity) -> None:
    picture = axis.imshow(found.matrices.mean(0), cmap="viridis", vmin=0, vmax=1)
    names = [_short(name) if i in pooling(found) else "" for i, name in enumerate(found.labels)]
    axis.set(title="Every two maps", xticks=range(len(names)), yticks=range(len(names)))
    axis.set_xticklabels(names, rotation=60, fontsize=7.5)
    axis.set_yticklabels(names, fontsize=7.5)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    figure.colorbar(picture, ax=axis, shrink=0.85, pad=0.02)


def _short(name: str) -> str:
    """Long dotted names without their first part."""
    name = literal(name)
    return name.partition(".")[2] if name.count(".") > 1 or len(name) > 14 else name
