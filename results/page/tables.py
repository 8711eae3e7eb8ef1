"""The page's tables, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from results.page import rates
from results.page.claims import ALPHAS, METHOD, SWEEPS
from results.page.records import (
    DISJOINT,
    GIVEN,
    GRID,
    SEEDS,
    SHARED,
    SHIFTS,
    Evidence,
    differences,
    shown,
    table,
)
from results.page.words import NAMES, label_of

OTHERS = ("photocopy_gegl", "ripple_gegl", "ripple_50", "cubism_gegl", "cubism_256")
"""The shifts at other strengths."""
CLASSES = ("B0", "AdaBN", "pool5", "w_inc", "kd", "pool5_kd", "w_inc_kd", "B2", "B1")
"""Whose scores are printed class by class."""


def grid(found: Evidence, protocol: str, key: str, labels: str = GIVEN) -> str:
    """Methods down, shifts across, mean ± deviation over seeds; `` where nothing was run."""
    study, rows = GRID[protocol], []
    clean = found.values(study, "teacher", "", key)
    for name in names_of(found):
        values = [found.values(study, name, shift, key, labels) for shift in SHIFTS]
        if any(values):
            rows.append([label_of(name), *(shown(v, full=len(SEEDS)) for v in values)])
    if not rows:
        return ""
    if clean and labels == GIVEN:
        rows.insert(0, [f"the teacher on D1: {shown(clean, full=len(SEEDS))}", "", "", ""])
    return table(["", *SHIFTS], rows)


def names_of(found: Evidence) -> list[str]:
    """NAMES, each followed by the run at its chosen learning rate where that is another."""
    return list(dict.fromkeys(run for both in rates.at_best(found, NAMES).items() for run in both))


def shifts(found: Evidence) -> str:
    """What each shift is, and what it costs the teachers."""
    about = {k: v for r in found.of(GRID[SHARED]) for k, v in r["shifts"].items()}
    rows = []
    for name in (*SHIFTS, *OTHERS):
        if name not in about:
            continue
        made = about[name]
        settings = ", ".join(f"{k} {v:g}" for k, v in made["parameters"].items() if number(v))
        goal = made.get("calibration")
        wanted = f"{goal['wanted']:g} ({goal['distortion']:.1f})" if goal else ""
        costs = [
            shown(found.values(GRID[p], "B0", name, "distortion"), full=len(SEEDS))
            for p in (SHARED, DISJOINT)
        ]
        rows.append([name, f"{made['filter']}: {settings}", wanted, *costs])
    heads = ("", "filter", "wanted (on tune)", "on val, shared", "on val, disjoint")
    return table(heads, rows) if rows else ""


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def strengths(found: Evidence) -> str:
    """Other strengths of the shifts."""
    names = ("B0", "AdaBN", "pool5", "B2")
    rows = []
    for shift in OTHERS:
        values = [found.values(GRID[SHARED], name, shift) for name in names]
        if any(values):
            gap = differences(values[2], values[3])
            cells = [shown(v, full=len(SEEDS)) for v in values]
            rows.append([shift, *cells, shown(gap, signed=True)])
    return table(["", *names, "pool5 minus B2"], rows) if rows else ""


def sweep(found: Evidence) -> str:
    """L2-SP over alpha: new domain, what is kept of the old one, agreement on tune."""
    rows = []
    for what, (study, shift) in SWEEPS.items():
        for name in ("none", *(f"l2_sp_{alpha}" for alpha in ALPHAS)):
            run = f"{METHOD}_{name}"
            cells = [
                found.values(study, run, shift),
                found.values(study, run, ""),
                found.values(study, run, shift, "agreement", split="tune"),
            ]
            if any(cells):
                alpha = f"{ALPHAS[name[6:]]:g}" if name != "none" else "none"
                rows.append([what, alpha, *(shown(v, full=len(SEEDS)) for v in cells)])
    heads = ("", "alpha", "D2 (photocopies)", "D1 kept", "agreement on tune")
    return table(heads, rows) if rows else ""


def features(found: Evidence) -> str:
    """Relative distance and R2 of each layer's maps of x2 to the teacher's of x1."""
    rows = []
    for shift in SHIFTS:
        layers: dict[str, list[Mapping[str, Mapping[str, float]]]] = {}
        for record in found.of(GRID[SHARED]):
            before = record["features"].get(f"before {shift}", [])
            after = record["features"].get(f"after {shift}/{METHOD}", [])
            for old, new in zip(before, after, strict=False):
                layers.setdefault(old["layer"], []).append({"old": old, "new": new})
        for layer, pairs in layers.items():
            cells = [
                f"{sum(p[when][key] for p in pairs) / len(pairs):.2f}"
                for key in ("distance", "r2")
                for when in ("old", "new")
            ]
            rows.append([shift, layer, *cells, str(len(pairs))])
    heads = ("", "layer", "distance before", "after", "R2 before", "after", "n")
    return table(heads, rows) if rows else ""


def classes(found: Evidence, protocol: str, shift: str) -> str:
    """IoU of every class, means over seeds; methods at their chosen rates."""
    study = GRID[protocol]
    names: list[str] = next((r["classes"] for r in found.of(study)), [])
    columns: dict[str, Sequence[Sequence[float | None]]] = {}
    if clean := found.find(study, "teacher", ""):
        columns["teacher on D1"] = [s.numbers["iou"] for s in clean.values()]
    for name, run in rates.at_best(found, CLASSES).items():
        if scores := found.find(study, run, shift):
            columns[name] = [s.numbers["iou"] for s in scores.values()]
    rows = []
    for place, of_class in enumerate(names):
        cells = []
        for ious in columns.values():
            there = [v for iou in ious if (v := iou[place]) is not None]
            cells.append(f"{sum(there) / len(there):.1f}" if there else "-")
        rows.append([of_class, *cells])
    return table(["IoU", *columns], rows) if len(columns) > 1 else ""
