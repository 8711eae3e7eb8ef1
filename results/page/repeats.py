"""Cells of the shared grid that were trained again with one thing changed."""

from dataclasses import dataclass

from results.page.records import (
    AGAIN,
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
from results.page.words import plain_label


@dataclass(frozen=True)
class Repeat:
    """A study that repeats cells of the grid, and what the two are called."""

    study: str
    changed: str
    grid: str


PRECISION = Repeat("camvid_evidence_fp32", "fp32", "bf16")
DRAWS = Repeat(AGAIN[GRID[SHARED]], "apart", "one number")


def repeated(found: Evidence, repeat: Repeat) -> str:
    """mIoU of both and the difference within a seed, of every cell that was trained in both."""
    found, rows = found.as_recorded(), []
    for shift in SHIFTS:
        for method in found.names(repeat.study):
            again = found.values(repeat.study, method, shift)
            grid = found.values(GRID[SHARED], method, shift)
            apart = differences(grid, again)
            if apart:
                both = ({seed: one[seed] for seed in apart} for one in (again, grid))
                each = (mean(apart), max(apart.values(), key=abs))
                rows.append([
                    f"{shift}, {plain_label(method)}",
                    *(shown(values, full=len(SEEDS)) for values in both),
                    *(f"{x:+.2f}".replace("-", "\u2212") for x in each),
                ])  # fmt: skip
    heads = ("", repeat.changed, repeat.grid, f"{repeat.grid} minus {repeat.changed}, mean")
    return table([*heads, "largest of a seed"], rows) if rows else ""
