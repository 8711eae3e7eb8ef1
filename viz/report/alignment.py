"""The report of an alignment: overlays, where x2 lies, planted shifts, pairs that were left."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adapt.align.command import TABLE, Alignment
from adapt.align.estimate import Compared, read_pair, shift_of
from adapt.align.planted import Planted
from adapt.data.samples import spaced
from adapt.data.warp import warped
from adapt.disk.files import write_whole
from adapt.machine.runtime import say
from adapt.settings.groups import DataConfig
from viz.figures import COLOURS, GREY, drawing, legend_below, png
from viz.pictures import data_uri, encode, reduced, shrunk
from viz.report.templates import rendered

LISTED = 200
"""Pairs without an alignment that are named; alignment.csv has all."""
SIDE = 420


def report(found: Alignment, out: Path, examples: int) -> Path:
    """Write the alignment's report, one HTML file that opens offline; returns its path.

    Shown are pairs that the accepted transforms move least, half-way and most, and some that were
    not accepted; `examples` of both together.
    """
    accepted = sorted(found.accepted, key=lambda pair: float(np.hypot(*pair.shift)))
    left = [pair for pair in found.pairs if not pair.found.accepted]
    of_left = min(len(left), max(examples // 3, examples - len(accepted)))
    shown = [*spaced(accepted, examples - of_left), *spaced(left, of_left)]
    page = rendered(
        "alignment.html",
        title=out.parent,
        today=date.today().isoformat(),
        lines=found.lines,
        shifts=shift_figure(found) if accepted else b"",
        planted=planted_figure(found.planted) if found.planted else b"",
        pairs=[overlays(pair, found.data) for pair in shown],
        left=[(pair.sample.name, pair.found.why) for pair in left[:LISTED]],
        more=max(0, len(left) - LISTED),
        table=TABLE,
    )
    write_whole(out, page)
    say(f"report: {out.resolve()}")
    return out


def edges(image: np.ndarray) -> np.ndarray:
    """Strength of an image's edges, uint8 (H, W), from none to the strongest hundredth."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    found = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return (255 * (found / max(float(np.percentile(found, 99)), 1.0)).clip(0, 1)).astype(np.uint8)


def overlay(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Edges of two images (H, W), uint8 (H, W, 3): of x1 orange, of x2 blue, where they fall
    together white."""
    return np.stack([first, first // 2 + second // 2, second], axis=-1)


def overlays(pair: Compared, config: DataConfig) -> dict[str, Any]:
    """Pictures of a pair, (caption -> data URI), and what was found of it."""
    images = read_pair(pair.sample, config)
    old, new = edges(images.old), edges(images.new)
    moved = warped(new, pair.found.matrix, images.frame.size)
    pictures = {
        "x1": images.old,
        "x2": images.new,
        "edges as they were": overlay(old, new),
        "edges with the transform": overlay(old, moved),
    }
    x, y = pair.shift
    how = f"{pair.found.kind} beside the rig" if pair.found.accepted else pair.found.why
    return {
        "name": pair.sample.name,
        "text": f"({x:+.1f}, {y:+.1f}) px at the middle; {how}; score {pair.found.score:.2f}",
        "pictures": {
            name: data_uri(reduced(encode(shrunk(view, SIDE)))) for name, view in pictures.items()
        },
    }


def shift_figure(found: Alignment) -> bytes:
    """Where x2 lies at the middle of x1, pair by pair and as the rig has it, and the lengths of
    these shifts."""
    shifts = found.shifts
    with drawing(9, 4, 2) as (figure, (plane, lengths)):
        plane.scatter(shifts[:, 0], shifts[:, 1], s=14, color=COLOURS[0], alpha=0.6, label="pairs")
        rig = shift_of(found.rig.matrix, found.rig.size)
        plane.scatter(rig[0], rig[1], s=90, marker="+", color=COLOURS[1], label="rig")
        plane.axhline(0, color=GREY, linewidth=0.6)
        plane.axvline(0, color=GREY, linewidth=0.6)
        plane.invert_yaxis()
        plane.set(xlabel="x2 lies right of x1, px", ylabel="below, px", aspect="equal")
        plane.set_adjustable("datalim")
        plane.legend()
        lengths.hist(np.hypot(*shifts.T), bins=20, color=COLOURS[0])
        lengths.set(xlabel="length of the shift, px", ylabel="pairs")
        return png(figure)


def planted_figure(planted: Sequence[Planted]) -> bytes:
    """Shares of planted shifts that were found again, refused and found elsewhere, by length."""
    names = [f"{p.length} px\n{p.pairs} pairs" for p in planted]
    found = np.array([p.found / p.pairs for p in planted])
    wrong = np.array([p.elsewhere / p.pairs for p in planted])
    with drawing(6, 3.2, 1) as (figure, (axis,)):
        axis.bar(names, 100 * found, color=COLOURS[2], label="found within 3 px")
        axis.bar(names, 100 * wrong, bottom=100 * found, color=COLOURS[1], label="found elsewhere")
        rest = 1 - found - wrong
        axis.bar(names, 100 * rest, bottom=100 * (1 - rest), color="#E5E7EB", label="not accepted")
        axis.set(ylabel="% of the pairs", ylim=(0, 100))
        legend_below(figure, [axis])
        return png(figure)
