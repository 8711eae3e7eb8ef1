"""Learning rates that one training was done at, and which of them the selection split chose."""

from collections.abc import Sequence
from statistics import fmean

from adapt.settings.choices import B2
from viz.report.tables import Entry

RATE = "schedule.lr"


def chosen_rates(entries: Sequence[Entry], selection: str) -> tuple[set[str], dict[str, str]]:
    """Of trainings that differ in their rate alone: the runs at rates that were not chosen, and in
    words what those at the chosen one are.

    Chosen is the highest mean over the shifts and seeds that all rates have, on `selection`: of
    B2's mIoU, and of a student's agreement with its teacher, which needs no labels.
    """
    groups: dict[tuple[str, str, str], dict[float, list[Entry]]] = {}
    for entry in entries:
        if entry.row.shift and not entry.treated:
            rest = {k: v for k, v in entry.settings.items() if k != RATE}
            alike = entry.row.method, entry.row.penalty, repr(sorted(rest.items()))
            rates = groups.setdefault(alike, {})
            rates.setdefault(entry.config["schedule"]["lr"], []).append(entry)
    dropped, words = set[str](), dict[str, str]()
    for (method, *_), rates in groups.items():
        score = "miou" if method.partition(" ")[0] == B2 else "agreement"
        scores = {
            rate: {
                (e.row.shift, e.row.seed): getattr(e.row, score)
                for e in members
                if e.row.split == selection and getattr(e.row, score) is not None
            }
            for rate, members in rates.items()
        }
        common = set.intersection(*map(set, scores.values()))
        if len(rates) > 1 and common:
            best = max(scores, key=lambda rate: fmean(scores[rate][at] for at in common))
            for rate, members in rates.items():
                dropped |= {e.row.run for e in members} if rate != best else set()
            how = f"{RATE}={best:g}; chosen by {score.replace('miou', 'mIoU')} on {selection}"
            words |= {e.row.run: how for e in rates[best]}
    return dropped, words
