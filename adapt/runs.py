"""A run folder: configuration, environment, metrics, checkpoints, result; one writer at a time."""

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from adapt import checkpoint
from adapt.distributed import first, first_only, world
from adapt.errors import InputError
from adapt.files import clear, read_yaml, strangers, write_json, write_whole, writing
from adapt.lock import only_writer
from adapt.records import CONFIG, ENVIRONMENT, METRICS, SUMMARY, read_metrics
from adapt.settings import differences, filled

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

    @first_only
    def finish(self, summary: dict[str, Any]) -> None:
        write_json(self.path / SUMMARY, summary)

    @first_only
    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        path = self.path / METRICS
        with writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    @first_only
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
        first(lambda: stack.enter_context(claimed(path, config, default)))
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
