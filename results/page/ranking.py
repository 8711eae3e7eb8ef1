"""Does the label-free agreement rank checkpoints as true mIoU does?"""

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import spearmanr

from results.page.records import GRID, SHIFTS, Evidence
from results.page.verdicts import Part, Verdict

RANKED = 0.8
"""Spearman's rho from which on agreement counts as ranking checkpoints."""
FEWEST = 5
"""Checkpoints below which no rank correlation is computed."""


class Checkpoint(NamedTuple):
    """An evaluated checkpoint of an adapted student."""

    protocol: str
    shift: str
    seed: int
    agreement: float
    miou: float


def checkpoints(found: Evidence) -> list[Checkpoint]:
    """Of all students, those that were trained again included."""
    protocols = {at: p for p, study in GRID.items() for at in found.places(study)}
    return [
        Checkpoint(
            protocols[record["study"]], run["shift"], record["seed"],
            point["agreement_miou"], point["miou"],
        )
        for record in found.records
        if record["study"] in protocols
        for run in record["runs"].values()
        if run["shift"] in SHIFTS
        for point in run["curve"]
        if "agreement_miou" in point
    ]  # fmt: skip


def correlation(points: Sequence[Checkpoint]) -> float | None:
    """Spearman's rho; None of too few."""
    if len(points) < FEWEST:
        return None
    return float(spearmanr([p.agreement for p in points], [p.miou for p in points]).statistic)


def ranked(found: Evidence) -> Verdict:
    """Judged within shifts: over all of them any score would rise and fall with the others."""
    points = checkpoints(found)
    parts, pooled, own = [], [], []
    for protocol in GRID:
        there = [p for p in points if p.protocol == protocol]
        if (rho := correlation(there)) is not None:
            pooled.append(f"{protocol}: {rho:.2f} over {len(there)}")
        for shift in SHIFTS:
            dots = [p for p in there if p.shift == shift]
            if (rho := correlation(dots)) is None:
                continue
            told = f"{protocol}, {shift}: {rho:.2f} over {len(dots)}"
            parts.append(Part(f"{protocol} {shift}", {0: rho}, RANKED, told=told))
            if alone := of_one_teacher(dots):
                own.append(f"{protocol}, {shift}: {alone}")
    claim = (
        "Label-free agreement ranks a shift's checkpoints as true mIoU does (Spearman's rho above "
        f"{RANKED:g})"
    )
    notes = [f"Checkpoints of all shifts together: {'; '.join(pooled)}."] * bool(pooled)
    if own:
        notes.append(
            "Reason tested: each seed has its teacher, and a user chooses among the students of "
            f"one. Within a seed, {'; '.join(own)}."
        )
    return Verdict("i", claim, parts, notes)


def of_one_teacher(points: Sequence[Checkpoint]) -> str:
    """The correlation within each seed."""
    seeds = sorted({p.seed for p in points})
    found = [correlation([p for p in points if p.seed == seed]) for seed in seeds]
    return ", ".join(f"{rho:.2f}" for rho in found if rho is not None)
