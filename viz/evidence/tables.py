"""The page's tables, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from viz.evidence.claims import ALPHAS, METHOD, SWEEPS
from viz.evidence.records import (
    DISJOINT,
    GIVEN,
    GRID,
    SEEDS,
    SHARED,
    SHIFTS,
    Evidence,
    differences,
    mean,
    shown,
    table,
)

NAMES = {
    "B0": "B0: the teacher as it is", "AdaBN": "AdaBN", "histogram": "restyle: histogram",
    "fda": "restyle: FDA", "pool1": "pool1", "pool2": "pool2", "pool3": "pool3", "pool4": "pool4",
    "pool5": "**pool5**", "w_inc": "W_inc", "w_dec": "W_dec", "pseudo_share": "pseudo-labels",
    "kd": "kd", "pool5_kd": "pool5 + kd", "B2": "B2: fine-tuned on labels",
    "B1": "B1: labels, from scratch",
}  # fmt: skip
"""What a run's folder is called in tables, in their order."""
OTHERS = ("photocopy_gegl", "ripple_gegl", "ripple_50", "cubism_gegl", "cubism_256")
"""The shifts at other strengths."""
CLASSES = ("B0", "AdaBN", "pool5", "w_inc", "kd", "pool5_kd", "B2", "B1")
"""Whose scores are printed class by class."""


def label_of(name: str) -> str:
    """A name with a learning rate or a share of the labels in words."""
    for sign, words in (("_lr_", "rate {}"), ("_share_", "{:.0%} of the labels")):
        stem, found, value = name.partition(sign)
        if found:
            number = float(value) if sign == "_share_" else value
            return f"{NAMES.get(stem, stem)}, {words.format(number)}"
    return NAMES.get(name, name)


def grid(found: Evidence, protocol: str, key: str, labels: str = GIVEN) -> str:
    """Methods down, shifts across, mean ± deviation over seeds; `` where nothing was run."""
    study, rows = GRID[protocol], []
    clean = found.values(study, "teacher", "", key)
    for name in NAMES:
        values = [found.values(study, name, shift, key, labels) for shift in SHIFTS]
        if any(values):
            rows.append([label_of(name), *(shown(v, full=len(SEEDS)) for v in values)])
    if not rows:
        return ""
    if clean and labels == GIVEN:
        rows.insert(0, [f"the teacher on D1: {shown(clean, full=len(SEEDS))}", "", "", ""])
    return table(["", *SHIFTS], rows)


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


def rates(found: Evidence) -> str:
    """What each learning rate gives, and which one agreement on `tune` chooses."""
    study, rows = GRID[SHARED], []
    stems = dict.fromkeys(n.partition("_lr_")[0] for n in found.names(study) if "_lr_" in n)
    for stem in stems:
        names = [n for n in found.names(study) if n == stem or n.startswith(f"{stem}_lr_")]
        scored = {n: agreements(found, n) for n in names}
        complete = {n: mean(v) for n, v in scored.items() if len(v) == len(SHIFTS)}
        best = max(complete, key=lambda n: complete[n]) if complete else ""
        for name in names:
            tune = [f"{v:.1f}" if (v := scored[name].get(i)) is not None else "-" for i in range(3)]
            val = [shown(found.values(study, name, s)) for s in SHIFTS]
            rate = next(iter(r["lr"] for r in runs_of(found, name)), 0)
            mark = "chosen" if name == best else ""
            rows.append([label_of(stem), f"{rate:g}", *tune, mark, *val])
    heads = ("", "rate", *(f"{s}: agreement" for s in SHIFTS), "", *(f"{s}: mIoU" for s in SHIFTS))
    return table(heads, rows) if rows else ""


def agreements(found: Evidence, name: str) -> dict[int, float]:
    """Number of the shift -> agreement on `tune` of the first seed."""
    made = {}
    for place, shift in enumerate(SHIFTS):
        values = found.values(GRID[SHARED], name, shift, "agreement", split="tune")
        if SEEDS[0] in values:
            made[place] = values[SEEDS[0]]
    return made


def runs_of(found: Evidence, name: str) -> list[Mapping[str, Any]]:
    return [s.run for s in found.scores if s.study == GRID[SHARED] and s.name == name]


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
    """IoU of every class, means over seeds."""
    study = GRID[protocol]
    names: list[str] = next((r["classes"] for r in found.of(study)), [])
    columns: dict[str, Sequence[Sequence[float | None]]] = {}
    if clean := found.find(study, "teacher", ""):
        columns["teacher on D1"] = [s.numbers["iou"] for s in clean.values()]
    for name in CLASSES:
        if scores := found.find(study, name, shift):
            columns[name] = [s.numbers["iou"] for s in scores.values()]
    rows = []
    for place, of_class in enumerate(names):
        cells = []
        for ious in columns.values():
            there = [v for iou in ious if (v := iou[place]) is not None]
            cells.append(f"{sum(there) / len(there):.1f}" if there else "-")
        rows.append([of_class, *cells])
    return table(["IoU", *columns], rows) if len(columns) > 1 else ""
