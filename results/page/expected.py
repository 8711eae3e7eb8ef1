"""How well agreement tells the gain by labels: where adapt/training/expected.py has its numbers.

    python -m results.page.expected      # results/evidence -> results/expected.json

A cell is one teacher and one family of shifts; its runs are the students that were adapted without
labels, and there are many of them, so that each run counts by the share of its cell. The interval
is that of hierarchical conformal prediction (Lee, Barber & Willett 2023, HCP): the 90 % quantile of
|predicted gain - gain| over runs, each with 1 / (K + 1) of its cell's share, the remaining
1 / (K + 1) at infinity. It covers a run of a new cell in 90 % of cases if the new cell is drawn as
the others were; a camera is no such draw, so that this is a measurement and no promise.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adapt.disk.files import write_json
from adapt.settings.choices import BASELINES
from adapt.training.expected import expected
from results.page.records import Evidence, load

TEACHERS = {
    "camvid_evidence": "camvid_evidence",
    "camvid_evidence_long": "camvid_evidence",
    "camvid_evidence_disjoint": "camvid_evidence_disjoint",
    "camvid_penalties": "camvid_penalties",
}
"""Study -> the one that has its teachers and their scores."""
LEVEL = 0.9
EXPONENTS = np.arange(1, 5.05, 0.1).round(1)
FEWEST = round(LEVEL / (1 - LEVEL))
"""Cells below which the quantile lies at infinity."""


class Cell(NamedTuple):
    """The runs of one teacher under one family of shifts: columns agreement before and after, mIoU
    before and after, the teacher's mIoU on old images."""

    teacher: str
    family: str
    runs: np.ndarray


def cells_of(found: Evidence) -> list[Cell]:
    """All cells of the records, sorted."""
    made: dict[tuple[str, str], list[list[float]]] = {}
    for study, source in TEACHERS.items():
        trained = [name for name in found.names(study) if name.split("_lr_")[0] not in BASELINES]
        clean = found.values(source, "teacher", "")
        shifts = dict.fromkeys(s.shift for s in found.scores if s.study == study and s.shift)
        for shift in shifts:
            before = found.find(source, "B0", shift)
            for name in trained:
                for seed, score in found.find(study, name, shift).items():
                    if seed in before and seed in clean:
                        pair = (before[seed].numbers, score.numbers)
                        row = [n[key] for key in ("agreement", "miou") for n in pair]
                        place = (f"{source} {seed}", shift.split("_")[0])
                        made.setdefault(place, []).append([*row, clean[seed]])
    return [Cell(*place, np.array(rows)) for place, rows in sorted(made.items())]


def errors(cell: Cell, exponent: float) -> np.ndarray:
    """Predicted gain - gain of each run, in points of mIoU."""
    a0, a1, m0, m1, clean = cell.runs.T
    return expected(a1, clean, exponent) - expected(a0, clean, exponent) - (m1 - m0)


def fitted(cells: Sequence[Cell]) -> float:
    """The exponent with the least mean absolute error, all cells counting alike."""
    error = [np.mean([np.abs(errors(c, p)).mean() for c in cells]) for p in EXPONENTS]
    return float(EXPONENTS[np.argmin(error)])


def margin(cells: Sequence[Cell], exponent: float) -> float:
    """The conformal quantile; infinite for fewer than FEWEST cells."""
    apart = np.concatenate([np.abs(errors(c, exponent)) for c in cells])
    mass = np.concatenate([np.full(len(c.runs), 1 / len(c.runs) / (len(cells) + 1)) for c in cells])
    order = np.argsort(apart)
    place = np.searchsorted(mass[order].cumsum(), LEVEL - 1e-9)
    return float(apart[order][place]) if place < len(order) else float("inf")


def left_out(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Each cell with exponent and margin of the cells that share neither its teacher nor its family
    of shifts: the share of its runs inside, and whether the one of the highest agreement is."""
    rows = []
    for cell in cells:
        others = [c for c in cells if c.teacher != cell.teacher and c.family != cell.family]
        if len(others) >= FEWEST:
            exponent = fitted(others)
            wide, apart = margin(others, exponent), errors(cell, exponent)
            rows.append({
                "teacher": cell.teacher, "family": cell.family, "runs": len(apart),
                "exponent": exponent, "margin": round(wide, 3), "bias": round(apart.mean(), 3),
                "inside": round(float((np.abs(apart) <= wide).mean()), 3),
                "selected_inside": bool(np.abs(apart[cell.runs[:, 1].argmax()]) <= wide),
            })  # fmt: skip
    return rows


def calibration(found: Evidence) -> dict[str, Any]:
    """The record: exponent and margin of all cells, and the coverage where they are left out."""
    cells = cells_of(found)
    exponent, rows = fitted(cells), left_out(cells)
    return {
        "exponent": exponent,
        "margin": round(margin(cells, exponent), 3),
        "cells": len(cells),
        "runs": sum(len(cell.runs) for cell in cells),
        "coverage": {name: coverage(rows, family) for name, family in families(rows).items()},
        "left_out": rows,
    }


def families(rows: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    every = sorted({row["family"] for row in rows})
    return {name: {name} for name in every} | {"all": set(every)}


def coverage(rows: Sequence[Mapping[str, Any]], family: set[str]) -> dict[str, float]:
    own = [row for row in rows if row["family"] in family]
    return {
        "cells": len(own),
        "inside": round(float(np.mean([row["inside"] for row in own])), 3),
        "selected_inside": round(float(np.mean([row["selected_inside"] for row in own])), 3),
        "margin": round(float(np.mean([row["margin"] for row in own])), 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m results.page.expected", description=__doc__)
    parser.add_argument("--records", type=Path, default=Path("results/evidence"))
    parser.add_argument("--out", type=Path, default=Path("results/expected.json"))
    given = parser.parse_args()
    write_json(given.out, calibration(load(given.records)))
