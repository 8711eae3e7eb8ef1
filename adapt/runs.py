"""A run folder: configuration, environment, metrics, checkpoints, result; one writer at a time."""

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from adapt import checkpoint
from adapt.errors import InputError
from adapt.files import clear, leftovers, read_json, write_json, write_whole, writing
from adapt.lock import only_writer
from adapt.settings import differences, filled

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "env.json", "metrics.jsonl", "summary.json"
LOCK = "lock"
OWN = (CONFIG, ENVIRONMENT, METRICS, SUMMARY, "model.safetensors", "model.json")
"""What a training writes into its folder, and nobody else."""
MAY_DIFFER = ("run", "workers", "device", "log_every", "drift_every", "checkpoint_every")
"""Settings that may change when a run is resumed, because the result does not depend on them."""

PACKAGES = ("torch", "torchvision", "numpy", "albumentations", "opencv-python-headless", "pillow")


def read_config(folder: Path, what: str = "run") -> dict[str, Any]:
    """The configuration that a run recorded."""
    try:
        recorded = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{what}: {folder} is not a run folder (it has no {CONFIG})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{folder / CONFIG}: broken YAML ({error})") from None
    if not isinstance(recorded, dict):
        raise InputError(f"{folder / CONFIG}: not a mapping")
    return recorded


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
    """Paths and records of one run; made by `open_run`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @property
    def finished(self) -> bool:
        return (self.path / SUMMARY).is_file()

    def finish(self, summary: dict[str, Any]) -> None:
        write_json(self.path / SUMMARY, summary)

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        path = self.path / METRICS
        with writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def rewind(self, step: int) -> None:
        """Drop metrics beyond `step`, and a last line cut short, before a run goes on."""
        if (self.path / METRICS).is_file():
            kept = [r for r in read_metrics(self.path) if r["step"] <= step]
            text = "".join(json.dumps(r) + "\n" for r in kept)
            write_whole(self.path / METRICS, text.encode())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl, in order."""
    path = folder / METRICS
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


@contextmanager
def open_run(
    path: Path, config: dict[str, Any], default: dict[str, Any] | None = None
) -> Iterator[RunFolder]:
    """The run folder `path`, made with `config` or, where it exists, checked against it; settings
    that a record does not have yet count as their `default`.

    Raises:
        InputError: another process writes there, a folder that is not a run, or a configuration
            that differs (each differing key with the recorded and the given value).
    """
    if not str(path) or str(path) == ".":
        raise InputError("run is empty: give the run's folder, for example run=runs/teacher")
    if path.is_dir() and any(path.iterdir()) and not (path / CONFIG).is_file():
        there = list(path.iterdir())
        begun = {LOCK, ENVIRONMENT, *(p.name for p in leftovers(there, OWN))}
        if {p.name for p in there} - begun:
            raise InputError(f"run: {path} exists and is not a run folder (it has no {CONFIG})")
    with only_writer(path / LOCK, f"run: another process is writing {path}", keep=True):
        clear(path.iterdir(), OWN)
        if (path / CONFIG).is_file():
            old, new = (
                {k: v for k, v in c.items() if k not in MAY_DIFFER}
                for c in (filled(read_config(path), default or {}), config)
            )
            if changed := differences(old, new):
                raise InputError(
                    f"run: {path} was started with another configuration (recorded -> given): "
                    f"{'; '.join(changed)}. Give a new run=, or the recorded values"
                )
        else:
            write_json(path / ENVIRONMENT, environment())
            write_whole(path / CONFIG, yaml.safe_dump(config, sort_keys=False).encode())
        checkpoint.clean(path / "checkpoints")
        yield RunFolder(path)


def check_inputs(recorded: dict[str, Any], present: dict[str, Any], path: Path) -> None:
    """What a run was started from must be what it is resumed from, as far as it was recorded."""
    present = {key: value for key, value in present.items() if key in recorded}
    if changed := differences(recorded, present):
        raise InputError(f"run: {path} cannot be resumed, its inputs changed: {'; '.join(changed)}")


def summary(path: Path) -> dict[str, Any]:
    return read_json(path / SUMMARY)
