"""A run folder: configuration, environment, metrics, checkpoints, result; one writer at a time."""

import hashlib
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
    parse_json,
    read_mapping,
    read_yaml,
    refuse_links,
    sha256,
    strangers,
    write_json,
    write_whole,
    writing,
)
from adapt.disk.lock import only_writer
from adapt.errors import InputError, listing
from adapt.machine.processes import on_rank_zero, rank_zero_only, world
from adapt.machine.runtime import say
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import as_dict, build, check_record, differences, filled
from adapt.settings.training import TrainConfig

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "env.json", "metrics.jsonl", "summary.json"
MODEL = WEIGHTS, ABOUT = ("model.safetensors", "model.json")
ADAPTERS = "adapters.safetensors"
LOST = "diverged.json"
"""In a study's folder: what was said of each training that diverged, by its folder."""
LOCK = "lock"
TEACHER, STUDENT = "teacher.safetensors", "student.safetensors"
"""The weights of a teacher, and of a student before its training, that were objects of Python; they
are there before the run is."""
OWN = (CONFIG, ENVIRONMENT, METRICS, SUMMARY, *MODEL, ADAPTERS)
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
AGAIN = "start its command again, which finishes it from its last checkpoint"
"""What to do with a run that is not as its training left it."""
PACKAGES = ("torch", "torchvision", "numpy", "albumentations", "opencv-python-headless", "pillow")


class RunFolder:
    """Paths and records of one run; made by `open_run`. Rank 0 writes them."""

    def __init__(self, path: Path, recorded: dict[str, Any]) -> None:
        """`recorded`: the settings that the run was started with."""
        self.path, self.recorded = path, recorded
        self.checkpoints = path / "checkpoints"

    def elsewhere(self) -> list[str]:
        """What a training's bits depend on and is another now than when the run began."""
        then = read_environment(self.path)
        own = {"threads": then["threads"], "torch": then["packages"].get("torch")}
        return differences(own, {"threads": torch.get_num_threads(), "torch": version("torch")})

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json, with the digests of weights, configuration and curve."""
        digests = {"model": sha256(self.path / WEIGHTS), "config": sha256(self.path / CONFIG)}
        about = digests | {"curve": curve(self.path)}
        write_json(self.path / SUMMARY, summary | about)

    @rank_zero_only
    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        path = self.path / METRICS
        with writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    @rank_zero_only
    def rewind(self, step: int, wanted: dict[str, Any] | None = None) -> None:
        """Drop metrics beyond `step`, and a last line cut short, before a run goes on; a warning
        where what is left is not the curve that is `wanted`."""
        if (self.path / METRICS).is_file():
            kept = [r for r in read_metrics(self.path) if r["step"] <= step]
            text = "".join(json.dumps(r) + "\n" for r in kept)
            write_whole(self.path / METRICS, text)
        if wanted and (problem := other_curve(self.path, wanted)):
            say(f"warning: {problem}")


@contextmanager
def open_run(
    path: Path, config: dict[str, Any], default: dict[str, Any] | None = None
) -> Iterator[RunFolder]:
    """`claimed`, by rank 0 for all processes of a run."""
    with ExitStack() as stack:
        found = on_rank_zero(lambda: stack.enter_context(claimed(path, config, default or {})))
        yield RunFolder(path, found)


@contextmanager
def claimed(
    path: Path, config: dict[str, Any], default: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The run folder `path`, made with `config` or, where it exists, checked against it; settings
    that a record does not have count as their `default`. Yields the record, which comes from the
    newest checkpoint where config.yaml is gone or empty.

    Raises:
        InputError: another process writes there, a folder that is not a run, or a configuration
            that differs (each differing key with the recorded and the given value).
    """
    if not str(path) or str(path) == ".":
        raise InputError("run is empty: give the run's folder, for example run=runs/teacher")
    there, kept = begun(path)
    with only_writer(path / LOCK, f"run: another process is writing {path}", keep=True):
        clear(path.iterdir(), (*OWN, "teacher_maps"))
        if there or kept:
            renew_environment(path)
        else:
            write_json(path / ENVIRONMENT, environment())
        if not there:
            if kept:
                say(f"warning: {path} has lost its {CONFIG}: brought back from its checkpoint")
            write_whole(path / CONFIG, yaml.safe_dump(kept or config, sort_keys=False))
        recorded = read_yaml(path / CONFIG)
        check_same(path, recorded, config, default)
        checkpoint.clean(path / "checkpoints")
        yield recorded


