"""The contest of objectives: what its records choose and show, as docs/contest.md has it."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import t

from adapt.disk.files import read_mapping, read_text, write_whole
from adapt.errors import InputError
from adapt.machine.runtime import say
from results.page import front, records
from results.page.choosing import (
    DISJOINT,
    KEPT,
    LAYERS,
    LONG,
    MAIN,
    ONE,
    REFERENCE,
    SHIFTS,
    UNTRAINED,
    choices,
    chosen,
    score,
    winner,
)
from results.page.records import (
    GRID,
    SEEDS,
    SHARED,
    TUNE,
    VAL,
    Evidence,
    Values,
    days,
    differences,
    mean,
    percent,
    table,
    with_minus,
)
from results.page.records_of_runs import TEACHER, record
from results.page.variations import TUNED, at_best

TITLES = {
    MAIN: "500 steps, pairs shared with the teacher (rounds 1 and 2)",
    DISJOINT: "500 steps, pairs that the teacher has not seen (round 2)",
    LONG: "3,000 steps, pairs shared with the teacher (round 3)",
}
TAUGHT = {LONG: MAIN, LAYERS: MAIN}
"""Study -> the one whose teachers it has."""
HALVES = ("watch", "judge")
"""Of the tuning part, in time to quality."""
SINGLE = tuple(f"pool{number}" for number in range(1, 6))
BY_PAIRS = "pairs"
"""The student of the layers that 70 training pairs choose (`taps=pairs`)."""
AIM, SLACK = 2.0, 0.5
"""mIoU above B2 that is aimed at where there is room, and below it where there is none."""


def contest(
    runs: Sequence[Path] = (),
    folder: Path = Path("results/contest"),
    page: Path = Path("docs/contest.md"),
    evidence: Path = Path("results/evidence"),
) -> None:
    """Record studies in `folder`, then write what stands between the marks in `page`.

    Raises:
        InputError: a study without finished runs, or a student of another teacher than its seed's.
    """
    for study in runs:
        for path in record(study, folder):
            say(f"{path}: recorded")
    found = Evidence(records.load(folder).records if any(folder.glob("*_seed*.json")) else [], {})
    parts = [power(records.load(evidence)), "## Results", *results(found)]
    if (speedrun := folder.parent / "speedrun.json").is_file():
        parts += ["## Time to quality, measured", quickest(read_mapping(speedrun))]
    text = "\n\n".join(parts)
    write_whole(page, front.placed(read_text(page), text, str(page)))
    say(f"{page}: {len(found.records)} records, {len(found.scores)} evaluations")


def results(found: Evidence) -> Iterable[str]:
    """Provenance, choices, and the tables of val, as far as they were run."""
    if not found.records:
        return ["Not run yet."]
    parts = [provenance(found)]
    for study in (MAIN, LONG):
        if found.of(study):
            parts += [f"### Choosing on `{TUNE}`: {TITLES[study]}", choices(found, study)]
    for study, title in TITLES.items():
        if tables := scores(found, study):
            parts += [f"### Scores on `{VAL}`: {title}", *tables]
    if found.of(LAYERS):
        parts += ["### Which layers?", *(layers(found, split) for split in (TUNE, VAL))]
    return parts


def quickest(record: Mapping[str, Any]) -> str:
    """Recipes of scripts/speedrun.py beside the long training: CPU seconds and images, and whether
    agreement is within a point of the long one's on `watch`, and on `judge`, in how many runs."""
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for one in record["found"]:
        cells.setdefault(one["recipe"], []).append(one)
    long = {(one["shift"], one["seed"]): one for one in next(iter(cells.values()))}
    rows = []
    for name, every in cells.items():
        beside = [(one, long[one["shift"], one["seed"]]) for one in every]
        behind = {part: [one[part] - base[part] for one, base in beside] for part in HALVES}
        there = [f"{sum(b >= -1 for b in behind[part])} of {len(every)}" for part in HALVES]
        spent = statistics.fmean(one["seconds"] for one in every)
        share = statistics.fmean(one["seconds"] / base["seconds"] for one, base in beside)
        images = f"{statistics.fmean(one['images'] for one in every):,.0f}"
        less = f"{statistics.fmean(behind['judge']):+.1f}"
        rows.append([name, f"{spent:.0f}", f"{share:.2f}", images, less, *there])
    heads = ("", "CPU seconds", "of the long one's", "images", "agreement on judge, minus its",
             "there on watch", "there on judge")  # fmt: skip
    return table(heads, rows) + f"\n\n*{record['machine']}, {record['date']}.*"


