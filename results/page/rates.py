"""Learning rates chosen on `tune`: by label-free agreement, but B2's by its labels."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results.page.records import GRID, SEEDS, SHARED, SHIFTS, Evidence, mean, shown, table
from results.page.words import label_of

TUNE = "tune"
LR = "_lr_"
TUNED = "B2"
"""What has labels to choose by."""


def scored(found: Evidence) -> dict[str, dict[str, dict[int, float]]]:
    """Objective or B2 -> run at one of its rates -> number of the shift -> score on `tune` of the
    first seed, for those that were run at several."""
    study = GRID[SHARED]
    stems = dict.fromkeys(n.partition(LR)[0] for n in found.names(study) if LR in n)
    return {
        stem: {
            name: on_tune(found, name)
            for name in found.names(study)
            if name == stem or name.startswith(f"{stem}{LR}")
        }
        for stem in stems
    }


def on_tune(found: Evidence, name: str) -> dict[int, float]:
    """Agreement, or mIoU of what has labels."""
    made, key = {}, "miou" if name.startswith(TUNED) else "agreement"
    for place, shift in enumerate(SHIFTS):
        values = found.values(GRID[SHARED], name, shift, key, split=TUNE)
        if SEEDS[0] in values:
            made[place] = values[SEEDS[0]]
    return made


def chosen(found: Evidence) -> dict[str, str]:
    """Objective -> its run of the highest mean agreement over the shifts; none before all rates of
    it have been scored on all shifts."""
    best = {}
    for stem, names in scored(found).items():
        if all(len(values) == len(SHIFTS) for values in names.values()):
            best[stem] = max(names, key=lambda name: mean(names[name]))
    return best


def at_best(found: Evidence, names: Iterable[str]) -> dict[str, str]:
    """Name -> its run at the chosen rate; itself where nothing was chosen."""
    best = chosen(found)
    return {name: best.get(name, name) for name in names}


def rejected(found: Evidence) -> set[str]:
    """Runs at a rate that was not chosen."""
    best = chosen(found)
    return {n for stem, names in scored(found).items() for n in names if best.get(stem, n) != n}


def rates(found: Evidence) -> str:
    """What each learning rate gives, and which one agreement on `tune` chooses."""
    study, rows, best = GRID[SHARED], [], chosen(found)
    for stem, names in scored(found).items():
        for name, values in names.items():
            tune = [f"{values[i]:.1f}" if i in values else "-" for i in range(len(SHIFTS))]
            val = [shown(found.values(study, name, s)) for s in SHIFTS]
            mark = "chosen" if best.get(stem) == name else ""
            rows.append([label_of(stem), f"{rate_of(found, name):g}", *tune, mark, *val])
    heads = ("", "rate", *(f"{s}: tune" for s in SHIFTS), "", *(f"{s}: mIoU" for s in SHIFTS))
    return table(heads, rows) if rows else ""


def rate_of(found: Evidence, name: str) -> float:
    """The learning rate of a run of the shared grid; 0 = no such run."""
    return next((float(run["lr"]) for run in runs_of(found, name)), 0.0)


def runs_of(found: Evidence, name: str) -> Sequence[Mapping[str, Any]]:
    return [run for run in found.runs(GRID[SHARED]) if run["name"] == name]


def settings(found: Evidence) -> dict[str, list[float]]:
    """The chosen rates of what has no labels, as camvid_evidence_alternatives has them."""
    return {s: [rate_of(found, name)] for s, name in chosen(found).items() if s != TUNED}
