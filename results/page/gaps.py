"""Tables of studies: what each method scores, how much of the gap that a shift tears it closes, and
how far it is from B2, all within a seed."""

from collections.abc import Iterable
from typing import NamedTuple

from results.page.records import (
    GRID,
    SHARED,
    VAL,
    Evidence,
    Values,
    differences,
    mean,
    percent,
    table,
    with_minus,
)
from results.page.records_of_runs import TEACHER
from results.page.variations import LONG, LR, TUNED, at_best, shifts_of, steps_of
from results.page.words import NAMES, label_of, plain_label
from viz.report.tables import recovered

LONGER = {GRID[SHARED]: LONG, "camvid_full_width": "camvid_full_width_long"}
"""Study -> the one that has cells of it with more steps, from the same teachers."""
SCRATCH = "B1"
"""Has the teacher's steps, whatever the others have."""
WITHOUT = ("B0", "AdaBN", "ridge", "histogram", "fda", TUNED, SCRATCH)
"""What is not held against B2."""


class Column(NamedTuple):
    """A shift in a study, and what its table calls it."""

    head: str
    study: str
    shift: str


def closed(own: Values, b0: Values, clean: Values) -> Values:
    """Percent of the gap from B0 to the teacher's score on the old domain that a method closes,
    seed by seed; without seeds whose shift costs nearly nothing."""
    seeds = sorted(own.keys() & b0.keys() & clean.keys())
    shares = {seed: recovered(own[seed], b0[seed], clean[seed]) for seed in seeds}
    return {seed: share for seed, share in shares.items() if share is not None}


def shares(
    found: Evidence, study: str, run: str, shift: str, trained: str = "", split: str = VAL
) -> Values:
    """`closed` of a run of `study`, or of `trained`, which has its teachers."""
    where = ((trained or study, run, shift), (study, "B0", shift), (study, TEACHER, ""))
    return closed(*(found.values(*one, split=split) for one in where))


def whole(shares: Values) -> str:
    """Their mean in whole percent."""
    return with_minus(f"{mean(shares):.0f} %")


def columns(found: Evidence, study: str) -> list[Column]:
    """The shifts of a study, each with its numbers of steps where there are several."""
    made = []
    for shift in shifts_of(found, study):
        where = [study, LONGER.get(study, "")]
        there = [at for at in where if any(r["shift"] == shift for r in found.runs(at))]
        for at in there:
            head = f"{shift}: {steps_of(found, at):,} steps" if len(there) > 1 else shift
            made.append(Column(head, at, shift))
    return made


def standing(
    found: Evidence, study: str, names: Iterable[str] = (), rates: str = "", split: str = VAL
) -> str:
    """Methods down, shifts across: mIoU on a split and, in brackets, the share of the gap that is
    closed, then the differences to B2; `` where nothing was run. All methods without `names`;
    learning rates as the study `rates` chose them, which is the same one without it."""
    across, stems = columns(found, study), (n.partition(LR)[0] for n in found.names(study))
    best = at_best(found, names or dict.fromkeys((*NAMES, *stems)), rates or study)
    best.pop(TEACHER, None)

    def of(name: str, one: Column) -> Values:
        return found.values(one.study, best[name], one.shift, split=split)

    there = [name for name in best if any(of(name, one) for one in across)]
    methods = [name for name in there if name not in WITHOUT]
    if not methods:
        return ""
    clean = found.values(study, TEACHER, "", split=split)
    full = max(len(of(name, one)) for name in there for one in across)

    def cell(name: str, one: Column) -> str:
        own = of(name, one)
        way = shares(found, study, best[name], one.shift, one.study, split)
        text = percent(own, full=full) if own else ""
        return text + (f" ({whole(way)})" if way and name != "B0" else "")

    def minus(name: str, one: Column) -> str:
        gap = differences(of(name, one), of(TUNED, one))
        return percent(gap, signed=True, full=full)

    first = f"the teacher on the old images: {percent(clean, full=full)}"
    rows = [[first, *[""] * len(across)]]
    rows += [[label_of(name), *(cell(name, one) for one in across)] for name in there]
    if TUNED in there:
        rows += [
            [f"{plain_label(name)} minus B2", *(minus(name, one) for one in across)]
            for name in methods
        ]
    return table(["mIoU, % (gap closed)", *(one.head for one in across)], rows)
