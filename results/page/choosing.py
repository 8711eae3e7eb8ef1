"""What the contest's records choose on the tuning part: rates, methods and the winner."""

import math
import statistics
from collections.abc import Iterable, Sequence

from results.page import records
from results.page.records import SEEDS, TUNE, Evidence, Values, percent, table
from results.page.records_of_runs import TEACHER
from results.page.variations import LR, TUNED

MAIN, DISJOINT = "camvid_contest", "camvid_contest_round2_disjoint"
LONG, LAYERS = "camvid_contest_round3", "camvid_contest_layers"
SHIFTS = (*records.SHIFTS, "camera")
RATE_ON = ("ripple",)
"""Where a method's rate is chosen, for all of SHIFTS."""
REFERENCE = "w_inc_kd"
UNTRAINED = ("B0", "AdaBN", "ridge")
ONE = ("merged", "together")
"""One network for all shifts, of REFERENCE's students and of all pairs at once; no competitors."""
KEPT = "kept"
CANDIDATES = 2
"""Rates of every method. One that diverged has lost."""
ADVANCE, TIE, FASTER = 3, 0.5, 0.9
"""Methods at most that go on to round 2; mIoU within which the faster of two methods wins; the
share of another's time that it takes at most."""
Runs = dict[str, str]
"""Method -> the name of its run at the chosen rate."""


def score(
    found: Evidence,
    study: str,
    name: str,
    split: str,
    key: str = "miou",
    shifts: Sequence[str] = SHIFTS,
) -> Values:
    """Seed -> mean over the shifts, of seeds that have all of them; KEPT = mIoU of each shift's
    student on the old domain, or of the one network for all shifts; B0 is the teacher."""
    kept_of = TEACHER if name == "B0" else name

    def of(shift: str) -> Values:
        if key != KEPT:
            return found.values(study, name, shift, key, split=split)
        return {
            s.seed: s.numbers["miou"] for s in found.scores
            if (s.study, s.name, s.shift, s.split) == (study, kept_of, "", split)
            and ("/" not in s.numbers["run"] or s.run["shift"] == shift)
        }  # fmt: skip

    each = [of(shift) for shift in shifts]
    return {s: statistics.fmean(v[s] for v in each) for s in each[0] if all(s in v for v in each)}


def methods(found: Evidence, study: str) -> dict[str, list[str]]:
    """Method -> its runs at each rate, those that diverged among them."""
    made: dict[str, list[str]] = {}
    lost = (run.rpartition("/")[2] for run in diverged(found, study))
    for name in dict.fromkeys((*found.names(study), *lost)):
        if name not in (TEACHER, *UNTRAINED, *ONE):
            made.setdefault(name.partition(LR)[0], []).append(name)
    return made


def diverged(found: Evidence, study: str) -> list[str]:
    """Trainings of the first seed that ended without a network, as SHIFT/NAME."""
    first = (record for record in found.of(study) if record["seed"] == SEEDS[0])
    return [run for record in first for run in record.get("diverged", ())]


def candidates(found: Evidence, study: str) -> dict[str, list[str]]:
    """Method -> its runs at each rate that did not diverge on RATE_ON, once all of them are scored
    on `tune` there."""
    lost = diverged(found, study)
    left = {
        method: [n for n in names if not {f"{shift}/{n}" for shift in RATE_ON} & {*lost}]
        for method, names in methods(found, study).items() if len(names) >= CANDIDATES
    }  # fmt: skip

    def scored(name: str) -> bool:
        return SEEDS[0] in score(found, study, name, TUNE, shifts=RATE_ON)

    return {method: runs for method, runs in left.items() if runs and all(map(scored, runs))}


def chosen(found: Evidence, study: str) -> Runs:
    """Method -> its run of the highest agreement on RATE_ON's `tune` of the first seed, B2's of the
    highest mIoU there. What chooses nothing of its own has the choice of the first rounds."""
    if study == DISJOINT:
        return chosen(found, MAIN)
    return {
        method: max(runs, key=lambda n: score(found, study, n, TUNE, key, RATE_ON)[SEEDS[0]])
        for method, runs in candidates(found, study).items()
        for key in ("miou" if method == TUNED else "agreement",)
    }


