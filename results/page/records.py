"""The committed records (records_of_runs.py) as scores that can be asked for by name."""

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.disk.files import read_json
from adapt.errors import InputError
from results.page.records_of_runs import FORMAT, TEACHER
from viz.report.tables import stat

SHARED, DISJOINT = "shared", "disjoint"
GRID = {DISJOINT: "camvid_evidence_disjoint", SHARED: "camvid_evidence"}
"""Protocol -> the study that has its grid; first what is a user's case."""
AGAIN = {"camvid_evidence": "camvid_evidence_draws",
         "camvid_evidence_disjoint": "camvid_evidence_disjoint_draws"}  # fmt: skip
"""Study -> one that trained some of its cells again, with draws apart: they count instead."""
SHIFTS = ("photocopy", "ripple", "cubism")
SEEDS = (0, 1, 2)
VAL, TUNE = "val", "tune"
GIVEN, MOVED = "given", "moved"
SCORES = {"miou": "mIoU", "class_accuracy": "mean class accuracy"}
"""What the figures of 003 are drawn of."""

Values = dict[int, float]
"""Seed -> one number."""


@dataclass(frozen=True)
class Score:
    """One evaluation of one run."""

    study: str
    seed: int
    name: str
    """The run's folder (`pool5`, `B2_share_0.05`); of the teacher what was done to it (`B0`,
    `AdaBN`), or `teacher` on the old domain."""
    shift: str
    labels: str
    split: str
    numbers: Mapping[str, Any]
    run: Mapping[str, Any]
    """What the training was."""


class Evidence:
    """All records of a folder; `again` = what counts instead of what, as AGAIN."""

    def __init__(
        self, records: Sequence[Mapping[str, Any]], again: Mapping[str, str] = AGAIN
    ) -> None:
        self.records, self.again = records, again
        self.scores = [score for record in records for score in scores_of(record)]
        self.by_place: dict[tuple[str, ...], dict[int, Score]] = {}
        for s in self.scores:
            place = (s.study, s.name, s.shift, s.labels, s.split)
            self.by_place.setdefault(place, {})[s.seed] = s

    def find(
        self, study: str, name: str, shift: str, labels: str = GIVEN, split: str = VAL
    ) -> dict[int, Score]:
        """Seed -> score."""
        found: dict[int, Score] = {}
        for at in self.places(study):
            found |= self.by_place.get((at, name, shift, labels, split), {})
        return dict(sorted(found.items()))

    def values(
        self,
        study: str,
        name: str,
        shift: str,
        key: str = "miou",
        labels: str = GIVEN,
        split: str = VAL,
    ) -> Values:
        """One number of the score."""
        found = self.find(study, name, shift, labels, split)
        return {seed: v for seed, s in found.items() if (v := s.numbers.get(key)) is not None}

    def by_shift(
        self, study: str, name: str, key: str = "miou", labels: str = GIVEN, split: str = VAL
    ) -> list[Values]:
        """`values` of each of SHIFTS."""
        return [self.values(study, name, shift, key, labels, split) for shift in SHIFTS]

    def gap(self, study: str, a: str, b: str, shift: str, other: str = "") -> Values:
        """mIoU of `a` minus that of `b`, in the same study or in another."""
        found = (self.values(at, n, shift) for at, n in ((study, a), (other or study, b)))
        return differences(*found)

    def places(self, study: str) -> list[str]:
        """A study and what counts instead of it, where there is both."""
        return [study, *filter(None, [self.again.get(study)])]

    def as_recorded(self) -> "Evidence":
        """The same with every study by itself."""
        return Evidence(self.records, {})

    def renamed(self, studies: Mapping[str, str]) -> "Evidence":
        """The records of some studies alone, under other names: study -> what it will be called."""
        there = (record for record in self.records if record["study"] in studies)
        return Evidence([{**record, "study": studies[record["study"]]} for record in there], {})

    def names(self, study: str) -> list[str]:
        return list(dict.fromkeys(s.name for s in self.scores if s.study in self.places(study)))

    def of(self, study: str) -> list[Mapping[str, Any]]:
        return [record for record in self.records if record["study"] == study]

    def runs(self, study: str) -> Iterable[Mapping[str, Any]]:
        """Trainings, each with the `name` of its folder."""
        made = {
            (record["seed"], place): {**run, "name": place.rsplit("/", 1)[-1]}
            for at in self.places(study)
            for record in self.of(at)
            for place, run in record["runs"].items()
        }
        return made.values()


def load(folder: Path) -> Evidence:
    """Every record in a folder.

    Raises:
        InputError: no record there, or one of another format.
    """
    paths = sorted(folder.glob("*_seed*.json"))
    if not paths:
        raise InputError(f"records: no *_seed*.json in {folder}; make some with --runs DIR")
    records = []
    for path in paths:
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise InputError(f"{path}: not a record of format {FORMAT}")
        records.append(record)
    return Evidence(records)


def scores_of(record: Mapping[str, Any]) -> Iterable[Score]:
    for found in record["evaluations"]:
        run = found["run"]
        name = found["method"] if run == TEACHER else run.rsplit("/", 1)[-1]
        where = (name, found["shift"], found["labels"], found["split"])
        yield Score(record["study"], record["seed"], *where, found, record["runs"][run])


def differences(a: Mapping[int, float], b: Mapping[int, float]) -> Values:
    """a - b for each seed that both have, so that what a teacher's seed brings cancels out."""
    return {seed: a[seed] - b[seed] for seed in a if seed in b}


def mean(values: Mapping[Any, float]) -> float:
    return statistics.fmean(values.values())


def percent(values: Mapping[int, float], *, signed: bool = False, full: int = 0) -> str:
    """`48.2 ± 0.4`, mean and sample deviation; with how many seeds where not `full`; - = none."""
    found = stat(values.values())
    if found is None:
        return "-"
    text = with_minus(f"{found.mean:+.1f}" if signed else f"{found.mean:.1f}")
    text += f" ± {found.std:.1f}" if found.n > 1 else ""
    return text if not full or found.n == full else f"{text} (n = {found.n})"


def over_seeds(values: Mapping[int, float], *, signed: bool = False) -> str:
    """As `percent`; with how many seeds where they are not all."""
    return percent(values, signed=signed, full=len(SEEDS))


def with_minus(number: str) -> str:
    return number.replace("-", "\u2212")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column the names; `` without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*head, *lines]) if lines else ""


def days(runs: Iterable[Mapping[str, Any]]) -> str:
    """When they were finished: `2026-11-21 to 2026-11-22`."""
    every = sorted({run["finished"] for run in runs})
    return every[0] if len(every) == 1 else f"{every[0]} to {every[-1]}"


def relative(path: Path, folder: Path) -> str:
    """The path as a page in `folder` names it."""
    return Path(os.path.relpath(path, folder)).as_posix()
