"""Cells of the shared grid again, with as many steps as the teacher and B1 have."""

from collections.abc import Set as AbstractSet

from results.page.rates import at_best
from results.page.records import GRID, SHARED, SHIFTS, Evidence, shown, table
from results.page.words import label_of, plain_label

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
            cells += [shown_of(both, v) for v in (less, more)]
            seeds |= both
        rows.append([label_of(name), *cells])
    if not seeds:
        return ""
    scratch = []
    for shift in SHIFTS:
        scratch += ["", shown_of(seeds, found.values(GRID[SHARED], SCRATCH, shift))]
    rows.append([label_of(SCRATCH), *scratch])
    steps = [steps_of(found, study) for study in (GRID[SHARED], STUDY)]
    heads = [f"{shift}: {n:,} steps" for shift in SHIFTS for n in steps]
    return table(["", *heads], rows)


def sentence(found: Evidence) -> str:
    """The scores of more steps, with B1's, for the README's front; `` before all were run."""
    names = at_best(found, METHODS).values()
    more = {name: [found.values(STUDY, name, shift) for shift in SHIFTS] for name in names}
    seeds = set[int].intersection(*(set(v) for values in more.values() for v in values))
    if not seeds:
        return ""
    more[SCRATCH] = [found.values(GRID[SHARED], SCRATCH, shift) for shift in SHIFTS]
    told = [
        f"{plain_label(name).partition(':')[0]} " + " / ".join(shown_of(seeds, v) for v in values)
        for name, values in more.items()
    ]
    count = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    steps = [f"{steps_of(found, study):,}" for study in (STUDY, GRID[SHARED])]
    return (
        f"With {steps[0]} steps instead of {steps[1]}, as many as B1 has ({' / '.join(SHIFTS)}, "
        f"{count}): {'; '.join(told)}."
    )


def shown_of(seeds: AbstractSet[int], scores: dict[int, float]) -> str:
    """The scores of these seeds."""
    return shown({seed: score for seed, score in scores.items() if seed in seeds})


def steps_of(found: Evidence, study: str) -> int:
    """How many steps what adapts has in a study."""
    names = set(at_best(found, METHODS).values())
    return next(int(run["steps"]) for run in found.runs(study) if run["name"] in names)