def standing(found: Evidence, study: str, seeds: Sequence[int]) -> dict[str, float]:
    """Method -> mean mIoU on `tune` over shifts and seeds at its chosen rate, the best first; of
    those that have all the seeds."""
    each = {m: score(found, study, n, TUNE) for m, n in chosen(found, study).items()}
    means = {
        m: statistics.fmean(v[s] for s in seeds) for m, v in each.items() if v.keys() >= {*seeds}
    }
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def advancing(found: Evidence) -> list[str]:
    """The methods that are ahead of W_inc + kd in round 1, at most ADVANCE."""
    place = standing(found, MAIN, SEEDS[:1])
    ahead = [m for m, v in place.items() if v > place.get(REFERENCE, math.inf)]
    return [m for m in ahead if m != TUNED][:ADVANCE]


def pending(found: Evidence, study: str) -> list[str]:
    """Methods that the first seed does not have on all shifts yet, at the rate that is chosen."""
    place, best = standing(found, study, SEEDS[:1]), chosen(found, study)
    lost = {run.rpartition("/")[2] for run in diverged(found, study)}
    every = methods(found, study).items()
    wanted = {m: {best[m]} if m in best else {*names} for m, names in every}
    return [m for m, names in wanted.items() if m not in place and not names <= lost]


def winner(found: Evidence) -> str:
    """Of round 2, B2 apart: the best on `tune`, or, of those within TIE, of the fastest; `` before
    all of both rounds is there."""
    place, names = standing(found, MAIN, SEEDS), chosen(found, MAIN)
    entered = [*advancing(found), REFERENCE]
    if pending(found, MAIN) or not all(method in place for method in entered):
        return ""
    best = max(place[method] for method in entered)
    times = {m: seconds(found, names[m]) for m in entered if place[m] >= best - TIE}
    fast = [m for m, time in times.items() if FASTER * time <= min(times.values())]
    return max(fast, key=place.__getitem__)


def seconds(found: Evidence, name: str) -> float:
    return statistics.fmean(r["seconds"] for r in found.runs(MAIN) if r["name"] == name)


def choices(found: Evidence, study: str) -> str:
    """Every candidate on `tune` of the first seed, the best method first, and what follows."""
    runs, best, seed = candidates(found, study), chosen(found, study), SEEDS[0]
    place = standing(found, study, [seed])
    rates = {run["name"]: run["lr"] for run in found.runs(study)}
    rows = []
    for method in dict.fromkeys((*place, *runs)):
        for name in runs[method]:
            each = [score(found, study, name, TUNE, shifts=(shift,)) for shift in SHIFTS]
            each += [score(found, study, name, TUNE), score(found, study, name, TUNE, KEPT),
                     score(found, study, name, TUNE, "agreement", RATE_ON)]  # fmt: skip
            cells = [percent({seed: v[seed]} if seed in v else {}) for v in each]
            mark = "chosen" if name == best[method] else ""
            rows.append([method, f"{rates[name]:g}", *cells, mark])
    heads = ("", "rate", *SHIFTS, "mean mIoU", KEPT, f"agreement, {', '.join(RATE_ON)}", "")

    def given(methods: Iterable[str]) -> str:
        ready = [m for m in dict.fromkeys(methods) if m in best]
        return f"`'rates={{{', '.join(f'{m}: [{rates[best[m]]:g}]' for m in ready)}}}'`"

    parts = [f"Seed {seed}, percent.", table(heads, rows), given(best)]
    if lost := diverged(found, study):
        parts.append(f"Diverged: {', '.join(lost)}.")
    if missing := pending(found, study):
        parts.append(f"Not trained at every rate or on every shift yet: {', '.join(missing)}.")
    elif study == MAIN and place:
        ahead = advancing(found)
        parts.append(f"Ahead of {REFERENCE} and in round 2: {', '.join(ahead) or 'none'}; "
                     f"{given((TUNED, REFERENCE, *ahead))}.")  # fmt: skip
        if won := winner(found):
            lines = ([m, f"{v:.2f}"] for m, v in standing(found, MAIN, SEEDS).items())
            parts += [table(("round 2, all seeds", "mean mIoU"), lines),
                      f"**The winner: {won}**; {given((TUNED, REFERENCE, won))}."]  # fmt: skip
    return "\n\n".join(parts)
