"""Runs' results as table lines: seeds joined, settings that differ named, losses recovered."""

import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapt.disk.runs import MAY_DIFFER, read_config
from adapt.evaluation.rows import Row, place_of, protocol_of, read_evaluation
from adapt.networks.saved import WEIGHTS, is_run, start_point_of
from adapt.settings.choices import B0, B1, BACKBONE, BASELINES, TEACHER
from adapt.settings.mapping import flatten

SCORES = {
    "miou": "mIoU", "top1": "top-1", "class_accuracy": "class acc.", "pixel_accuracy": "pixel acc.",
    "agreement": "agreement", "recovered": "recovered", "distortion": "distortion",
}  # fmt: skip
"""Every score, and how tables call it."""
LEAST_LOSS = 1.0
"""Percentage points of mIoU that a shift must cost before a share of it is computed."""
TOLD = 3
"""How many differing settings a label names at most."""
PLACES = tuple(f"data.{name}" for name in ("root", "target", "pairs", "labels", "sbd"))
NAMES = ("objective.name", "penalty.name")
ASIDE = (*MAY_DIFFER, *PLACES, *NAMES, "seed", "teacher", "start", "precision", "eval_every")
"""Settings by which lines are not told apart."""


@dataclass(frozen=True)
class Entry:
    """A row with what else its run recorded."""

    row: Row
    config: dict[str, Any]
    metrics: dict[str, Any]
    recovered: float | None = None
    """Percent of the teacher's loss of mIoU: (this - B0) / (teacher on D1 - B0), all under this
    one's protocol."""

    @property
    def origin(self) -> str:
        """Run folder of the network that this one came from; a teacher's is its own."""
        return str(Path(start_point_of(self.config) or self.row.run).resolve())

    @property
    def protocol(self) -> str:
        """Tag of how it was evaluated; `` = whole images."""
        return protocol_of(self.metrics)

    @property
    def method(self) -> str:
        """The row's, without the protocol."""
        return self.row.method.removesuffix(f" ({self.protocol})")

    @property
    def plain(self) -> bool:
        """Whole images, neither restyled nor with statistics of their own."""
        treated = self.metrics["adabn"] or self.metrics.get("restyle")
        return not (treated or self.protocol)

    @property
    def settings(self) -> dict[str, Any]:
        flat = flatten(self.config) | {"adabn": self.metrics["adabn"]}
        flat |= {"restyle_beta": self.metrics.get("restyle_beta")}
        flat["penalty.fisher"] = Path(flat.get("penalty.fisher") or "").name  # a file for each seed
        if self.metrics["domain"] == "d1" and flat.get("data.target"):
            flat["adapted to"] = Path(flat["data.target"]).name
        found = {k: v for k, v in flat.items() if k not in ASIDE}
        start = str(flat.get("start") or "")
        # A run that another came from is its seed's own; weights from elsewhere are another source.
        return found if is_run(start) else found | {"start": source_of(start)}


