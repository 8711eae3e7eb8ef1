"""What the -SP penalties do in fine-tuning on labels, the question of 000 and 001: the page's
tables."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from results.page.records import (
    TUNE,
    VAL,
    Evidence,
    Score,
    Values,
    differences,
    mean,
    over_seeds,
    percent,
    table,
)
from results.page.tables import by_class

IMAGENET, PENALTIES, TRANSFER = "camvid_imagenet", "camvid_imagenet_penalties", "camvid_transfer"
MAP, WIDE = "camvid_finetune", "camvid_largefov"
NAMES = {
    "none": "none", "l2": "L2", "l2_sp": "L2-SP", "l2_sp_fisher": "L2-SP-Fisher",
    "l1_sp": "L1-SP", "gl_sp": "GL-SP", "gl_sp_fisher": "GL-SP-Fisher",
}  # fmt: skip
"""Penalty -> its name in 000 and 001."""
FEATURES, HE = "the features", "He's initialisation"
"""What a network of full width starts from."""
PAIR = ("l2", "l2_sp")
SHARES = {"5 %": "_share_0.05", "10 %": "_share_0.1", "25 %": "_share_0.25", "50 %": "_share_0.5",
          "100 %": ""}  # fmt: skip
QUARTER = SHARES["25 %"]


def scores(found: Evidence, study: str, penalty: str, ending: str = "") -> Values:
    """mIoU on val; from ImageNet with a quarter of the labels two studies have it, one of them for
    seeds that the other lacks."""
    place, quarter = (study, ending), ((IMAGENET, QUARTER), (PENALTIES, ""))
    every = quarter if place in quarter else (place,)
    return {seed: v for where, end in every
            for seed, v in found.values(where, f"{penalty}{end}", "").items()}  # fmt: skip


def minus(found: Evidence, study: str, ending: str = "") -> str:
    """L2-SP minus L2, seed by seed."""
    one, other = (scores(found, study, name, ending) for name in PAIR)
    return over_seeds(differences(other, one), signed=True)


def shares(found: Evidence) -> str:
    """mIoU by the share of the labels."""
    rows = []
    for share, ending in SHARES.items():
        cells = [scores(found, IMAGENET, name, ending) for name in PAIR]
        if all(cells):
            rows.append([share, *map(over_seeds, cells), minus(found, IMAGENET, ending)])
    return table(("labels", *(NAMES[name] for name in PAIR), "L2-SP minus L2"), rows)


def standing(found: Evidence) -> str:
    """At which shares all seeds agree which of the two is better."""
    signs: dict[str, list[str]] = {"is better": [], "is worse": [], "": []}
    for share, ending in SHARES.items():
        one, other = (scores(found, IMAGENET, name, ending) for name in PAIR)
        if gaps := differences(other, one).values():
            better, worse = all(gap > 0 for gap in gaps), all(gap < 0 for gap in gaps)
            signs["is better" if better else "is worse" if worse else ""].append(share)
    said = [f"in every seed L2-SP {how} with {', '.join(at)}" for how, at in signs.items()
            if how and at]  # fmt: skip
    said += [f"seeds disagree with {', '.join(signs[''])}"] if signs[""] else []
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]} of the labels." if said else ""


def classes(found: Evidence) -> str:
    """IoU of every class with a quarter of the labels, and with all, means over seeds."""
    columns = {
        f"{NAMES[name]}, {share}": [score.numbers["iou"] for score in every.values()]
        for share, ending in (("25 %", QUARTER), ("100 %", ""))
        for name in PAIR
        if (every := found.find(IMAGENET, f"{name}{ending}", ""))
    }
    return by_class(found, IMAGENET, columns) if columns else ""


def wide(found: Evidence) -> str:
    """mIoU of the network of full width by the share of the labels, then IoU by class."""
    made: dict[float, dict[str, dict[int, Score]]] = {}
    for score in scored(found, VAL, WIDE):
        if start_of(score.run) == FEATURES:
            cells = made.setdefault(score.run["share"], {})
            cells.setdefault(score.run["penalty"], {})[score.seed] = score
    rows, columns, study = [], {}, ""
    for share, cells in sorted(made.items()):
        for name, own in cells.items():
            columns[f"{NAMES[name]}, {100 * share:g} %"] = [s.numbers["iou"] for s in own.values()]
            study = next(s.study for s in own.values())
        one, other = ({s: score.numbers["miou"] for s, score in cells.get(name, {}).items()}
                      for name in PAIR)  # fmt: skip
        gap = over_seeds(differences(other, one), signed=True)
        rows.append([f"{100 * share:g} %", over_seeds(one), over_seeds(other), gap])
    shares = table(("labels", *(NAMES[name] for name in PAIR), "L2-SP minus L2"), rows)
    return f"{shares}\n\n{by_class(found, study, columns)}" if rows else ""


def starts(found: Evidence) -> str:
    """The network of full width from each start under L2, at the strength and the rate that are
    best on `tune`; `` until both have one."""
    tuned = [s for s in scored(found, TUNE, f"{WIDE}_tuning") if s.run["penalty"] == "l2"]
    rows = []
    for start in (FEATURES, HE):
        if own := [score for score in tuned if start_of(score.run) == start]:
            best = max(own, key=lambda score: score.numbers["miou"])
            val = [s for s in scored(found, VAL, WIDE) if s.run["weights"] == best.run["weights"]]
            on_val = f"{val[0].numbers['miou']:.1f}" if val else "-"
            alpha, rate = (f"{best.run[name]:g}" for name in ("alpha", "lr"))
            rows.append([start, str(len(own)), alpha, rate, f"{best.numbers['miou']:.1f}", on_val])
    heads = ("start", "candidates", "alpha", "rate", "mIoU on tune", "mIoU on val")
    return table(heads, rows) if len(rows) > 1 else ""


def scored(found: Evidence, split: str, studies: str) -> list[Score]:
    """Of all studies whose names begin so."""
    return [s for s in found.scores if s.study.startswith(studies) and s.split == split]


def start_of(run: Mapping[str, Any]) -> str:
    return FEATURES if run["teacher"] else HE


def chosen(found: Evidence, study: str) -> str:
    """All candidates of strength and rate on `tune`, each penalty's best in bold."""
    runs: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for score in scored(found, TUNE, f"{study}_tuning"):
        start = f", {HE}" if start_of(score.run) == HE else ""
        name = f"{NAMES[score.run['penalty']]}{start}"
        runs.setdefault(name, []).append((score.numbers["miou"], score.run))
    rows = []
    for name in (f"{name}{start}" for start in ("", f", {HE}") for name in NAMES.values()):
        every = sorted(runs.get(name, []), key=lambda each: (each[1]["lr"], each[1]["alpha"]))
        best = max((miou for miou, _ in every), default=0.0)
        for miou, run in every:
            cell = f"**{miou:.1f}**" if miou == best else f"{miou:.1f}"
            alpha = f"{run['alpha']:g}" if run["alpha"] else ""
            rows.append([name, alpha, f"{run['lr']:g}", cell])
    return table(("penalty", "alpha", "rate", "mIoU on tune"), rows)


