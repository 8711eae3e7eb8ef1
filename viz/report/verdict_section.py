"""The report's headline: verdicts without labels, and the pictures that show them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data.images import read_image, read_indices, void_of
from adapt.errors import InputError
from adapt.training.verdict import (
    ADABN,
    GAIN,
    PICTURES,
    UNCLEAR,
    VERDICT,
    VIEWS,
    Verdict,
)
from viz.pictures import coloured, legend, thumbnail
from viz.report.records import Record
from viz.report.tables import MISSING, class_table

PICTURED = 6
"""Runs whose verdicts stand at the top with pictures; those of the others are in the table."""
SIDE = 512
"""Pixels of the longer side of a picture, which opens at this size."""
SAME, DIFFERENT = (229, 231, 235), (213, 94, 0)


def verdicts_section(records: Iterable[Record], count: int) -> list[dict[str, Any]]:
    """Every run with a verdict, as report.html has it, the first PICTURED with pictures of `count`
    pairs."""
    judged = [(record, record.verdict) for record in records if record.verdict]
    return [
        {
            "name": record.name,
            "first": number < PICTURED,
            "verdict": verdict,
            "conclusion": verdict.conclusion or UNCLEAR,
            "rows": [*rows_of(verdict), *rows_of_targets(verdict)],
            "gain": interval(verdict, GAIN, "+.1f") + (verdict.than and f" over {verdict.than}"),
            "classes": classes_of(record.name, verdict),
        }
        | shown(record.run / PICTURES, verdict, count if number < PICTURED else 0)
        for number, (record, verdict) in enumerate(judged)
    ]


def interval(verdict: Verdict, row: str, form: str = ".1f") -> str:
    ends = verdict.intervals.get(row)
    return " to ".join(format(end, form) for end in ends) if ends else MISSING


def rows_of(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Name, agreement and 90 % interval of before, AdaBN and after, or why there is none."""
    made = []
    for row, name in verdict.names.items():
        value = getattr(verdict, row)
        if row == ADABN and value is not None:
            name += f" ({verdict.adabn_images} images)"
        why = verdict.no_adabn if row == ADABN else ""
        score = why or "no valid pixel" if value is None else f"{value:.1f}"
        if value is not None or verdict.conclusion:  # version 0.1 did not know AdaBN
            made.append((name, score, interval(verdict, row)))
    return made


def rows_of_targets(verdict: Verdict) -> list[tuple[str, str, str]]:
    """The same of each of several new domains, with its gain and what follows from it."""
    made = []
    for target, own in verdict.targets.items():
        made += [(f"{target}: {name}", score, ends) for name, score, ends in rows_of(own)]
        made.append((f"{target}: gain", own.conclusion, interval(own, GAIN, "+.1f")))
    return made


def classes_of(run: str, verdict: Verdict) -> dict[str, Any]:
    """Agreement class by class, without those that nobody says."""
    names = {row: name for row, name in verdict.names.items() if row in verdict.agreement}
    columns = [verdict.agreement[row] for row in names]
    lines = zip(verdict.classes, zip(*columns, strict=True), strict=False)
    said = [(name, values) for name, values in lines if any(v is not None for v in values)]
    caption = f"Agreement by class, IoU, {run}"
    return class_table(caption, list(names.values()), said, f"{run}/{VERDICT}")


def shown(folder: Path, verdict: Verdict, count: int) -> dict[str, Any]:
    """Pictures of the first `count` pairs that a run keeps, (caption -> data URI) by name; the
    classes in them with their colours (#rrggbb); a note for each pair whose files are broken."""
    pairs: dict[str, dict[str, str]] = {}
    notes, seen, classes = [], list[np.ndarray](), len(verdict.classes)
    for name in verdict.pictures[:count]:
        paths = {view: folder / name / f"{view}.png" for view in VIEWS}
        try:
            images = [read_image(paths[view]) for view in VIEWS[:2]]
            maps = [read_indices(paths[view]) for view in VIEWS[2:]]
            pairs[name] = pictures(images, maps, classes, verdict.start)
        except InputError as error:
            notes.append(f"{name}: no pictures: {error}")
        else:
            seen += map(np.unique, maps)
    return {"pairs": pairs, "legend": legend(verdict.classes, seen), "notes": notes}


def pictures(
    images: Sequence[np.ndarray], maps: Sequence[np.ndarray], classes: int, start: str = ""
) -> dict[str, str]:
    """Caption -> data URI, from the files of VIEWS; `start` is as in the verdict.

    Raises:
        InputError: maps that are not of one size, or with a class that does not exist.
    """
    (truth, before, after), void = maps, void_of(classes)
    if len({found.shape for found in maps}) > 1:
        raise InputError("its maps differ in size")
    if any(((found >= classes) & (found != void)).any() for found in maps):
        raise InputError(f"its maps have labels beyond the {classes} classes")
    valid = truth != void
    apart = [(found != truth) & valid for found in (before, after)]
    shares = [100 * part.sum() / max(1, valid.sum()) for part in apart]
    differs = np.where(apart[1][..., None], DIFFERENT, SAME).astype(np.uint8)
    differs[~valid] = 0
    whose = "the student's start" if start else "teacher"
    drawn = {
        "old image": images[0],
        "new image": images[1],
        f"before: {whose} on the new image": coloured(before, classes),
        "after: student on the new image": coloured(after, classes),
        "teacher on the old image": coloured(truth, classes),
        "where the student differs from it: {1:.0f} % (before {0:.0f} %)".format(*shares): differs,
    }
    return {
        caption: thumbnail(view, labels=number > 1, side=SIDE)
        for number, (caption, view) in enumerate(drawn.items())
    }
