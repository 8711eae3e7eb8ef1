"""A run folder: configuration, environment, metrics, checkpoints, result; one writer at a time."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
    digest,
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
TEACHER, STUDENT = "teacher.safetensors", "student.safetensors"
"""The weights of a teacher, and of a student before its training, that were objects of Python; they
are there before the run is."""
OWN = (CONFIG, ENVIRONMENT, METRICS, SUMMARY, "model.safetensors", "model.json",
       "adapters.safetensors")  # fmt: skip
"""What a training writes into its folder, and nobody else."""
MAY_DIFFER = (
    "run", "workers", "device", "log_every", "loggers", "drift_every", "checkpoint_every",
    "cache_teacher", "gradient_checkpointing",
)  # fmt: skip
"""Settings that may change when a run is resumed, because the result does not depend on them."""
LONGER = (
    "; a run cannot be made longer, because `steps` shapes the learning rate of every step: "
    "start=RUN trains on from the weights of a finished one, in another run="
)
PACKAGES = ("torch", "torchvision", "numpy", "albumentations", "opencv-python-headless", "pillow")


class RunFolder:
    """Paths and records of one run; made by `open_run`. Rank 0 writes them."""

    def __init__(self, path: Path, configuration: str) -> None:
        """`configuration`: SHA-256 of the one that the run was started with."""
        self.path, self.configuration = path, configuration
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
    """`claimed`, by rank 0 for all processes of a run."""
    with ExitStack() as stack:
        found = on_rank_zero(lambda: stack.enter_context(claimed(path, config, default or {})))
        yield RunFolder(path, found)


@contextmanager
def claimed(path: Path, config: dict[str, Any], default: dict[str, Any]) -> Iterator[str]:
    """The run folder `path`, made with `config` or, where it exists, checked against it; settings
    that a record does not have count as their `default`. Yields the digest of the record.

    Raises:
        InputError: another process writes there, a folder that is not a run, or a configuration
            that differs (each differing key with the recorded and the given value).
    """
    if not str(path) or str(path) == ".":
        raise InputError("run is empty: give the run's folder, for example run=runs/teacher")
    known = (path / CONFIG).is_file() or not path.is_dir()
    if not known and strangers(path, {LOCK, ENVIRONMENT, TEACHER, STUDENT}):
        raise InputError(f"run: {path} exists and is not a run folder (it has no {CONFIG})")
    with only_writer(path / LOCK, f"run: another process is writing {path}", keep=True):
        clear(path.iterdir(), OWN)
        if not (path / CONFIG).is_file():
            write_json(path / ENVIRONMENT, environment())
            write_whole(path / CONFIG, yaml.safe_dump(config, sort_keys=False).encode())
        recorded = read_yaml(path / CONFIG)
        check_same(path, recorded, config, default)
        checkpoint.clean(path / "checkpoints")
        yield digest(recorded)


def check_same(
    path: Path, recorded: dict[str, Any], config: dict[str, Any], default: dict[str, Any]
) -> None:
    """InputError where a run was started with another configuration than the one given."""
    old, new = (
        {k: v for k, v in c.items() if k not in MAY_DIFFER}
        for c in (filled(recorded, default), config)
    )
    if changed := differences(old, new):
        longer = LONGER if any(c.startswith("steps:") for c in changed) else ""
        raise InputError(
            f"run: {path} was started with another configuration (recorded -> given): "
            f"{'; '.join(changed)}. Give a new run=, or the recorded values{longer}"
        )


def environment() -> dict[str, Any]:
    """Command, versions and hardware, for the record."""
    packages: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            packages[package] = version(package)
    return {
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processes": world(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": packages,
        "git": revision(Path(__file__).parent),
    }


def command_line() -> str:
    """What was called, as it was given (`fra` takes its command's name off sys.argv)."""
    program, whole = sys.argv[0], sys.orig_argv
    given = whole[whole.index(program) + 1 :] if program in whole else sys.argv[1:]
    return shlex.join([Path(program).name, *given])


def revision(folder: Path) -> dict[str, Any]:
    """Commit of the code that lies in a folder, and whether it was changed since.

    Git must not lock its index for that: killed, it would leave a lock that blocks the user's own.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        with suppress(OSError):  # no git on this machine
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        return ""

    commit = git("rev-parse", "--quiet", "--verify", "HEAD")
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))}


def read_config(folder: Path, what: str = "run") -> dict[str, Any]:
    """The configuration that a run recorded, as training's own schema has it; what a record lacks
    is the default. InputError for no run folder, and for what a training cannot be told."""
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


def own_image(recorded: Mapping[str, Any]) -> str:
    """Which image of a pair a run's network sees, by its configuration: x1 or x2."""
    return "x2" if recorded["teacher"] or recorded["domain"] == "d2" else "x1"


@dataclass
class LossPart:
    """A part of the loss."""

    raw: float
    weighted: float


@dataclass
class MetricsLine:
    """What readers need of a line of metrics.jsonl; only the step is on every line."""

    step: int
    loss: float = 0.0
    lr: float = 0.0
    parts: dict[str, LossPart] = field(default_factory=dict)
    evaluation: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
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
    command: str = ""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl, in order; a last one that was cut short is left out.
    InputError for another line that is broken, or that is of no step."""
    path = folder / METRICS
    if not path.exists():
        return []
    check_readable(path)
    *lines, _ = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        records.append(parse_json(line, f"{path}:{number}"))
        check_record(MetricsLine, records[-1], f"{path}:{number}")
    return records


def read_summary(run: Path) -> dict[str, Any]:
    """A finished run's summary.json; InputError where it is not one."""
    return read_record(Summary, run / SUMMARY)


def read_environment(run: Path) -> dict[str, Any]:
    """A run's env.json; InputError where it is not one."""
    return read_record(Environment, run / ENVIRONMENT)


def read_record(schema: type, path: Path) -> dict[str, Any]:
    found = read_mapping(path)
    check_record(schema, found, str(path))
    return found