def provenance(found: Evidence) -> str:
    """When and where, and the teachers.

    Raises:
        InputError: a student whose teacher is not that of its study and seed.
    """
    digests = {(r["study"], r["seed"]): r["runs"][TEACHER]["weights"]
               for r in found.records if TEACHER in r["runs"]}  # fmt: skip
    for one in found.records:
        wanted = digests.get((TAUGHT.get(one["study"], one["study"]), one["seed"]))
        for name, run in one["runs"].items():
            if run["teacher"] and wanted and run["teacher"] != wanted:
                raise InputError(
                    f"records: {one['study']}, seed {one['seed']}, {name}: its teacher has SHA-256 "
                    f"{run['teacher']}, that of the contest {wanted}"
                )
    machines = sorted({f"{m['cpu']}, {m['threads']} thread(s), {m['precision']}"
                       for r in found.records for m in r["machines"]})  # fmt: skip
    runs = [run for r in found.records for run in r["runs"].values()]
    hours = sum(run["seconds"] for run in runs) / 3600
    known = "; ".join(
        f"{study}, seed {seed}: `{sha[:16]}`" for (study, seed), sha in digests.items()
    )
    return (
        f"*{days(runs)}; {'; '.join(machines)}; {len(runs)} trainings, {hours:.1f} hours. Teachers "
        f"by the beginning of their SHA-256: {known}.*"
    )


def scores(found: Evidence, study: str) -> list[str]:
    """A table for the mean of the shifts and one for each, of what was scored on val; and whether
    the winner reaches the aim."""
    views = {"mean of the shifts": SHIFTS, **{shift: (shift,) for shift in SHIFTS}}
    tables = [f"**{title}**\n\n{made}" for title, shifts in views.items()
              if (made := of_shifts(found, study, shifts))]  # fmt: skip
    return tables + ([aims(found, study)] if tables and winner(found) else [])


def of_shifts(found: Evidence, study: str, shifts: Sequence[str]) -> str:
    """Every method on val, the best first; `` where none was scored."""
    home, names = TAUGHT.get(study, study), chosen(found, study)
    scored = {m: v for m, n in names.items() if (v := score(found, study, n, VAL, shifts=shifts))}
    if not scored:
        return ""
    order = sorted(scored, key=lambda method: -mean(scored[method]))
    clean = percent(found.values(home, TEACHER, ""))
    rows = [["the teacher on the old images: the ceiling", clean, "", "", "", ""]]
    for method in (*UNTRAINED, *ONE, *order):
        place = (home, method) if method in UNTRAINED else (study, names.get(method, method))
        keys = ("miou", "agreement", KEPT)
        own, *others = (score(found, *place, VAL, key, shifts) for key in keys)
        if not own:
            continue
        gaps = (differences(own, scored[other]) if other in scored and other != method else {}
                for other in (TUNED, REFERENCE))  # fmt: skip
        rows.append([method, *map(percent, (own, *others)), *map(interval, gaps)])
    heads = ("", "mIoU", "agreement", KEPT, f"minus {TUNED}", f"minus {REFERENCE}")
    return table(heads, rows)


