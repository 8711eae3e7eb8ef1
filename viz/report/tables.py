"""Runs' results as table lines: seeds joined, settings that differ named, losses recovered."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
MISSING = "\u2013"
MANY, FEW, ALL = 40, 10, 1000
"""Classes of which a table has all; how many of the best, and of the worst, it has of more; up
to how many all can be unfolded."""
NAMED = 3
"""How many differing settings a label names at most."""
PLACES = tuple(f"data.{name}" for name in ("root", "target", "pairs", "labels", "sbd"))
NAMES = ("objective.name", "penalty.name")
ASIDE = (*MAY_DIFFER, *PLACES, *NAMES, "seed", "teacher", "start", "precision", "eval_every")
"""Settings by which lines are not told apart."""


@dataclass
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
    def read(self) -> tuple[str, ...]:
        """What it has in common with evaluations that it is held against."""
        read = ((k, self.metrics.get(k)) for k in ("root", "resize", "fit"))
        return self.protocol, self.row.split, *(f"{k}={v}" for k, v in read if v)

    @property
    def treated(self) -> bool:
        """Restyled, with a map after a layer, or with batch-norm statistics of its own."""
        return any(self.metrics.get(how) for how in ("adabn", "ridge", "restyle"))

    @property
    def place(self) -> str:
        """What it may differ in besides settings and seed: its origin, and its images."""
        places = self.origin, self.metrics.get("root", ""), self.target
        ends = ("/".join(Path(place).parts[-2:]) for place in places if place)
        return ", ".join([self.metrics["data"], *ends])

    @property
    def target(self) -> str:
        """Where the new images that it was scored on lie."""
        return str(self.metrics["target"]) if self.row.shift else ""

    @property
    def settings(self) -> dict[str, Any]:
        """By which lines are told apart."""
        flat = flatten(self.config) | {"adabn": self.metrics["adabn"]}
        flat |= {"restyle_beta": self.metrics.get("restyle_beta")}
        flat["penalty.fisher"] = Path(flat.get("penalty.fisher") or "").name  # a file for each seed
        if self.metrics["domain"] == "d1" and flat.get("data.target"):
            flat["adapted to"] = Path(flat["data.target"]).name
        if self.metrics["data"] == flat["data.name"]:
            read = {k: self.metrics.get(k) for k in ("root", "resize", "fit")}
            flat |= {f"evaluated with {k}": v for k, v in read.items()
                     if v is not None and v != flat.get(f"data.{k}")}  # fmt: skip
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
    """None without a value."""
    there = [v for v in values if v is not None]
    if not there:
        return None
    deviation = statistics.stdev(there) if len(there) > 1 else 0.0
    return Stat(statistics.fmean(there), deviation, len(there))


@dataclass(frozen=True)
class Line:
    """One line of a table: a method on a shift, over its seeds."""

    shift: str
    split: str
    method: str
    penalty: str
    label: str
    entries: list[Entry]
    scores: dict[str, Stat | None]

    @property
    def objective(self) -> bool:
        """Is it a student that was adapted, not a baseline?"""
        return place_of(self.method) > len(BASELINES)

    def as_dict(self) -> dict[str, Any]:
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
    return with_recovered(
        Entry(r, read_config(Path(r.run)), read_evaluation(Path(r.metrics))) for r in rows
    )


def with_recovered(found: Iterable[Entry]) -> list[Entry]:
    """The entries, in place with the share of the loss that each recovers."""
    entries = list(found)
    references = {
        (e.origin, *e.read, e.row.shift, e.target): e.row.miou
        for e in entries
        if e.method in (TEACHER, B0)
    }
    teachers = {e.row.seed: e.origin for e in entries if e.method == TEACHER}
    for entry in entries:
        row, origin = entry.row, entry.origin
        if not row.shift or entry.method == B0:
            continue
        if entry.method == B1:  # from scratch: held against its seed's teacher, or the only one
            only = next(iter(teachers.values())) if len(set(teachers.values())) == 1 else ""
            origin = teachers.get(row.seed, only)
        b0, clean = (
            references.get((origin, *entry.read, *where))
            for where in ((row.shift, entry.target), ("", ""))
        )
        entry.recovered = recovered(row.miou, b0, clean)
    return entries


def recovered(miou: float | None, b0: float | None, clean: float | None) -> float | None:
    """(method - B0) / (teacher on D1 - B0) in percent; None where the shift costs too little."""
    if miou is None or b0 is None or clean is None or clean - b0 < LEAST_LOSS:
        return None
    return 100 * (miou - b0) / (clean - b0)


def lines_of(entries: Iterable[Entry]) -> list[Line]:
    """Entries that differ in their seed only, joined; ordered by split, shift and method. Where a
    seed would count twice, of several teachers or sets of images, these have lines of their own."""
    groups: dict[tuple[str, str, str, str], dict[str, list[Entry]]] = {}
    for entry in entries:
        row = entry.row
        variants = groups.setdefault((row.shift, row.split, row.method, row.penalty), {})
        variants.setdefault(repr(sorted(entry.settings.items())), []).append(entry)
    lines = []
    for place, joined in groups.items():
        variants = {}
        for key, members in joined.items():
            twice = len({e.row.seed for e in members}) < len(members)
            for e in members:
                variants.setdefault(f"{key} {e.place if twice else ''}", []).append(e)
        settings = [members[0].settings for members in variants.values()]
        keys = sorted({key for values in settings for key in values})
        differing = [k for k in keys if len({repr(values.get(k)) for values in settings}) > 1]
        for members, values in zip(variants.values(), settings, strict=True):
            note = ", ".join(
                f"{k.removeprefix('penalty.')}={values.get(k)}"
                for k in differing
                if k != "freeze" or values[k]
            )
            if len(differing) > NAMED:  # other data or another network: the run says it better
                note = Path(members[0].row.run).name
            if sum(repr(other) == repr(values) for other in settings) > 1:
                note = ", ".join(filter(None, (note, members[0].place)))
            label = f"{place[2]} ({note})" if note else place[2]
            lines.append(Line(*place, label, members, scores_of(members)))
    return sorted(lines, key=lambda x: (x.split, x.shift, rank(x.method), x.penalty, x.label))


def scores_of(members: Iterable[Entry]) -> dict[str, Stat | None]:
    values = [asdict(e.row) | {"recovered": e.recovered} for e in members]
    return {name: stat(v[name] for v in values) for name in SCORES}


def heads_of(lines: Iterable[Line]) -> dict[str, str]:
    """Score -> head of its column, without those that no line can have."""
    images = [line.scores["top1"] is not None for line in lines]
    left_out = ("miou", "pixel_accuracy") if all(images) else () if any(images) else ("top1",)
    return {score: head for score, head in SCORES.items() if score not in left_out}


def rank(method: str) -> tuple[int, list[tuple[int, str]]]:
    """Baselines first in their order, then objectives with pool10 after pool9."""
    place = place_of(method)
    if method in BASELINES:
        return place, []
    pieces = re.findall(r"\d+|\D+", method)
    return place, [(int(p), "") if p.isdigit() else (10**9, p) for p in pieces]


def headline(lines: Iterable[Line]) -> str:
    """The objective that summary, bars and pictures are of: the one that regresses the deepest
    layer, alone rather than among others. Chosen without a look at the scores."""

    def depth(line: Line) -> tuple[Any, ...]:
        taps = list(line.entries[0].config["objective"]["regression"]["taps"])
        return (bool(taps), rank(max(taps, key=rank)) if taps else (0, []), -len(taps))

    candidates = [line for line in lines if line.objective and line.shift]
    return max(candidates, key=depth).method if candidates else ""


def shifts_of(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line.shift for line in lines if line.shift))


def class_table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float | None]]],
    file: str,
) -> dict[str, Any]:
    """Classes down as report.html has them: of many those with the highest and the lowest score in
    the last column, and how many are left out, which can be unfolded or lie in `file`."""
    texts = [
        (name, *(MISSING if v is None else f"{v:.1f}" for v in values)) for name, values in rows
    ]
    made = {"caption": caption, "heads": ["class", *heads], "lines": texts, "left_out": 0}
    if len(rows) <= MANY:
        return made
    last = [values[-1] for _, values in rows]
    order = sorted((i for i, v in enumerate(last) if v is not None), key=lambda i: -(last[i] or 0))
    kept = order[:FEW] + order[FEW:][-FEW:]
    return made | {
        "lines": [texts[i] for i in kept],
        "left_out": len(rows) - len(kept),
        "by": heads[-1],
        "all": texts if len(rows) <= ALL else [],
        "file": file,
    }


def per_class(entries: Iterable[Entry]) -> list[Mapping[str, Any]]:
    """Long table: one record for each class of each evaluation."""
    records: list[Mapping[str, Any]] = []
    for entry in entries:
        truth, agreement = entry.metrics["truth"] or {}, entry.metrics["agreement"] or {}
        about = {
            name: getattr(entry.row, name)
            for name in ("shift", "split", "method", "penalty", "seed", "run")
        }
        for index, name in enumerate(entry.metrics["classes"]):
            scores = {
                "iou": truth["iou"][index] if truth.get("iou") else None,
                "accuracy": truth["accuracy"][index] if truth else None,
                "agreement_iou": agreement["iou"][index] if agreement.get("iou") else None,
            }
            records.append(about | {"class": name} | scores)
    return records
