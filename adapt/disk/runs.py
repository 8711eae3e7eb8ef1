"""A run folder: configuration, environment, metrics, checkpoints, result; one writer at a time."""

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from adapt.disk import checkpoint
from adapt.disk.files import (
    check_readable,
    clear,
    parse_json,
    read_mapping,
    read_yaml,
    strangers,
    write_json,
    write_whole,
    writing,
)
from adapt.disk.lock import only_writer
from adapt.errors import InputError
from adapt.machine.processes import on_rank_zero, rank_zero_only, world
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import as_dict, build, check_record, differences, filled
from adapt.settings.training import TrainConfig

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "env.json", "metrics.jsonl", "summary.json"
LOCK = "lock"
OWN = (CONFIG, ENVIRONMENT, METRICS, SUMMARY, "model.safetensors", "model.json")
"""What a training writes into its folder, and nobody else."""
MAY_DIFFER = (
    "run", "workers", "device", "log_every", "drift_every", "checkpoint_every", "cache_teacher",
    "gradient_checkpointing",
)  # fmt: skip
"""Settings that may change when a run is resumed, because the result does not depend on them."""
LONGER = (
    "; a run cannot be made longer, because `steps` shapes the learning rate of every step: "
    "start=RUN trains on from the weights of a finished one, in another run="
)

PACKAGES = ("torch", "torchvision", "numpy", "albumentations", "opencv-python-headless", "pillow")


def environment() -> dict[str, Any]:
    """Versions and hardware, for the record."""

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processes": world(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": {package: installed(package) for package in PACKAGES},
        "git": revision(Path(__file__).parent),
    }


def revision(folder: Path) -> dict[str, Any]:
    """Commit of the code that lies in a folder, and whether it was changed since.

    Git must not lock its index for that: killed, it would leave a lock that blocks the user's own.
    """

    def git(*arguments: str) -> str:
        try:
            command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return done.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


class RunFolder:
    """Paths and records of one run; made by `open_run`. Its first process writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @property
    def finished(self) -> bool:
        return (self.path / SUMMARY).is_file()

    @rank_zero_only
    def finish(self, summary: dict[str, Any]) -> None:
        write_json(self.path / SUMMARY, summary)

    @rank_zero_only
    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        path = self.path / METRICS
        with writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop metrics beyond `step`, and a last line cut short, before a run goes on."""
        if (self.path / METRICS).is_file():
            kept = [r for r in read_metrics(self.path) if r["step"] <= step]
            text = "".join(json.dumps(r) + "\n" for r in kept)
            write_whole(self.path / METRICS, text.encode())


@contextmanager
def open_run(
    path: Path, config: dict[str, Any], default: dict[str, Any] | None = None
) -> Iterator[RunFolder]:
    """`claimed`, by the first process of a run for all of them."""
    with ExitStack() as stack:
        on_rank_zero(lambda: stack.enter_context(claimed(path, config, default)))
        yield RunFolder(path)


@contextmanager
def claimed(path: Path, config: dict[str, Any], default: dict[str, Any] | None) -> Iterator[None]:
    """The run folder `path`, made with `config` or, where it exists, checked against it; settings
    that a record does not have yet count as their `default`.

    Raises:
        InputError: another process writes there, a folder that is not a run, or a configuration
            that differs (each differing key with the recorded and the given value).
    """
    if not str(path) or str(path) == ".":
        raise InputError("run is empty: give the run's folder, for example run=runs/teacher")
    known = (path / CONFIG).is_file() or not path.is_dir()
    if not known and strangers(path, {LOCK, ENVIRONMENT}, OWN):
        raise InputError(f"run: {path} exists and is not a run folder (it has no {CONFIG})")
    with only_writer(path / LOCK, f"run: another process is writing {path}", keep=True):
        clear(path.iterdir(), OWN)
        if (path / CONFIG).is_file():
            old, new = (
                {k: v for k, v in c.items() if k not in MAY_DIFFER}
                for c in (filled(read_yaml(path / CONFIG), default or {}), config)
            )
            if changed := differences(old, new):
                longer = LONGER if any(c.startswith("steps:") for c in changed) else ""
                raise InputError(
                    f"run: {path} was started with another configuration (recorded -> given): "
                    f"{'; '.join(changed)}. Give a new run=, or the recorded values{longer}"
                )
        else:
            write_json(path / ENVIRONMENT, environment())
            write_whole(path / CONFIG, yaml.safe_dump(config, sort_keys=False).encode())
        checkpoint.clean(path / "checkpoints")
        yield


def check_inputs(recorded: dict[str, Any], present: dict[str, Any], path: Path) -> None:
    """What a run was started from must be what it is resumed from, as far as it was recorded."""
    present = {key: value for key, value in present.items() if key in recorded}
    if changed := differences(recorded, present):
        raise InputError(f"run: {path} cannot be resumed, its inputs changed: {'; '.join(changed)}")


def read_config(folder: Path, what: str = "run") -> dict[str, Any]:
    """The configuration that a run recorded, as training's own schema has it; what a record of an
    earlier version lacks is the default.

    Raises:
        InputError: no run folder, or a record with anything that a training cannot be told.
    """
    if folder.is_dir() and not (folder / CONFIG).exists():
        raise InputError(f"{what}: {folder} is not a run folder (it has no {CONFIG})")
    recorded = filled(read_yaml(folder / CONFIG), as_dict(TrainConfig()))
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
