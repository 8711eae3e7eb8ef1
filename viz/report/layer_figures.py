"""Charts over a network's layers: box-plots of R2 and of log Fisher, distances from the start."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.ticker import MaxNLocator

from viz.figures import COLOURS, MARKERS, drawing, literal, png

WIDEST = 11.0
"""Inches; wider, a page's width would make the letters too small."""
ALL = "(all)"
"""Layer of adapt.analysis.weights.weight_distances that is all of them together."""

Boxes = Mapping[str, Sequence[Mapping[str, Any]]]
"""Run -> what `Axes.bxp` draws for each layer (analysis.weights.box), the same layers for all."""


def box_plots(
    boxes: Boxes, what: str, low: float | None = None, high: float | None = None
) -> bytes:
    """A box for each layer and run, runs side by side; layers without values stay empty. Values
    beyond the whiskers are not drawn.

    Args:
        boxes: of one or more runs.
        what: label of the y axis.
        low: lower limit of the y axis, where it has a natural one.
        high: the upper one.
    """
    layers = [literal(str(b["label"])) for b in next(iter(boxes.values()))]
    step, wide = len(boxes) + 0.8, len(layers) * (0.24 + 0.16 * len(boxes))
    with drawing(min(max(7.0, 1.0 + wide), WIDEST), 3.6, 1) as (figure, (axis,)):
        for number, (run, stats) in enumerate(boxes.items()):
            there = [(i, dict(b)) for i, b in enumerate(stats) if b["n"]]
            colour = COLOURS[number % len(COLOURS)]
            line = {"color": colour, "linewidth": 1.1}
            axis.bxp(
                [b for _, b in there],
                positions=[i * step + number for i, _ in there],
                widths=0.72,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour},
                medianprops={"color": colour, "linewidth": 2},
                whiskerprops=line,
                capprops=line,
                manage_ticks=False,
            )
            axis.bar([0], [0], color=colour, alpha=0.5, label=run)
        axis.set_xticks(
            [i * step + (len(boxes) - 1) / 2 for i in range(len(layers))],
            layers,
            rotation=60 if len(layers) > 8 else 0,
            ha="right" if len(layers) > 8 else "center",
            rotation_mode="anchor",
            fontsize=8,
        )
        axis.set(ylabel=what, xlim=(-1, len(layers) * step - 0.8), ylim=(low, high))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return png(figure)


def distance_lines(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Relative distance |w - w0| / |w0| of each layer behind the training, a line for each run;
    norm layers are hollow points apart from it. Layers that did not move are not there."""
    names = list(dict.fromkeys(str(row["layer"]) for rows in runs.values() for row in rows))
    with drawing(min(max(7.0, 1.5 + 0.33 * len(names)), WIDEST), 3.6, 1) as (figure, (axis,)):
        for number, (run, rows) in enumerate(runs.items()):
            moved = {str(r["layer"]): r for r in rows if r["relative"] and r["layer"] != ALL}
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            for norm in (False, True):
                at = [i for i, n in enumerate(names) if n in moved and is_norm(moved[n]) == norm]
                values = [moved[names[i]]["relative"] for i in at]
                if norm:
                    axis.plot(at, values, marker, ms=4, color=colour, mfc="none")
                else:
                    axis.plot(at, values, marker=marker, ms=4, color=colour, label=run)
        shown = [(i, literal(name)) for i, name in enumerate(names) if name != ALL]
        axis.set_xticks([i for i, _ in shown], [name for _, name in shown], rotation=60, ha="right",
                        rotation_mode="anchor", fontsize=8)  # fmt: skip
        axis.set(ylabel="|w - w0| / |w0|", yscale="log")
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return png(figure)


def is_norm(row: Mapping[str, Any]) -> bool:
    return "Norm" in str(row["type"])


Lines = Sequence[Mapping[str, Any]]
"""Of metrics.jsonl, with `distances`: layer -> |w - w0| / |w0|."""


def limits_of(runs: Iterable[Lines]) -> tuple[float, float] | None:
    """A little beyond the least and the greatest distance above 0; None without any."""
    values = [v for lines in runs for line in lines for v in line["distances"].values() if v]
    return (min(values) / 1.2, max(values) * 1.2) if values else None


def distances_over_time(
    runs: Mapping[str, Lines], limits: tuple[float, float] | None = None
) -> bytes:
    """Relative distance of each layer from its start against steps, a panel for each run; first
    layers are dark, last ones bright. Steps at which a layer has not moved are left out.

    Args:
        runs: name -> lines.
        limits: of the y axis, where several figures share one; None = these runs'.
    """
    names = list(
        dict.fromkeys(
            name for lines in runs.values() for line in lines for name in line["distances"]
        )
    )
    layers = [name for name in names if name != ALL]
    viridis = matplotlib.colormaps["viridis"]
    limits = limits or limits_of(runs.values())
    with drawing(1.6 + 3.6 * len(runs), 3.6, len(runs)) as (figure, axes):
        for axis, (run, lines) in zip(axes, runs.items(), strict=True):
            for number, name in enumerate(layers):
                there = [(x["step"], v) for x in lines if (v := x["distances"].get(name))]
                colour = viridis(0.92 * number / max(1, len(layers) - 1))
                axis.plot([s for s, _ in there], [v for _, v in there], color=colour, label=name)
            every = [(x["step"], v) for x in lines if (v := x["distances"].get(ALL))]
            if every:
                axis.plot(*zip(*every, strict=True), color="black", ls="--", label="all layers")
            axis.set(title=run, xlabel="step")
            axis.title.set_fontsize(8.5)
            if limits:
                axis.set(yscale="log", ylim=limits)
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes[0].set_ylabel("|w - w0| / |w0|")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=7)
        return png(figure)
