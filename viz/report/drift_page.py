"""What fra drift found in words, and its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from adapt.disk.runs import command_line
from adapt.disk.tables import as_text
from adapt.settings.choices import ADABN, RESTYLES, RIDGE
from adapt.training.training_free import AS_IT_IS, ROWS, Score, TrainingFree
from adapt.training.verdict import AFTER, BEFORE, VIEWS
from viz.figures import COLOURS, drawing, literal, png
from viz.pictures import coloured, legend, thumbnail
from viz.report.layer_section import WIDEST, named_ticks
from viz.report.templates import rendered

Row = dict[str, Any]
FARTHEST = 3
"""Layers that are named as those that moved most."""
SIDE = 512
"""Pixels of the longer side of a picture, which opens at this size."""
PICTURED = 2
"""Pairs that are shown."""
MISSING = "\u2013"
NOTHING = 1.0
"""Points of mIoU below which a difference is none in practice."""
PARTS = {
    "means": "channels' means", "deviations": "their standard deviations",
    "pattern": "where they respond",
}  # fmt: skip
"""Columns that add up to a layer's distance."""
HALVES = "between the old images' halves"


@dataclass(frozen=True)
class Found:
    """What fra drift found, of pairs or of two sets of images."""

    made: Row
    """The network and the images that it was found with."""
    layers: list[Row]
    """A row a layer, in the order of the forward pass."""
    channels: list[Row]
    free: TrainingFree | None
    """None = no pairs."""


def sentences_of(found: Found) -> list[str]:
    """What follows from it, for the user."""
    free = found.free
    return [
        *(said_of_help(free) if free else said_without_pairs(found.made)),
        *said_of_layers(found.layers),
    ]


def said_of_help(free: TrainingFree) -> list[str]:
    """What follows from the scores: what needs no training and helps for certain."""
    if free.reasons:
        return [f"Nothing can be concluded from the agreement: {'; '.join(free.reasons)}."]
    before, *others = free.scores
    left = 100 - before.agreement
    helping = [x for x in others if x.helps and x.agreement - before.agreement >= NOTHING]
    harmful = [x for x in others if x.harms and before.agreement - x.agreement >= NOTHING]
    said = [
        "What the network says of the new images agrees with what it says of the old ones by "
        f"{before.agreement:.1f} % mIoU (90 % interval {span(before.interval)}, {free.pairs} "
        f"pairs): at most {left:.1f} are to be gained."
    ]
    if left < NOTHING:
        said.append("To the network old and new images are alike: there is nothing to adapt to.")
    elif helping:
        best = max(helping, key=lambda score: score.agreement)
        said.append(
            f"Without a training {best.name} makes it {best.agreement:.1f} (gain "
            f"{span(best.gain, '+.1f')}), more than anything else: start with it (fra evaluate "
            f"{settings_of(best.name)}). A training has to end above that."
        )
    else:
        tried = ", ".join(score.name for score in others)
        said.append(f"Of what needs no training nothing helps for certain ({tried}): train.")
    if harmful:
        worst = min(harmful, key=lambda score: score.agreement)
        several = f"{', '.join(x.name for x in harmful)} do harm; most of all {worst.name}"
        said.append(
            f"{several if len(harmful) > 1 else f'{worst.name} does harm'}: it makes it "
            f"{worst.agreement:.1f} ({span(worst.gain, '+.1f')})."
        )
    said += [f"{free.ridge[0].upper()}{free.ridge[1:]}."] if free.ridge else []
    return said + ([f"There is no {ADABN}: {free.no_adabn}."] if free.no_adabn else [])


def settings_of(name: str) -> str:
    """How fra evaluate is told of a row of the scores."""
    if name == RIDGE:
        return "ridge=true"
    restyle, adabn = next(key for key, row in ROWS.items() if row == name)
    return " ".join(filter(None, (adabn and "adabn=true", restyle and f"restyle={restyle}")))


def span(ends: tuple[float, float] | None, form: str = ".1f") -> str:
    """`27.1 to 32.5`, or a dash where there is no interval."""
    return " to ".join(format(end, form) for end in ends) if ends else MISSING


def said_without_pairs(made: Row) -> list[str]:
    return [
        "There are no pairs, hence no agreement: only the statistics of channels are compared, of "
        f"{made['old_images']} old and {made['new_images']} new images. Other scenes change them, "
        "as another camera does; the old images' halves show by how much."
    ]


