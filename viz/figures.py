"""What every figure has in common: style, facets, pictures in rows; matplotlib is imported when one
is drawn."""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5F5F5F")
"""Okabe & Ito 2008, without black and yellow."""
GREY = "#6B7280"
MARKERS = "osD^vPX"
STYLE = Path(__file__).with_name("style.mplstyle")
DPI = 130

PictureRow = tuple[str, Sequence[tuple[str, np.ndarray]]]
"""A row of pictures: its name, and the pictures with their titles."""


@contextmanager
def drawing(
    width: float, height: float, columns: int, rows: int = 1
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A figure (inches) in the common style with its axes, row by row; matplotlib's global state
    is not touched."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def facets(
    items: Collection[T],
    draw: Callable[["Axes", T], None],
    size: tuple[float, float],
    columns: int = 20,
    ylabel: str = "",
) -> bytes:
    """A figure of `size` (inches) with a panel for each item, which `draw` fills, and one legend of
    at most `columns` labels a line below; `ylabel` is the first panel's, unless `draw` sets it."""
    with drawing(*size, len(items)) as (figure, axes):
        for axis, item in zip(axes, items, strict=True):
            draw(axis, item)
        if ylabel:
            axes[0].set_ylabel(ylabel)
        legend_below(figure, axes, columns)
        return png(figure)


def look(number: int) -> tuple[str, str]:
    """Colour and marker of the n-th line."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def literal(text: str) -> str:
    """A name for a tick: matplotlib reads what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def whole_ticks(axis: "Axes", most: int = 5) -> None:
    """Ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(most, integer=True))


def legend_below(figure: "Figure", axes: Sequence["Axes"], columns: int = 20) -> None:
    """One legend of all axes below them, each label once, at most `columns` in a line."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=lambda label: label.startswith("chosen"))  # the rings come last
    if labels:
        handles = [found[label] for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def png(figure: "Figure", dpi: int = DPI) -> bytes:
    """The figure as a file. Its titles, legends and notes are names, drawn as they are; names of
    ticks go through `literal`."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(literal(text.get_text()))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def picture_grid(rows: Sequence[PictureRow], side: float = 1.9, dpi: int = DPI) -> bytes:
    """Rows of pictures uint8 (H, W, 3) of one size, `side` inches wide, each below its title."""
    height, width = rows[0][1][0][1].shape[:2]
    columns = max(len(pictures) for _, pictures in rows)
    names = 0.9 if any(name for name, _ in rows) else 0.0
    inches = (names + side * columns, (side * height / width + 0.35) * len(rows))
    with drawing(*inches, columns, len(rows)) as (figure, axes):
        for number, (name, pictures) in enumerate(rows):
            line = axes[number * columns : (number + 1) * columns]
            for axis, (title, picture) in zip(line, pictures, strict=False):
                axis.imshow(picture, interpolation="nearest")
                axis.set_title(title)
            line[0].set_ylabel(name, fontsize=10.5, fontweight="bold")
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        return png(figure, dpi)


def heat(maps: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Maps (h, w) as uint8 (h, w, 3) colours on one common scale, from least to greatest value."""
    import matplotlib

    maps = list(maps)
    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    span = max(float(high - low), float(np.finfo(np.float32).tiny))
    viridis = matplotlib.colormaps["viridis"]
    return [(viridis((m - low) / span)[..., :3] * 255).round().astype(np.uint8) for m in maps]