def analysed(found: Evidence, study: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Run -> seed -> what the analyses say."""
    made: dict[str, dict[int, dict[str, Any]]] = {}
    for record in found.of(study):
        for run, own in record.get("analyses", {}).items():
            made.setdefault(run, {})[record["seed"]] = own
    return made


def penalties(found: Evidence, study: str) -> str:
    """mIoU under each penalty and what is kept of the old task, where that was measured."""
    if not (none := scores(found, study, "none")):
        return ""
    kept, rows = analysed(found, study), []
    before = {seed: own["source"]["before"] for seed, own in kept.get("none", {}).items()}
    for penalty, name in NAMES.items():
        if own := scores(found, study, penalty):
            after = {seed: one["source"]["after"] for seed, one in kept.get(penalty, {}).items()}
            difference = differences(own, none)
            rows.append([
                name, over_seeds(own),
                over_seeds(difference, signed=True) if penalty != "none" else "",
                *([over_seeds(after)] if kept else []),
            ])  # fmt: skip
    heads = ["penalty", "mIoU", "minus none"]
    return table([*heads, f"kept of {percent(before)} on the source"] if kept else heads, rows)


def layers(found: Evidence) -> str:
    """|w - w0| / |w0| of each convolution and the median R2 of its units, means over seeds."""
    kept = {name: own for name in NAMES if (own := analysed(found, TRANSFER).get(name))}
    rows = []
    for layer in layers_of(kept):
        cells = []
        for key, place in (("weights", layer), ("activations", activation(layer))):
            for own in kept.values():
                values = {s: one[key][place] for s, one in own.items() if place in one.get(key, {})}
                cells.append(f"{mean(values):.2f}" if values else "-")
        rows.append([layer, *cells])
    heads = [f"{what}, {NAMES[name]}" for what in ("moved", "R2") for name in kept]
    return table(["layer", *heads], rows) if kept else ""


def layers_of(kept: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[str]:
    """The convolutions: batch norm's weights stand between them."""
    for own in kept.values():
        for one in own.values():
            return [layer for layer in one["weights"] if activation(layer) in one["activations"]]
    return []


def activation(convolution: str) -> str:
    """The ReLU behind a convolution and its batch norm: conv3.3 -> conv3.5."""
    return re.sub(r"\d+$", lambda number: str(int(number[0]) + 2), convolution)


def freezing(found: Evidence) -> str:
    """mIoU with the first k layers kept as they were (001, Figure 3), of the seeds that have it."""
    runs = [run for run in found.names(TRANSFER) if "_freeze_" in run]
    seeds = {s.seed for s in found.scores if s.study == TRANSFER and s.name in runs}
    counts = {run.rpartition("_")[2] for run in runs}
    rows = []
    for count in sorted({"0", *counts}, key=int):
        ending = f"_freeze_{count}" if count != "0" else ""
        cells = [{s: v for s, v in scores(found, TRANSFER, name, ending).items() if s in seeds}
                 for name in PAIR]  # fmt: skip
        gap = differences(cells[1], cells[0])
        rows.append([count, *map(over_seeds, cells), over_seeds(gap, signed=True)])
    return table(("frozen", *(NAMES[n] for n in PAIR), "L2-SP minus L2"), rows) if runs else ""


def strengths(found: Evidence) -> str:
    """mIoU on `tune` over alpha (down) and beta (across), L2-SP."""
    grid: dict[float, dict[float, float]] = {}
    for score in found.scores:
        if score.study == MAP and score.split == TUNE and score.run["penalty"] == "l2_sp":
            grid.setdefault(score.run["alpha"], {})[score.run["beta"]] = score.numbers["miou"]
    betas = sorted({beta for row in grid.values() for beta in row})
    rows: Iterable[list[str]] = (
        [f"{alpha:g}", *(f"{row[beta]:.1f}" if beta in row else "-" for beta in betas)]
        for alpha, row in sorted(grid.items())
    )
    return table(["alpha, beta", *(f"{beta:g}" for beta in betas)], rows)
