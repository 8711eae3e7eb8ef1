"""What was tried and what became of it: changes of the method (results/evidence/tried.json), known
methods, and strengths of the penalty."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapt.disk.files import read_json
from results.page.claims import ALPHAS, METHOD, SWEEPS
from results.page.records import (
    GIVEN,
    GRID,
    MOVED,
    TUNE,
    Evidence,
    Values,
    differences,
    mean,
    percent,
    table,
)
from results.page.variations import shifts_of
from results.page.words import plain_label

PLAIN = "camvid_evidence_gap_plain"
"""The study that has pool5, pool5 + kd and B2 as they are, scored on `tune`."""
TRIED = "tried.json"
UNTRAINED = ("AdaBN", "histogram", "fda")
BASELINE = "Needs no training; studies keep it as a baseline."
SETTING = "The setting stays: [the penalty's strength](penalties.md)."


@dataclass
class Change:
    """One change of the method, as results/evidence/tried.json names it: words, never figures."""

    study: str
    """Name of its records."""
    change: str
    setting: str
    """Overrides of the experiment."""
    verdict: str
    """What became of it."""
    split: str = TUNE
    against: str = PLAIN
    """Study that has the same without the change."""


def changes(folder: Path) -> list[Change]:
    """What was tried, in order; none without the file."""
    path = folder / TRIED
    return [Change(**one) for one in read_json(path)] if path.is_file() else []


def tried(found: Evidence, made: Sequence[Change]) -> str:
    """A line for each change, shift and objective: mIoU as labels are given and moved, gains over
    the same without the change, how far B2 is, and the label-free agreement."""
    found = found.as_recorded()
    rows = [
        [one.change, shift, name, one.split, *cells(found, one, name, shift)]
        for one in made
        for name, shift in places(found, one)
    ]
    heads = ("change", "shift", "objective", "on", "mIoU", "gain", "minus B2", "moved labels: mIoU",
             "gain", "agreement", "gain")  # fmt: skip
    return table(heads, rows)


def places(found: Evidence, one: Change) -> list[tuple[str, str]]:
    """Objective and shift of all that a change was tried on."""
    pairs = ((s.name, s.shift) for s in found.scores if s.study == one.study and s.shift)
    return [*dict.fromkeys(p for p in pairs if not p[0].startswith(("B", "AdaBN")))]


def described(made: Sequence[Change]) -> str:
    """What each change was."""
    texts = {one.change: f"- {one.change}: `{one.setting}`. {one.verdict}" for one in made}
    return "\n".join(texts.values())


def failed(found: Evidence, made: Sequence[Change]) -> str:
    """All that was tried and lost: what, where, held against what, and the mean loss."""
    heads = ("what", "on", "held against", "mIoU", "what became of it")
    rows = [
        [what, where, against, percent(gap, signed=True), said]
        for what, where, against, gap, said in trials(found, made)
        if gap and mean(gap) < 0
    ]
    return table(heads, rows)


def trials(found: Evidence, made: Sequence[Change]) -> Iterator[tuple[str, str, str, Values, str]]:
    """What was tried, where, against what, its gain in mIoU, and what became of it."""
    recorded = found.as_recorded()
    for one in made:
        for name, shift in places(recorded, one):
            new, old = (
                recorded.values(study, name, shift, split=one.split)
                for study in (one.study, one.against)
            )
            where = f"{shift}, {one.split}"
            yield one.change, where, plain_label(name), differences(new, old), one.verdict
    for protocol, study in GRID.items():
        for shift in shifts_of(found, study):
            for name in UNTRAINED:
                gap = found.gap(study, name, "B0", shift)
                yield plain_label(name), f"{shift}, {protocol} pairs", "B0", gap, BASELINE
    for what, (study, shift) in SWEEPS.items():
        for alpha, value in ALPHAS.items():
            gap = found.gap(study, f"{METHOD}_l2_sp_{alpha}", f"{METHOD}_none", shift)
            yield f"L2-SP, alpha {value:g}", f"{shift}, {what}", "no penalty", gap, SETTING


def cells(found: Evidence, one: Change, name: str, shift: str) -> list[str]:
    def of(study: str, run: str, key: str = "miou", labels: str = GIVEN) -> Values:
        return found.values(study, run, shift, key, labels, one.split)

    def apart(values: Mapping[int, float], others: Mapping[int, float]) -> str:
        return percent(differences(values, others), signed=True, full=len(own))

    def both(key: str, labels: str = GIVEN) -> list[str]:
        """A score and its gain."""
        values = of(one.study, name, key, labels)
        base = of(one.against, name, key, labels) if one.study != one.against else {}
        return [percent(values), apart(values, base)]

    own = of(one.study, name)
    b2 = of(one.study, "B2") or of(one.against, "B2")
    return [*both("miou"), apart(own, b2), *both("miou", MOVED), *both("agreement")]