def said_of_layers(rows: Sequence[Row]) -> list[str]:
    """Which layers moved most, and what of it is in the statistics of channels."""
    there = [row for row in rows if not np.isnan(row["distance"])]
    most = sorted(there, key=lambda row: row["distance"], reverse=True)[:FARTHEST]
    if not most or not most[0]["distance"]:
        return ["Old and new maps are equal in every layer." if most else "No layer is active."]
    names = ", ".join(f"{row['layer']} ({row['distance']:.2g})" for row in most)
    first = most[0]
    said = [f"The layers that moved most, relative to their old maps' size: {names}."]
    if "pattern" in first:
        share = 100 * (first["means"] + first["deviations"]) / first["distance"]
        said.append(
            f"{share:.0f} % of {first['layer']}'s distance lie in its channels' means and standard "
            "deviations, the rest in where they respond."
        )
        if alike := [row for row in rows if not np.isnan(row["cka"])]:
            least = min(alike, key=lambda row: row["cka"])
            said.append(
                f"Old and new maps resemble each other least in {least['layer']} (CKA "
                f"{least['cka']:.2f})."
            )
    else:
        said.append(f"The old images' two halves are {first['halves']:.2g} apart there.")
    return said


def cells_of(score: Score) -> tuple[str, str, str]:
    """Agreement, its interval and that of the gain as text."""
    if np.isnan(score.agreement):
        return "no valid pixel", MISSING, MISSING
    gain = MISSING if score.name == AS_IT_IS else span(score.gain, "+.1f")
    return f"{score.agreement:.1f}", span(score.interval), gain


def table_of(rows: Sequence[Row]) -> list[list[Any]]:
    """The columns that are not empty, under their names."""
    heads = [head for head in rows[0] if any(row[head] != "" for row in rows)]
    return [[head.replace("_", " ") for head in heads], *([r[h] for h in heads] for r in rows)]


def layer_chart(rows: Sequence[Row]) -> bytes:
    """Each layer's distance in its parts and, of pairs, the similarity of its maps below it."""
    paired, at = "cka" in rows[0], np.arange(len(rows))
    names = [literal(row["alias"].split()[0] if row["alias"] else row["layer"]) for row in rows]
    size = min(max(7.0, 1.5 + 0.33 * len(rows)), WIDEST), 5.6 if paired else 3.6
    with drawing(*size, 1, 1 + paired) as (figure, axes):
        height = np.zeros(len(rows))
        for (part, label), colour in zip(PARTS.items(), COLOURS, strict=False):
            if part in rows[0]:
                more = np.nan_to_num([row[part] for row in rows])
                axes[0].bar(at, more, bottom=height, color=colour, width=0.7, label=label)
                height += more
        if not paired:
            halves = [row["halves"] for row in rows]
            axes[0].plot(at, halves, "_", color="black", ms=10, mew=2, label=HALVES)
        axes[0].set(ylabel="distance / old maps' size")
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
        if paired:
            similar, spread = (np.array([row[k] for row in rows]) for k in ("cka", "cka_std"))
            axes[1].errorbar(at, similar, spread, fmt="o-", ms=4, capsize=2, color=COLOURS[0])
            axes[1].set(ylabel="CKA", ylim=(None, 1.02))
        for axis in axes:
            axis.set_xlim(-0.6, len(rows) - 0.4)
            named_ticks(axis, list(at), names, slanted=len(names) > 8)
        return png(figure)


def pictures_of(free: TrainingFree, classes: int) -> dict[str, list[dict[str, str]]]:
    """Of each kept pair, captions with pictures: what the network sees, and what it says of it."""
    found = {}
    for name, rows in list(free.views.items())[:PICTURED]:
        plain = rows[""]
        seen = {"old image": plain["x1"], "new image": plain["x2"]}
        said = {"prediction, old image": plain["teacher_x1"], "new image": plain[BEFORE]}
        if not free.no_adabn:
            said[ADABN] = plain[AFTER]
        for restyle in RESTYLES:
            seen[restyle], said[restyle] = rows[restyle]["x2"], rows[restyle][BEFORE]
        found[name] = [
            {caption: thumbnail(view, side=SIDE) for caption, view in seen.items()},
            {
                caption: thumbnail(coloured(view, classes), labels=True, side=SIDE)
                for caption, view in said.items()
            },
        ]
    return found


def kept_maps(free: TrainingFree) -> list[np.ndarray]:
    """Of the pairs that are pictured."""
    shown = [views for rows in list(free.views.values())[:PICTURED] for views in rows.values()]
    return [views[view] for views in shown for view in VIEWS[2:]]


def page(found: Found) -> str:
    """The page that opens offline: what follows, pictures, agreement, and the layers."""
    free, classes, (heads, *lines) = found.free, found.made["classes"], table_of(found.layers)
    return rendered(
        "drift.html",
        made=found.made,
        today=date.today().isoformat(),
        command=command_line(),
        said=sentences_of(found),
        pictures=pictures_of(free, len(classes)) if free else {},
        legend=legend(classes, kept_maps(free)) if free else [],
        scores=[(score.name, *cells_of(score)) for score in free.scores] if free else [],
        chart_of_layers=layer_chart(found.layers),
        heads=heads,
        lines=[[as_text(cell) for cell in line] for line in lines],
    )
