"""What a run's folder records, read back and checked: a run may be another's."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapt.commands import TrainConfig
from adapt.config import DataConfig
from adapt.errors import InputError
from adapt.files import check_readable, parse_json, read_mapping, read_yaml
from adapt.settings import build, check_record, filled, plain

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "env.json", "metrics.jsonl", "summary.json"


def read_config(folder: Path, what: str = "run") -> dict[str, Any]:
    """The configuration that a run recorded, as training's own schema has it; what a record of an
    earlier version lacks is the default.

    Raises:
        InputError: no run folder, or a record with anything that a training cannot be told.
    """
    if folder.is_dir() and not (folder / CONFIG).exists():
        raise InputError(f"{what}: {folder} is not a run folder (it has no {CONFIG})")
    recorded = filled(read_yaml(folder / CONFIG), plain(TrainConfig()))
    try:
        build(TrainConfig, recorded)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from None
    return recorded


def read_data(folder: Path, what: str = "run") -> DataConfig:
    """The data set that a run recorded. What is only read here is never fetched: a download is
    asked for on this command line or not at all."""
    data = read_config(folder, what)["data"]
    return replace(build(DataConfig, data, "data."), download=False)


@dataclass
class Part:
    """A part of the loss."""

    raw: float
    weighted: float


@dataclass
class MetricsLine:
    """What readers need of a line of metrics.jsonl; only the step is on every line."""

    step: int
    loss: float = 0.0
    lr: float = 0.0
    parts: dict[str, Part] = field(default_factory=dict)
    evaluation: dict[str, float] = field(default_factory=dict)
    distances: dict[str, float] = field(default_factory=dict)


@dataclass
class Summary:
    """What readers need of summary.json."""

    steps: int
    seconds: float
    samples: int
    inputs: dict[str, str]


@dataclass
class Environment:
    """What readers need of env.json."""

    python: str
    platform: str
    threads: int
    packages: dict[str, str | None]
    gpus: list[str]
    git: dict[str, Any]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl, in order; a last one that was cut short is left out.

    Raises:
        InputError: another line that is broken, or that is of no step.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    check_readable(path)
    *lines, rest = path.read_bytes().split(b"\n")
    records = [metrics_line(line, f"{path}:{n}") for n, line in enumerate(lines, 1)]
    try:
        return [*records, metrics_line(rest, str(path))] if rest else records
    except InputError:
        return records


def metrics_line(line: bytes, where: str) -> dict[str, Any]:
    try:
        found = parse_json(line.decode("utf-8"), where, nan=True)
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text") from None
    check_record(MetricsLine, found, where)
    return found


def read_summary(run: Path) -> dict[str, Any]:
    """A finished run's summary.json; InputError where it is not one."""
    found = read_mapping(run / SUMMARY)
    check_record(Summary, found, str(run / SUMMARY))
    return found


def read_environment(run: Path) -> dict[str, Any]:
    """A run's env.json; InputError where it is not one."""
    found = read_mapping(run / ENVIRONMENT)
    check_record(Environment, found, str(run / ENVIRONMENT))
    return found
