"""All matplotlib: charts as PNG bytes, in one restrained style with colour-blind-safe colours."""

import io
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5F5F5F")
"""Okabe & Ito 2008, without black and yellow."""
GREY = "#6B7280"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9CA3AF",
    "axes.labelcolor": "#374151",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E5E7EB",
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}
MARKERS = "osD^vPX"
DPI = 130

Row = tuple[str, Sequence[tuple[str, np.ndarray]]]
"""A row of pictures: its name, and the pictures with their titles."""
Stat = tuple[float, float]
"""Mean and standard deviation over seeds."""


@contextmanager
def drawing(width: float, height: float, columns: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure (inches) with axes in one row, in the common style; no global state is touched."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, columns, squeeze=False)[0]
        yield figure, list(axes)


def literal(text: str) -> str:
    """A name for a tick: matplotlib reads what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as a file. Its titles, legends and notes are names, shown as they are; ticks with
    names go through `literal`."""
    for text in figure.findobj(Text):
        text.set_text(literal(text.get_text()))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def montage(pictures: Mapping[str, np.ndarray]) -> bytes:
    """Pictures uint8 (H, W, 3) of one size side by side, each below its name."""
    return picture_grid([("", list(pictures.items()))], side=2.6)


def picture_grid(rows: Sequence[Row], side: float = 1.9, dpi: int = DPI) -> bytes:
    """Rows of pictures uint8 (H, W, 3) of one size, `side` inches wide, each below its title."""
    height, width = rows[0][1][0][1].shape[:2]
    columns = max(len(pictures) for _, pictures in rows)
    names = 0.9 if any(name for name, _ in rows) else 0.0
    inches = (names + side * columns, (side * height / width + 0.35) * len(rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        for axes, (name, pictures) in zip(
            figure.subplots(len(rows), columns, squeeze=False), rows, strict=True
        ):
            for axis, (title, picture) in zip(axes, pictures, strict=False):
                axis.imshow(picture, interpolation="nearest")
                axis.set_title(title)
            for axis in axes:
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            axes[0].set_ylabel(name, fontsize=10.5, fontweight="bold")
        return png(figure, dpi)


def inversion_curves(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Raw content and style terms of each layer against steps, one panel for each network."""
    with drawing(4.2 * len(curves), 3.2, len(curves)) as (figure, axes):
        for axis, (name, curve) in zip(axes, curves.items(), strict=True):
            steps = [entry["step"] for entry in curve]
            taps = dict.fromkeys(k.split("/", 1)[1] for k in curve[0] if "/" in k)
            colours = dict(zip(taps, COLOURS * len(taps), strict=False))
            for key in [k for k in curve[0] if "/" in k]:
                kind, tap = key.split("/", 1)
                dashes = "-" if kind == "content" else ":"
                values = [entry[key] for entry in curve]
                axis.plot(steps, values, dashes, color=colours[tap], label=key)
            axis.plot(steps, [e["loss"] for e in curve], color="black", alpha=0.5, label="loss")
            axis.set(title=name, xlabel="step", yscale="log")
        axes[0].set_ylabel("relative squared difference")
        axes[-1].legend(ncols=2, fontsize=7)
        return png(figure)


def training_curves(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and its weighted parts, learning rate and, where there are any, evaluations.

    Args:
        records: lines of metrics.jsonl (adapt.disk.runs.read_metrics).
    """
    steps = [r for r in records if "loss" in r]
    scored = [r for r in records if "evaluation" in r]
    with drawing(9.0, 2.5, 3 if scored else 2) as (figure, axes):
        parts = dict.fromkeys(
            n for r in steps for n, value in r.get("parts", {}).items() if value["weighted"]
        )
        at = [r["step"] for r in steps]
        axes[0].plot(at, [r["loss"] for r in steps], color="black", alpha=0.45, label="loss")
        for colour, name in zip(COLOURS * len(parts), parts, strict=False):
            values = [r.get("parts", {}).get(name, {}).get("weighted", np.nan) for r in steps]
            axes[0].plot(at, values, "--", color=colour, label=name)
        positive = any(r["loss"] > 0 for r in steps)
        axes[0].set(title="Loss", xlabel="step", yscale="log" if positive else "linear")
        axes[0].legend()
        axes[1].plot(at, [r.get("lr", np.nan) for r in steps], color=COLOURS[4])
        axes[1].set(title="Learning rate", xlabel="step")
        if scored:
            names = dict.fromkeys(name for r in scored for name in r["evaluation"])
            for colour, marker, name in zip(COLOURS, MARKERS, names, strict=False):
                values = [r["evaluation"].get(name, np.nan) for r in scored]
                label = name.replace("_", " ")
                axes[2].plot(
                    [r["step"] for r in scored], values, marker, ls="-", color=colour, label=label
                )
            axes[2].set(title="Evaluation, percent", xlabel="step")
            axes[2].legend()
        for axis in axes:
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        return png(figure)


@dataclass(frozen=True)
class Bars:
    """One panel of Figure 3: a score of every method on every shift."""

    title: str
    methods: Mapping[str, Mapping[str, Stat]]
    """Method -> shift -> score."""
    clean: float | None
    """The teacher's on D1."""


def baseline_bars(panels: Sequence[Bars], shifts: Sequence[str]) -> bytes:
    """Methods against baselines (003, Figure 3); the dashed line is the teacher on D1."""
    with drawing(max(7.0, 1.5 + 2.4 * len(shifts) * len(panels)), 3.4, len(panels)) as made:
        figure, axes = made
        for axis, panel in zip(axes, panels, strict=True):
            width = 0.84 / max(1, len(panel.methods))
            for number, (method, scores) in enumerate(panel.methods.items()):
                there = [s for s in shifts if s in scores]
                at = [shifts.index(s) + (number + 0.5) * width - 0.42 for s in there]
                spread = [scores[s][1] for s in there]
                axis.bar(
                    at,
                    [scores[s][0] for s in there],
                    0.92 * width,
                    yerr=spread if any(spread) else None,
                    color=COLOURS[number % len(COLOURS)] if number else "#B6BCC6",
                    error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#111827"},
                    label=method,
                )
            if panel.clean is not None:
                axis.axhline(panel.clean, color="black", ls="--", lw=1.2, label="teacher on D1")
            axis.set(title=panel.title, xticks=range(len(shifts)), ylim=(0, None))
            axis.set_xticklabels([literal(shift) for shift in shifts])
        handles, labels = axes[0].get_legend_handles_labels()
        rows = ceil(len(labels) / 8)
        columns = ceil(len(labels) / rows)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        axes[0].set_ylabel("percent")
        return png(figure)


@dataclass(frozen=True)
class Layers:
    """One panel of Figure 4: a score of every objective on every shift."""

    title: str
    objectives: Mapping[str, Mapping[str, Stat]]
    """Shift -> objective -> score."""
    references: Mapping[str, Mapping[str, Stat]]
    """Shift -> B0, B2 -> score."""


def layer_chart(panels: Sequence[Layers], order: Sequence[str], joined: Container[str]) -> bytes:
    """Scores against the regressed layer (003, Figure 4), B0 and B2 as horizontal lines.

    A line runs through the objectives in `joined`, single layers; mixtures stand beside them.
    """
    dashes = {"B0": ":", "B2": "--"}
    with drawing(9.0, 3.6, len(panels)) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            for number, (shift, scores) in enumerate(panel.objectives.items()):
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                there = [name for name in order if name in scores]
                axis.errorbar(
                    [order.index(name) for name in there],
                    [scores[name][0] for name in there],
                    yerr=[scores[name][1] for name in there],
                    color=colour,
                    fmt=marker,
                    capsize=2,
                    label=shift,
                )
                single = [name for name in there if name in joined]
                at = [order.index(name) for name in single]
                axis.plot(at, [scores[name][0] for name in single], color=colour)
                for name, (value, _) in panel.references.get(shift, {}).items():
                    label = f"{name}, {shift}"
                    axis.axhline(value, color=colour, ls=dashes[name], lw=1.2, label=label)
            axis.set(title=panel.title, xticks=range(len(order)), xlabel="regressed layer")
            axis.set_xticklabels(
                [literal(name) for name in order], rotation=30 if len(order) > 6 else 0
            )
            axis.margins(x=0.06)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
        axes[0].set_ylabel("percent")
        return png(figure)


def heat(maps: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Maps (h, w) as uint8 (h, w, 3) colours on one common scale, from least to greatest value."""
    maps = list(maps)
    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    span = max(float(high - low), float(np.finfo(np.float32).tiny))
    viridis = matplotlib.colormaps["viridis"]
    return [(viridis((m - low) / span)[..., :3] * 255).round().astype(np.uint8) for m in maps]