def source_of(start: str) -> str:
    """What tables call a start: a run's folder, or a file's name."""
    path = Path(start.removeprefix(BACKBONE))
    return path.parent.name if path.name == WEIGHTS else path.name


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation (0 of one value) over n seeds."""

    mean: float
    std: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.std:.1f}" if self.n > 1 else f"{self.mean:.1f}"


def stat(values: Iterable[float | None]) -> Stat | None:
    there = [v for v in values if v is not None]
    if not there:
        return None
    return Stat(
        statistics.fmean(there), statistics.stdev(there) if len(there) > 1 else 0.0, len(there)
    )


@dataclass(frozen=True)
class Line:
    """One line of a table: a method on a shift, over its seeds."""

    shift: str
    split: str
    method: str
    penalty: str
    label: str
    entries: list[Entry]
    scores: dict[str, Stat | None] = field(default_factory=dict)

    @property
    def objective(self) -> bool:
        return place_of(self.method) > len(BASELINES)

    def plain(self) -> dict[str, Any]:
        """As report.json has it."""
        names = ("shift", "split", "method", "penalty", "label")
        return {name: getattr(self, name) for name in names} | {
            "n": len(self.entries),
            "seeds": [e.row.seed for e in self.entries],
            "runs": [e.row.run for e in self.entries],
            "scores": {k: None if s is None else vars(s) for k, s in self.scores.items()},
        }


def entries_of(rows: Iterable[Row]) -> list[Entry]:
    """Rows with their files, and the share of the loss that each recovers."""
    entries = [Entry(r, read_config(Path(r.run)), read_evaluation(Path(r.metrics))) for r in rows]
    clean = {
        (e.origin, e.protocol, e.row.split): e.row.miou for e in entries if e.method == TEACHER
    }
    shifted = {
        (e.origin, e.protocol, e.row.shift, e.row.split): e.row.miou
        for e in entries
        if e.method == B0
    }
    seeds = {e.row.seed: e.origin for e in entries if e.method == TEACHER}
    joined = []
    for entry in entries:
        row, origin, protocol = entry.row, entry.origin, entry.protocol
        if entry.method == B1:  # from scratch: held against its seed's teacher, or the only one
            only = next(iter(seeds.values())) if len(set(seeds.values())) == 1 else ""
            origin = seeds.get(row.seed, only)
        share = recovered(
            row.miou,
            shifted.get((origin, protocol, row.shift, row.split)),
            clean.get((origin, protocol, row.split)),
        )
        if row.shift and entry.method != B0:
            entry = Entry(row, entry.config, entry.metrics, share)
        joined.append(entry)
    return joined


def recovered(miou: float | None, b0: float | None, clean: float | None) -> float | None:
    """(method - B0) / (teacher on D1 - B0) in percent; None where the shift costs too little."""
    if miou is None or b0 is None or clean is None or clean - b0 < LEAST_LOSS:
        return None
    return 100 * (miou - b0) / (clean - b0)


def lines_of(entries: Iterable[Entry]) -> list[Line]:
    """Entries that differ in their seed only, joined; ordered by split, shift and method."""
    groups: dict[tuple[str, str, str, str], dict[str, list[Entry]]] = {}
    for entry in entries:
        row = entry.row
        variants = groups.setdefault((row.split, row.shift, row.method, row.penalty), {})
        variants.setdefault(repr(sorted(entry.settings.items())), []).append(entry)
    lines = []
    for (split, shift, method, penalty), variants in groups.items():
        settings = [members[0].settings for members in variants.values()]
        differing = sorted(
            key
            for key in {k for s in settings for k in s}
            if len({repr(s.get(key)) for s in settings}) > 1
        )
        for members, values in zip(variants.values(), settings, strict=True):
            told = ", ".join(
                f"{key.removeprefix('penalty.')}={values.get(key)}" for key in differing
            )
            if len(differing) > TOLD:  # other data or another network: the run says it better
                told = Path(members[0].row.run).name
            label = f"{method} ({told})" if told else method
            lines.append(Line(shift, split, method, penalty, label, members, scores_of(members)))
    return sorted(lines, key=lambda x: (x.split, x.shift, rank(x.method), x.penalty, x.label))


def scores_of(members: Iterable[Entry]) -> dict[str, Stat | None]:
    members = list(members)
    scores = {
        name: stat(getattr(e.row, name) for e in members) for name in SCORES if name != "recovered"
    }
    return {name: scores.get(name, stat(e.recovered for e in members)) for name in SCORES}


def heads_of(lines: Iterable[Line]) -> dict[str, str]:
    """Score -> head of its column, without those that no line can have."""
    images = [line.scores["top1"] is not None for line in lines]
    left_out = ("miou", "pixel_accuracy") if all(images) else () if any(images) else ("top1",)
    return {score: head for score, head in SCORES.items() if score not in left_out}


def rank(method: str) -> tuple[int, list[tuple[int, str]]]:
    """Baselines first in their order, then objectives with pool10 behind pool9."""
    place = place_of(method)
    if method in BASELINES:
        return place, []
    pieces = re.findall(r"\d+|\D+", method)
    return place, [(int(p), "") if p.isdigit() else (10**9, p) for p in pieces]


def headline(lines: Iterable[Line]) -> str:
    """The objective that summary, bars and pictures show: the one that regresses the deepest layer,
    alone rather than among others. Chosen without a look at the scores."""

    def depth(line: Line) -> tuple[Any, ...]:
        taps = list(line.entries[0].config["objective"]["regression"]["taps"])
        return (bool(taps), rank(max(taps, key=rank)) if taps else (0, []), -len(taps))

    candidates = [line for line in lines if line.objective and line.shift]
    return max(candidates, key=depth).method if candidates else ""


def per_class(entries: Iterable[Entry]) -> list[Mapping[str, Any]]:
    """Long table: one record for each class of each evaluation."""
    records: list[Mapping[str, Any]] = []
    for entry in entries:
        truth, agreement = entry.metrics["truth"] or {}, entry.metrics["agreement"] or {}
        for index, name in enumerate(entry.metrics["classes"]):
            records.append(
                {
                    "shift": entry.row.shift,
                    "split": entry.row.split,
                    "method": entry.row.method,
                    "penalty": entry.row.penalty,
                    "seed": entry.row.seed,
                    "run": entry.row.run,
                    "class": name,
                    "iou": truth["iou"][index] if truth.get("iou") else None,
                    "accuracy": truth["accuracy"][index] if truth else None,
                    "agreement_iou": agreement["iou"][index] if agreement.get("iou") else None,
                }
            )
    return records
