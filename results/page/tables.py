"""The page's tables, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapt.study.offsets import KINDS
from results.page.claims import ALPHAS, METHOD, SWEEPS, maps_of
from results.page.gaps import closed, whole
from results.page.records import (
    DISJOINT,
    GIVEN,
    GRID,
    SHARED,
    SHIFTS,
    TUNE,
    VAL,
    Evidence,
    Values,
    differences,
    mean,
    over_seeds,
    percent,
    table,
)
from results.page.variations import TUNED, at_best
from results.page.words import NAMES, label_of
from viz.report.tables import stat

OTHERS = ("photocopy_gegl", "ripple_gegl", "ripple_50", "cubism_gegl", "cubism_256")
"""The shifts at other strengths."""
CLASSES = ("B0", "AdaBN", "pool5", "w_inc", "kd", "pool5_kd", "w_inc_kd", "B2", "B1")
"""Whose scores are printed class by class."""
RAW, TRAINED = "from scratch", "pre-trained"
Starts = Mapping[str, str]
"""RAW and TRAINED -> the study of a network's trainings from there."""
DECAYED: dict[str, Starts] = {
    "DeepLab-VGG16 of a quarter of the width, from the embedded scenes": {
        RAW: "camvid_evidence_decay_raw", TRAINED: "camvid_evidence_decay_pre"},
    "EfficientNet-lite0 with the scores of an FCN-8s, from ImageNet": {
        RAW: "camvid_evidence_decay_lite0_raw", TRAINED: "camvid_evidence_decay_lite0_pre"},
}  # fmt: skip
"""Network and what it was pre-trained on -> its studies under several decays."""
DECAYS = {"none": "0", "l2_1em4": "1e-4", "l2_5em4": "5e-4", "l2_1em3": "1e-3"}
"""Penalty in run folders -> the strength as tables have it."""
DECAY_SPLITS = {"training images": "fit", VAL: VAL}
DECAY_SCORES = {"loss": "loss", "miou": "mIoU"}
FOLDS = 5
"""Of CWFID, when all are done."""
STRENGTHS = ("B0", "AdaBN", METHOD, "B2")
CHAIN = {
    "B0": "B0: the first teacher", "AdaBN": "AdaBN", "pool5": "pool5, from the first teacher",
    "pool5_chain": "pool5, from date to date", "B2": "B2: fine-tuned on that date's labels",
}  # fmt: skip
MISALIGNED, OFFSETS = "camvid_misalignment", (6, 12, 24, 48)
"""The study of pairs that are off, and its pixels."""


def grid(found: Evidence, protocol: str, key: str, labels: str = GIVEN) -> str:
    """Methods down, shifts across, mean ± deviation over seeds, each method followed by its run at
    the chosen learning rate where that is another; `` where nothing was run."""
    rows = []
    for name in dict.fromkeys(run for both in at_best(found, NAMES).items() for run in both):
        values = found.by_shift(GRID[protocol], name, key, labels)
        if any(values):
            rows.append([label_of(name), *map(over_seeds, values)])
    clean = found.values(GRID[protocol], "teacher", "", key)
    if rows and clean and labels == GIVEN:
        rows.insert(0, [f"the teacher on D1: {over_seeds(clean)}", "", "", ""])
    return table(["", *SHIFTS], rows)


def shifts(found: Evidence) -> str:
    """What each shift is, and what it costs the teachers."""
    about = {k: v for r in found.of(GRID[SHARED]) for k, v in r["shifts"].items()}
    rows = []
    for name in (n for n in (*SHIFTS, *OTHERS) if n in about):
        made, numbers = about[name], about[name]["parameters"].items()
        settings = ", ".join(f"{k} {v:g}" for k, v in numbers if type(v) in (int, float))
        goal = made.get("calibration")
        wanted = f"{goal['wanted']:g} ({goal['distortion']:.1f})" if goal else ""
        costs = [found.values(GRID[p], "B0", name, "distortion") for p in (SHARED, DISJOINT)]
        rows.append([name, f"{made['filter']}: {settings}", wanted, *map(over_seeds, costs)])
    return table(("", "filter", "wanted (on tune)", "on val, shared", "on val, disjoint"), rows)


