"""What the report reads of files that others may have made, checked before it is drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.disk.files import read_mapping
from adapt.errors import InputError
from adapt.settings.mapping import check_record

METRICS = {"miou": "mIoU", "top1": "top-1"}


@dataclass
class Score:
    """Mean and sample standard deviation over n seeds."""

    mean: float
    n: int
    std: float | None = None


@dataclass
class Paper(Score):
    """What a paper printed."""

    table: str = ""
    start: str = ""


@dataclass
class Row:
    """A row of comparison.json."""

    label: str
    protocol: str
    metric: str
    seeds: list[int]
    scores: dict[str, Any]
    paper: Any
    same_counts: bool


@dataclass
class Comparison:
    """comparison.json."""

    experiment: str
    note: str
    rows: list[Any]
    classes: list[str]
    columns: dict[str, list[float | None]]


def read_comparison(path: Path) -> dict[str, Any]:
    """What a fine-tuning study compared.

    Raises:
        InputError: not what a study writes.
    """
    found = read_mapping(path)
    check_record(Comparison, found, str(path))
    for number, row in enumerate(found["rows"]):
        where = f"{path}: rows[{number}]"
        check_record(Row, row, where)
        if row["metric"] not in METRICS or row["metric"] not in row["scores"]:
            raise InputError(f"{where}: no score {row['metric']!r}; one of {', '.join(METRICS)}")
        for name, score in row["scores"].items():
            check_record(Score, score, f"{where}: scores.{name}")
        if row["paper"]:
            check_record(Paper, row["paper"], f"{where}: paper")
    for name, column in found["columns"].items():
        if len(column) != len(found["classes"]):
            raise InputError(f"{path}: columns.{name} has {len(column)} values, not one a class")
    return found


@dataclass
class Box:
    """A box-plot of n values; null where there are none."""

    label: str
    n: int
    whislo: float | None
    q1: float | None
    med: float | None
    q3: float | None
    whishi: float | None


@dataclass
class Layer:
    """An entry of an analysis' `layers`."""

    layer: str


@dataclass
class Activations(Layer):
    r2: Box


@dataclass
class Importance(Layer):
    log10: Box


@dataclass
class Moved(Layer):
    type: str
    relative: float | None


LAYERS: dict[str, type] = {"activations": Activations, "fisher": Importance, "weights": Moved}


@dataclass
class Domain:
    domain: str


@dataclass
class Split:
    split: str


MADE: dict[str, type] = {"activations": Domain, "source": Split}


@dataclass
class Loss:
    """What a score was before and behind a training."""

    before: float
    after: float
    drop: float


@dataclass
class Source:
    scores: dict[str, Any]
    agreement_miou: float


@dataclass
class Layered:
    layers: list[Any]


def check_analysis(name: str, content: dict[str, Any], where: str) -> None:
    """Raises InputError where a file is not what scripts/analyse.py writes of this name."""
    if name in MADE:
        check_record(MADE[name], content["made"], f"{where}: made")
    if name == "source":
        check_record(Source, content, where)
        for score, found in content["scores"].items():
            if found:
                check_record(Loss, found, f"{where}: scores.{score}")
        return
    check_record(Layered, content, where)
    for number, layer in enumerate(content["layers"]):
        check_record(LAYERS[name], layer, f"{where}: layers[{number}]")
        for part in layer.values():
            if isinstance(part, dict) and part.get("n") and None in part.values():
                raise InputError(
                    f"{where}: layers[{number}]: a box of {part['n']} values lacks some"
                )


def read_inverted(path: Path) -> list[str]:
    """Names of the networks that an inversion was made by, each a picture's beside `path`.

    Raises:
        InputError: not what scripts/invert.py writes, or a name that leads elsewhere.
    """
    networks = read_mapping(path).get("networks")
    if not isinstance(networks, dict) or not networks:
        raise InputError(f"{path}: it has no networks")
    for name in networks:
        if not name or name.startswith(".") or set(name) & set("/\\\0"):
            raise InputError(f"{path}: {name!r} cannot name a picture beside it")
    return list(networks)
