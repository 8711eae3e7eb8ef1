"""Closing the gap to B2: what was tried on the tuning part, and what it brought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapt.disk.files import read_json
from adapt.errors import InputError
from adapt.settings.mapping import build
from results.page.records import GIVEN, MOVED, Evidence, differences, shown, table

GAP = "camvid_evidence_gap_"
PLAIN = f"{GAP}plain"
"""The study that has pool5, pool5 + kd and B2 as they are, scored on `tune`."""
TRIED = "tried.json"
TUNE = "tune"


@dataclass
class Trial:
    """One change of the method, as results/evidence/tried.json names it: words, never figures."""

    study: str
    """Name of its records."""
    change: str
    setting: str
    """What the command has beside `scripts/study.py data.root=DIR`."""
    verdict: str
    """What became of it."""
    split: str = TUNE
    against: str = PLAIN
    """Study that has the same without the change."""


def trials(folder: Path) -> list[Trial]:
    """What was tried, in order; none without the file.

    Raises:
        InputError: an entry with another field than a Trial's.
    """
    path = folder / TRIED
    if not path.is_file():
        return []
    made = read_json(path)
    if not isinstance(made, list):
        raise InputError(f"{path}: must be a list of trials")
    return [build(Trial, one, f"{path}[{i}].") for i, one in enumerate(made)]


def tried(found: Evidence, made: Sequence[Trial]) -> str:
    """A line for each change, shift and objective: mIoU as labels are given and moved, gains over
    the same without the change, how far B2 is, and the label-free agreement."""
    rows = []
    for trial in made:
        for name, shift in runs_of(found, trial.study):
            rows.append([trial.change, shift, name, *cells(found, trial, name, shift)])
    heads = ("change", "shift", "objective", "on", "mIoU", "gain", "minus B2", "moved labels: mIoU",
             "gain", "agreement", "gain")  # fmt: skip
    return table(heads, rows) if rows else ""


def runs_of(found: Evidence, study: str) -> list[tuple[str, str]]:
    """Objective and shift of a study's students, B2 and teacher left out."""
    pairs = ((s.name, s.shift) for s in found.scores if s.study == study and s.shift)
    kept = [p for p in pairs if not p[0].startswith("B") and not p[0].startswith("AdaBN")]
    return list(dict.fromkeys(kept))


def cells(found: Evidence, trial: Trial, name: str, shift: str) -> list[str]:
    def of(study: str, run: str, key: str = "miou", labels: str = GIVEN) -> Mapping[int, float]:
        return found.values(study, run, shift, key, labels, trial.split)

    def gain(key: str, labels: str = GIVEN) -> str:
        base = of(trial.against, name, key, labels) if trial.study != trial.against else {}
        return apart(of(trial.study, name, key, labels), base)

    def apart(values: Mapping[int, float], others: Mapping[int, float]) -> str:
        return shown(differences(values, others), signed=True, full=len(own))

    own = of(trial.study, name)
    b2 = of(trial.study, "B2") or of(trial.against, "B2")
    moved = of(trial.study, name, labels=MOVED)
    return [
        trial.split, shown(own), gain("miou"), apart(own, b2),
        shown(moved), gain("miou", MOVED), shown(of(trial.study, name, "agreement")),
        gain("agreement"),
    ]  # fmt: skip


def commands(made: Sequence[Trial]) -> str:
    """What each was, and what became of it."""
    told = {one.change: f"- {one.change}: `{one.setting}`. {one.verdict}" for one in made}
    return "\n".join(told.values())


def section(found: Evidence, made: Sequence[Trial]) -> str:
    found = found.as_recorded()
    lines, run = tried(found, made), [one for one in made if runs_of(found, one.study)]
    return f"{lines}\n\n{commands(run)}" if lines else ""