def strengths(found: Evidence) -> str:
    """Other strengths of the shifts."""
    rows = []
    for shift in OTHERS:
        values = [found.values(GRID[SHARED], name, shift) for name in STRENGTHS]
        if any(values):
            gap = percent(found.gap(GRID[SHARED], METHOD, "B2", shift), signed=True)
            rows.append([shift, *map(over_seeds, values), gap])
    return table(["", *STRENGTHS, f"{METHOD} minus B2"], rows)


def misaligned(found: Evidence) -> str:
    """Students of pairs that are off by so many pixels, as they are and aligned again."""

    def cell(ending: str) -> Values:
        return found.values(MISALIGNED, f"w_inc_kd{ending}", "photocopy")

    endings = [f"_{kind}_{{}}{then}" for kind in KINDS for then in ("", "_aligned")]
    rows = [[str(n), *(over_seeds(cell(e.format(n))) for e in endings)] for n in OFFSETS]
    heads = ("pixels", "all in one direction", "the same, aligned", "each in its own", "aligned")
    return table(heads, [["0", over_seeds(cell("")), "", "", ""], *rows]) if cell("") else ""


def chain(rows: Sequence[Mapping[str, Any]]) -> str:
    """Methods down, dates across, of a study's rows (results/camvid_chain.json)."""
    scores = {(row["method"], row["shift"]): row["miou"] for row in rows}
    dates = [*dict.fromkeys(row["shift"] for row in rows if row["shift"])]
    costs = [f"{row['distortion']:.1f}" for row in rows if row["method"] == "B0"]
    lines = [["distortion of the teacher", *costs]]
    lines += [
        [label, *(f"{scores[name, d]:.1f}" if (name, d) in scores else "-" for d in dates)]
        for name, label in CHAIN.items()
    ]
    return table(["mIoU, %", *dates], lines) if dates else ""


def nights(record: Mapping[str, Any]) -> str:
    """Agreement by night and day of what scripts/roadscene.py records."""
    times = [time for time in record["pairs"] if time not in ("train", "val")]
    rows = [
        [network, NAMES.get(method, method), *(f"{numbers[time]:.1f}" for time in times)]
        for network, methods in record["found"].items() for method, numbers in methods.items()
    ]  # fmt: skip
    heads = (f"{time}, {record['pairs'][time]} pairs" for time in times)
    counts = f"{record['pairs']['train']} pairs to train on, {record['about']}"
    return f"{table(['teacher', '', *heads], rows)}\n\n*{counts}*"


