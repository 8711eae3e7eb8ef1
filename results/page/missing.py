"""What the page is to show and what has not been run yet."""

from collections.abc import Sequence

from results.page import longer, worth
from results.page.claims import ALPHAS, METHOD, SHORT, SWEEPS
from results.page.decay import DECAYS, STARTS
from results.page.rates import at_best
from results.page.records import AGAIN, DISJOINT, GRID, SEEDS, SHARED, SHIFTS, Evidence
from results.page.repeats import PRECISION
from results.page.tables import OTHERS
from results.page.words import NAMES, plain_label

WANTED = {SHARED: tuple(NAMES), DISJOINT: tuple(n for n in NAMES if n not in (
    "pool1", "pool2", "pool3", "pool4", "w_dec", "B1"))}  # fmt: skip
"""Protocol -> what its grid is to have."""
APART = ("pool5", "pseudo_share", "kd", "pool5_kd", "w_inc_kd", "B2")
"""What is to be trained again with draws apart."""
SWEPT = tuple(f"{METHOD}_{name}" for name in ("none", *(f"l2_sp_{alpha}" for alpha in ALPHAS)))
MORE: tuple[tuple[str, str, Sequence[str], Sequence[str]], ...] = (
    ("B2 on shares of the labels", worth.STUDY, worth.SHARES, SHIFTS),
    ("other strengths", GRID[SHARED], ("B0", "AdaBN", METHOD, "B2"), OTHERS),
    ("B1 with as many steps as B2", SHORT, ("B1",), SHIFTS),
    ("in fp32", PRECISION.study, ("pool5",), SHIFTS),
    *((f"alpha, {what}", study, SWEPT, (shift,)) for what, (study, shift) in SWEEPS.items()),
    *((f"weight decay, {start}", study, tuple(DECAYS), ("",)) for start, study in STARTS.items()),
)
"""What it is called, study, names, shifts."""


def missing(found: Evidence) -> list[str]:
    """What the grids are to have and have not, a line for each protocol and method."""
    lines = []
    for protocol, names in WANTED.items():
        for name in at_best(found, names).values():
            gone = {
                shift: [s for s in SEEDS if s not in found.values(GRID[protocol], name, shift)]
                for shift in SHIFTS
            }
            if not any(gone.values()):
                continue
            if len({tuple(v) for v in gone.values()}) == 1:
                where = f"seeds {listed(gone[SHIFTS[0]])}"
            else:
                where = "; ".join(f"{s} seeds {listed(v)}" for s, v in gone.items() if v)
            lines.append(f"{protocol}, {plain_label(name)}: {where}")
    apart = tuple(at_best(found, APART).values())
    again = [(f"{p}, with draws apart", AGAIN[GRID[p]], apart, SHIFTS) for p in GRID]
    again.append(
        ("more steps", longer.STUDY, tuple(at_best(found, longer.METHODS).values()), SHIFTS)
    )
    for what, study, runs, shifts in (*again, *MORE):
        wanted = len(runs) * len(shifts) * len(SEEDS)
        there = sum(len(found.values(study, n, s)) for n in runs for s in shifts)
        if there < wanted:
            lines.append(f"{what}: {wanted - there} of {wanted} cells")
    if not any(machine["gpus"] for record in found.records for machine in record["machines"]):
        lines.append("full width at 480x360: no GPU could be had")
    return lines


def listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
