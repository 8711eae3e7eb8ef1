"""Learning rates of what a user would try instead, chosen by label-free agreement on `tune`."""

from collections.abc import Mapping, Sequence
from typing import Any

from viz.evidence.records import GRID, SEEDS, SHARED, SHIFTS, Evidence, mean, shown, table
from viz.evidence.words import label_of

TUNE = "tune"
LR = "_lr_"


def scored(found: Evidence) -> dict[str, dict[str, dict[int, float]]]:
    """Objective -> run at one of its rates -> number of the shift -> agreement on `tune` of the
    first seed, for objectives that were run at several."""
    study = GRID[SHARED]
    stems = dict.fromkeys(n.partition(LR)[0] for n in found.names(study) if LR in n)
    return {
        stem: {
            name: agreements(found, name)
            for name in found.names(study)
            if name == stem or name.startswith(f"{stem}{LR}")
        }
        for stem in stems
    }


def agreements(found: Evidence, name: str) -> dict[int, float]:
    made = {}
    for place, shift in enumerate(SHIFTS):
        values = found.values(GRID[SHARED], name, shift, "agreement", split=TUNE)
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


def rates(found: Evidence) -> str:
    """What each learning rate gives, and which one agreement on `tune` chooses."""
    study, rows, best = GRID[SHARED], [], chosen(found)
    for stem, names in scored(found).items():
        for name, values in names.items():
            tune = [f"{values[i]:.1f}" if i in values else "-" for i in range(len(SHIFTS))]
            val = [shown(found.values(study, name, s)) for s in SHIFTS]
            mark = "chosen" if best.get(stem) == name else ""
            rows.append([label_of(stem), f"{rate_of(found, name):g}", *tune, mark, *val])
    heads = ("", "rate", *(f"{s}: agreement" for s in SHIFTS), "", *(f"{s}: mIoU" for s in SHIFTS))
    return table(heads, rows) if rows else ""


def rate_of(found: Evidence, name: str) -> float:
    """The learning rate of a run of the shared grid; 0 = no such run."""
    return next((float(run["lr"]) for run in runs_of(found, name)), 0.0)


def runs_of(found: Evidence, name: str) -> Sequence[Mapping[str, Any]]:
    return [s.run for s in found.scores if s.study == GRID[SHARED] and s.name == name]


def settings(found: Evidence) -> dict[str, list[float]]:
    """The chosen rates as experiment camvid_evidence_alternatives has them."""
    return {stem: [rate_of(found, name)] for stem, name in chosen(found).items()}