def folds(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """IoU of each class, mIoU, the share of the gap that is closed and the difference to B2, over
    the folds of scripts/cwfid_folds.py; with how many folds where they are not all."""

    def of(method: str, key: str = "mIoU") -> Values:
        return {n: fold[method][key] for n, fold in enumerate(found.values()) if method in fold}

    def text(values: Values, *, signed: bool = False) -> str:
        return percent(values, signed=signed, full=FOLDS) if values else ""

    methods = [*dict.fromkeys(method for fold in found.values() for method in fold)]
    rows = []
    for method in methods:
        first = next(fold[method] for fold in found.values() if method in fold)
        learned = method not in (methods[0], "B0")
        shares = closed(of(method), of("B0"), of(methods[0])) if learned else {}
        gap = differences(of(method), of(TUNED)) if learned and method != TUNED else {}
        rows.append([label_of(method), *(text(of(method, key)) for key in first),
                     whole(shares) if shares else "", text(gap, signed=True)])  # fmt: skip
    classes = [*next(iter(next(iter(found.values())).values()))] if found else []
    return table(["IoU, %", *classes, "gap closed", "minus B2"], rows)


def sweep(found: Evidence) -> str:
    """L2-SP over alpha: new domain, what is kept of the old one, agreement on tune."""
    rows = []
    for what, (study, shift) in SWEEPS.items():
        for alpha in ("none", *ALPHAS):
            run = f"{METHOD}_l2_sp_{alpha}" if alpha in ALPHAS else f"{METHOD}_{alpha}"
            cells = [
                found.values(study, run, shift),
                found.values(study, run, ""),
                found.values(study, run, shift, "agreement", split=TUNE),
            ]
            if any(cells):
                strength = f"{ALPHAS[alpha]:g}" if alpha in ALPHAS else alpha
                rows.append([what, strength, *map(over_seeds, cells)])
    return table(("", "alpha", "D2 (photocopies)", "D1 kept", "agreement on tune"), rows)


def features(found: Evidence) -> str:
    """Relative distance and R2 of each layer's maps of x2 to the teacher's of x1."""
    rows, method = [], at_best(found, [METHOD])[METHOD]
    for shift in SHIFTS:
        layers: dict[str, list[tuple[dict, dict]]] = {}
        for _, old, new in maps_of(found, shift, method):
            layers.setdefault(old["layer"], []).append((old, new))
        for layer, pairs in layers.items():
            cells = [
                f"{sum(pair[when][key] for pair in pairs) / len(pairs):.2f}"
                for key in ("distance", "r2")
                for when in (0, 1)
            ]
            rows.append([shift, layer, *cells, str(len(pairs))])
    return table(("", "layer", "distance before", "after", "R2 before", "after", "n"), rows)


def classes(found: Evidence, protocol: str, shift: str) -> str:
    """IoU of every class, means over seeds; methods at their chosen rates."""
    study = GRID[protocol]
    columns: dict[str, list[Sequence[float | None]]] = {}
    runs = [("teacher on D1", "teacher", "")]
    runs += [(name, run, shift) for name, run in at_best(found, CLASSES).items()]
    for name, run, where in runs:
        if scores := found.find(study, run, where):
            columns[name] = [s.numbers["iou"] for s in scores.values()]
    return by_class(found, study, columns) if len(columns) > 1 else ""


def by_class(
    found: Evidence, study: str, columns: Mapping[str, Sequence[Sequence[float | None]]]
) -> str:
    """The classes of a study down; of each column, IoUs of all classes by seed, the means."""
    rows = []
    for place, of_class in enumerate(next((r["classes"] for r in found.of(study)), [])):
        means = [stat(iou[place] for iou in ious) for ious in columns.values()]
        rows.append([of_class, *(f"{m.mean:.1f}" if m else "-" for m in means)])
    return table(["IoU", *columns], rows)


# Pre-training against weight decay: Tables 1.1 and 1.2 of a thesis (Dai 2018)


def of_decay(found: Evidence, study: str, decay: str, score: str, split: str) -> Values:
    """Loss in nats or mIoU in percent."""
    return found.values(study, decay, "", score, split=DECAY_SPLITS[split])


def decay_cell(values: Values, score: str) -> str:
    spread = stat(values.values())
    if score == "miou" or spread is None:
        return percent(values)
    return f"{spread.mean:.3f}" + (f" ± {spread.std:.3f}" if spread.n > 1 else "")


def decays(found: Evidence, starts: Starts) -> str:
    """What the runs were, without decay (Table 1.1), and under each decay (Table 1.2)."""
    runs = [r for study in starts.values() for o in found.of(study) for r in o["runs"].values()]
    if not runs:
        return ""
    kinds = [(split, score) for score in DECAY_SCORES for split in DECAY_SPLITS]
    heads = [f"{DECAY_SCORES[score]}, {split}" for split, score in kinds]
    first = [
        [start, *(decay_cell(of_decay(found, study, "none", k, s), k) for s, k in kinds)]
        for start, study in starts.items()
    ]
    second = [
        [head, *(decay_pair(found, starts, decay, score, split) for decay in DECAYS)]
        for head, (split, score) in zip(heads, kinds, strict=True)
    ]
    budgets = sorted(
        {(r["samples"], r["steps"], round(r["steps"] * r["batch"] / r["samples"])) for r in runs}
    )
    parts = [
        "; ".join(f"{n} labelled images, {s:,} steps ({e} epochs)" for n, s, e in budgets) + ".",
        "**Without weight decay** (its Table 1.1)",
        table(["", *heads], first),
        f"**Under each decay** (its Table 1.2): {RAW} / {TRAINED}, the better in bold",
        table(["weight decay", *DECAYS.values()], second),
    ]
    return "\n\n".join(parts)


def decay_pair(found: Evidence, starts: Starts, decay: str, score: str, split: str) -> str:
    """`from scratch / pre-trained`; bold is the lower loss or the higher mIoU."""
    values = [of_decay(found, study, decay, score, split) for study in starts.values()]
    cells = [decay_cell(v, score) for v in values]
    if all(values):
        best = (min if score == "loss" else max)(range(2), key=lambda i: mean(values[i]))
        cells[best] = f"**{cells[best]}**"
    return " / ".join(cells)