def aims(found: Evidence, study: str) -> str:
    """What the winner was to reach on each shift, and what it reached; means over seeds."""
    names, rows = chosen(found, study), []
    clean = found.values(TAUGHT.get(study, study), TEACHER, "")
    for shift in SHIFTS:
        b2, won = (found.values(study, names.get(m, ""), shift) for m in (TUNED, winner(found)))
        if b2 and won and clean:
            room = mean(clean) >= mean(b2) + AIM
            wanted = mean(b2) + AIM if room else min(mean(b2), mean(clean)) - SLACK
            reached = "reached" if mean(won) >= wanted else "missed"
            rows.append([shift, f"{wanted:.1f}", f"{mean(won):.1f}", reached])
    return table(("the winner", "aim", "mIoU", ""), rows)


def layers(found: Evidence, split: str) -> str:
    """Students of single layers and of several beside those of the layers that are chosen without
    training; and whether the choice by pairs is the one that training makes. `` where none was
    scored."""
    homes = {m: (MAIN, n) for m, n in chosen(found, MAIN).items() if m in ("pool5", "w_inc")}
    homes |= {name: (LAYERS, name) for name in found.names(LAYERS)}
    each = {
        shift: {
            m: v[SEEDS[0]] for m, at in homes.items()
            if SEEDS[0] in (v := found.values(*at, shift, split=split))
        }
        for shift in SHIFTS
    }  # fmt: skip
    took = {run["shift"]: run["taps"] for run in found.runs(LAYERS) if run["name"] == BY_PAIRS}
    each = {shift: of for shift, of in each.items() if BY_PAIRS in of and {*SINGLE} <= of.keys()}
    if not each:
        return ""
    rows = [[m, *(f"{of[m]:.1f}" for of in each.values())] for m in homes
            if all(m in of for of in each.values())]  # fmt: skip
    best = {shift: max(SINGLE, key=of.__getitem__) for shift, of in each.items()}
    answers = [
        ["the best layer alone", *best.values()],
        [f"taps={BY_PAIRS} took", *(", ".join(took[shift]) for shift in each)],
        ["its student minus the best layer's",
         *(with_minus(f"{of[BY_PAIRS] - of[best[shift]]:+.1f}") for shift, of in each.items())],
    ]  # fmt: skip
    return f"mIoU on `{split}`, one seed.\n\n{table(('', *each), [*rows, *answers])}"


def interval(values: Values) -> str:
    """Mean of paired differences with its 95 % interval by Student's t over the seeds."""
    if not values:
        return ""
    if len(values) == 1:
        return with_minus(f"{mean(values):+.1f} (one seed)")
    ends = (mean(values) + sign * half_width(statistics.stdev(values.values()), len(values))
            for sign in (-1, 1))  # fmt: skip
    return with_minus(f"{mean(values):+.1f} ({' to '.join(f'{end:+.1f}' for end in ends)})")


def half_width(deviation: float, seeds: int) -> float:
    return float(t.ppf(0.975, seeds - 1)) * deviation / math.sqrt(seeds)


def power(found: Evidence) -> str:
    """What the spread of paired differences in the earlier records lets this contest see."""
    study, rows = GRID[SHARED], []
    names = at_best(found, ("pool5", "w_inc", "w_inc_kd", "kd", "pool5_kd", "pseudo_share", TUNED))
    for title, shifts in {**{s: (s,) for s in records.SHIFTS}, "mean": records.SHIFTS}.items():
        cells = [title]
        for other in (TUNED, REFERENCE):
            spreads = []
            for method, name in names.items():
                each = [found.gap(study, name, names[other], s) for s in shifts]
                gaps = [statistics.fmean(v[seed] for v in each) for seed in SEEDS]
                spreads += [statistics.variance(gaps)] if method != other else []
            deviation = math.sqrt(statistics.fmean(spreads))
            cells += [f"{deviation:.1f}", f"{half_width(deviation, len(SEEDS)):.1f}"]
        rows.append(cells)
    heads = ("", f"minus {TUNED}: deviation of a seed", f"half of the interval, {len(SEEDS)} seeds",
             f"minus {REFERENCE}: deviation", "half of the interval")  # fmt: skip
    return table(heads, rows)