def begun(path: Path) -> tuple[bool, dict[str, Any]]:
    """Has a run's folder its config.yaml, and what settings has the newest checkpoint where not?
    InputError for a folder of something else."""
    refuse_links(path)
    there = (path / CONFIG).is_file() and (path / CONFIG).stat().st_size > 0
    kept = {} if there else checkpoint.settings(path / "checkpoints")
    own = {LOCK, ENVIRONMENT, TEACHER, STUDENT}
    if path.is_dir() and not (there or kept) and strangers(path, own):
        raise InputError(f"run: {path} exists and is not a run folder (it has no {CONFIG})")
    return there, kept


def renew_environment(path: Path) -> None:
    """Write env.json anew where it is gone or broken, which is said."""
    try:
        read_environment(path)
    except InputError as error:
        say(f"warning: {error}; it is written anew, of this command and machine")
        write_json(path / ENVIRONMENT, environment())


def check_same(
    path: Path, recorded: dict[str, Any], config: dict[str, Any], default: dict[str, Any]
) -> None:
    """InputError where a run was started with another configuration than the one given."""
    if changed := decisive_differences(recorded, config, default):
        longer = LONGER if any(c.startswith("steps:") for c in changed) else ""
        raise InputError(
            f"run: {path} was started with another configuration ({CONFIG} -> given): "
            f"{'; '.join(changed)}. Give a new run=, or the recorded values{longer}"
        )


def decisive_differences(
    old: dict[str, Any], new: dict[str, Any], default: dict[str, Any]
) -> list[str]:
    """`differences` of settings that the result of a training depends on; what a record of an
    earlier version lacks counts as its `default`."""
    kept = [
        {k: v for k, v in filled(c, default).items() if k not in MAY_DIFFER} for c in (old, new)
    ]
    return differences(*kept)


def unfinished(run: Path, weights: str = "") -> str:
    """Why a run is not as a finished training leaves it, for messages; empty = it is. `weights` is
    the SHA-256 of its model.safetensors, where that is known."""
    wanted = (SUMMARY, *MODEL) if (run / CONFIG).exists() else MODEL
    if missing := [name for name in wanted if not (run / name).is_file()]:
        return f"{run} has no {listing(missing)}: its training has not finished, or it was removed"
    known = {}
    try:
        known[ABOUT] = read_mapping(run / ABOUT).get("sha256")
        if SUMMARY in wanted:
            known[SUMMARY] = read_record(Summary, run / SUMMARY).get("model", weights)
    except InputError as error:
        return str(error)
    for name, digest in known.items():
        if weights and digest != weights:
            return (
                f"{run / WEIGHTS}: altered, damaged or of another run: its SHA-256 is {weights}, "
                f"{name} has {digest}"
            )
    return ""


def other_config(run: Path) -> str:
    """What is wrong with config.yaml where it is not the one that the run was trained with, for
    messages; empty = nothing, or a run of an earlier version."""
    there = (run / CONFIG).is_file() and (run / SUMMARY).is_file()
    wanted = read_summary(run).get("config") if there else ""
    if not wanted or sha256(run / CONFIG) == wanted:
        return ""
    return (
        f"{run / CONFIG} is not what this training wrote: it was changed, or comes from another "
        "run; what it says is believed"
    )


def curve(run: Path) -> dict[str, Any]:
    """What metrics.jsonl is: the number of its lines, and their SHA-256."""
    content = (run / METRICS).read_bytes() if (run / METRICS).is_file() else b""
    return {"lines": content.count(b"\n"), "sha256": hashlib.sha256(content).hexdigest()}


def other_curve(run: Path, wanted: dict[str, Any]) -> str:
    """What is wrong with metrics.jsonl where it is not the `curve` that its training wrote, for
    messages; empty = nothing."""
    found = curve(run)
    if found == wanted:
        return ""
    return (
        f"{run / METRICS} is not what this training wrote: lines were lost, changed or come from "
        f"another run ({found['lines']} of {wanted.get('lines')} are there); the weights do not "
        "depend on it"
    )


def place_in(run: Path, out: str, inside: str = "") -> Path:
    """Where a command writes: `out`, or else in the run's folder, where no link is followed."""
    if out:
        return Path(out)
    refuse_links(run)
    return run / inside


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
    model: str = ""
    """SHA-256 of model.safetensors."""
    config: str = ""
    """SHA-256 of config.yaml."""
    curve: dict[str, Any] = field(default_factory=dict)
    """What metrics.jsonl was at the end (`curve`)."""


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
    try:
        return read_record(Summary, run / SUMMARY)
    except InputError as error:
        raise InputError(f"{error}; {AGAIN}") from None


def read_environment(run: Path) -> dict[str, Any]:
    """A run's env.json; InputError where it is not one."""
    return read_record(Environment, run / ENVIRONMENT)


def read_record(schema: type, path: Path) -> dict[str, Any]:
    found = read_mapping(path)
    check_record(schema, found, str(path))
    return found
