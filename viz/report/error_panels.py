"""Error panels of a fine-tuning study: the images on which its penalties differ most, and where
(000, Figures 1 and 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adapt.data.augment import resize
from adapt.data.images import as_rgb, void_of
from adapt.errors import InputError
from adapt.evaluation.evaluate import data_for
from adapt.evaluation.inference import Reading, Whole, predicted
from adapt.evaluation.rows import read_evaluation, read_image_scores
from adapt.machine.runtime import runtime
from adapt.networks.saved import load_model
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import build
from adapt.settings.protocol import ProtocolConfig
from viz.pictures import coloured, error_view, legend, thumbnail

ZOOM = 4
"""How many zooms would lie side by side in an image."""
SIDE = 260
"""Pixels of the longer side of a picture."""
FRAME = (220, 38, 38)

Scores = Mapping[str, Mapping[str, float]]
"""Penalty -> image -> mIoU."""


def error_panels(runs: Path, found: Mapping[str, Any] | None, count: int) -> dict[str, Any]:
    """The panels of a study's comparison.json as report.html has them: {} where there is nothing
    to compare, and `note` instead of pictures where something for them is missing."""
    records = {name: runs / path for name, path in (found or {}).get("compared", {}).items()}
    if len(records) < 2 or not count or not (found and found["by_class"] == "iou"):
        return {}
    try:
        return drawn(records, count)
    except InputError as error:
        return {"note": f"No error panels: {error}"}


def drawn(records: Mapping[str, Path], count: int) -> dict[str, Any]:
    """The `count` images with the largest gaps, each as it is, with its label and with what the
    network of each penalty says, and the same where they differ most.

    Args:
        records: penalty -> the record of an evaluation by one protocol, in its run's folder.
        count: how many images.

    Raises:
        InputError: scores, runs or images that are not there.
    """
    scores = {name: read_image_scores(path) for name, path in records.items()}
    first = next(iter(records.values()))
    metrics, model = read_evaluation(first), load_model(first.parent)
    given = (DataConfig(), metrics["domain"], metrics["split"])
    _, settings, data = data_for(first.parent, model, *given)
    chosen = widest_gaps(scores, count)
    there = {sample.name: sample for sample in data.samples}
    if gone := [name for name in chosen if name not in there]:
        raise InputError(f"{data.name} has no image {gone[0]} any more")
    data = replace(data, samples=tuple(there[name] for name in chosen))
    whole = Whole(data, settings, ["x1", "y1"])
    items = [whole[number] for number in range(len(whole))]
    protocol = build(ProtocolConfig, metrics.get("protocol", {}), f"{first}: protocol.")
    machine, labels = runtime("cpu", "fp32"), {}
    for name, path in records.items():
        model = load_model(path.parent, name)
        net = machine.place(model.net).eval()
        reading = Reading(settings, model.network, 1, 0, protocol)
        labels[name] = [predicted(machine, net, reading, [item], "x1")[0] for item in items]
    classes = len(data.classes)
    panels = []
    for number, (image, item) in enumerate(zip(chosen, items, strict=True)):
        said = {f"{name}: {scores[name][image]:.1f}": labels[name][number] for name in labels}
        shown = as_rgb(whole.decode.fitted(whole.decode.native(data.samples[number]))["x1"])
        panels.append({"name": image} | panel(shown, np.asarray(item["y"]), said, classes))
    return {
        "panels": panels,
        "of": len(next(iter(scores.values()))),
        "legend": legend(data.classes),
    }


def widest_gaps(scores: Scores, count: int) -> list[str]:
    """The images whose mIoU under the penalties lie furthest apart, the furthest first; of equal
    ones the first."""
    each = {
        image: [of.get(image, np.nan) for of in scores.values()]
        for image in next(iter(scores.values()))
    }
    gaps = {image: max(v) - min(v) for image, v in each.items() if not np.isnan(v).any()}
    return sorted(gaps, key=lambda image: -gaps[image])[:count]


def panel(
    image: np.ndarray, truth: np.ndarray, said: Mapping[str, np.ndarray], classes: int
) -> dict[str, dict[str, str]]:
    """Pictures of one image: `whole` and, where the predictions differ most, `zoom`.

    Args:
        image: uint8 (h, w, 3), at any size.
        truth: its label (H, W).
        said: caption -> prediction (H, W).
        classes: their number.
    """
    height, width = truth.shape
    views = {"label": coloured(truth, classes)}
    views |= {name: error_view(found, truth, classes) for name, found in said.items()}
    place = window(list(said.values()), truth, classes)
    photo = resize({"x1": image}, [height, width])["x1"]
    framed, (rows, columns) = photo.copy(), place
    corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
    cv2.rectangle(framed, *corners, FRAME, max(1, round(max(height, width) / 130)))
    whole = {"image": thumbnail(framed, side=SIDE)}
    zoom = {"image": thumbnail(enlarged(photo[place]), side=SIDE)}
    for name, view in views.items():
        whole[name] = thumbnail(view, labels=True, side=SIDE)
        zoom[name] = thumbnail(enlarged(view[place]), labels=True, side=SIDE)
    return {"whole": whole, "zoom": zoom}


def window(said: Sequence[np.ndarray], truth: np.ndarray, classes: int) -> tuple[slice, slice]:
    """Rows and columns of the window in which most labelled pixels are right in one prediction and
    wrong in another; of equal windows the topmost."""
    right = np.stack([found == truth for found in said])
    disputed = right.any(0) & ~right.all(0) & (truth != void_of(classes))
    height, width = (-(-side // ZOOM) for side in truth.shape)
    sums = np.pad(disputed.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    inside += sums[:-height, :-width]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return slice(int(y), int(y) + height), slice(int(x), int(x) + width)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A small picture with each pixel as a square, at most SIDE long."""
    times = max(1, SIDE // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
