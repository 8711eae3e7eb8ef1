"""Cells of the shared grid again, with as many steps as the teacher and B1 have."""

from viz.evidence.rates import at_best
from viz.evidence.records import GRID, SHARED, SHIFTS, Evidence, shown, table
from viz.evidence.words import label_of

STUDY = "camvid_evidence_long"
METHODS = ("pool5", "w_inc_kd", "B2")
SCRATCH = "B1"


def longer(found: Evidence) -> str:
    """mIoU on val with the grid's steps and with more, of the seeds that have both; `` where
    nothing was run."""
    rows, seeds = [], set[int]()
    for name in at_best(found, METHODS).values():
        cells = []
        for shift in SHIFTS:
            more, less = (found.values(study, name, shift) for study in (STUDY, GRID[SHARED]))
            both = less.keys() & more.keys()
            cells += [shown({seed: v[seed] for seed in sorted(both)}) for v in (less, more)]
            seeds |= both
        rows.append([label_of(name), *cells])
    if not seeds:
        return ""
    scratch = []
    for shift in SHIFTS:
        scores = found.values(GRID[SHARED], SCRATCH, shift)
        scratch += ["", shown({seed: v for seed, v in scores.items() if seed in seeds})]
    rows.append([label_of(SCRATCH), *scratch])
    steps = [steps_of(found, study) for study in (GRID[SHARED], STUDY)]
    heads = [f"{shift}: {n:,} steps" for shift in SHIFTS for n in steps]
    return table(["", *heads], rows)


def steps_of(found: Evidence, study: str) -> int:
    """How many steps what adapts has in a study."""
    names = set(at_best(found, METHODS).values())
    return next(int(run["steps"]) for run in found.runs(study) if run["name"] in names)
