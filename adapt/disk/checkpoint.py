"""Checkpoints that survive `kill -9`: written aside, digested, renamed, never changed.

meta.json has the SHA-256 of state.pt and of all that the training started from, the run's settings,
and what metrics.jsonl was by then.
"""

import io
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adapt.disk.files import (
    read_mapping,
    remove,
    sha256,
    sync_folder,
    write_json,
    write_whole,
    writing,
)
from adapt.disk.tensors import read_torch
from adapt.errors import InputError
from adapt.settings.mapping import check_record

STATE, META = "state.pt", "meta.json"
FORMAT = 2
KEPT = 2
NAME = re.compile(r"step_(\d{8})")


@dataclass
class Meta:
    """What meta.json must have."""

    step: int
    sha256: str
    inputs: dict[str, str]
    """Digests of what the training started from."""
    seconds: float
    """That the training had taken."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the run, as its config.yaml has them; {} = of an earlier version."""
    curve: dict[str, Any] = field(default_factory=dict)
    """The run's metrics.jsonl by then: how many `lines`, and their `sha256`."""


class Checkpoint(NamedTuple):
    step: int
    state: dict[str, Any]
    meta: dict[str, Any]


def save(
    folder: Path,
    step: int,
    state: dict[str, Any],
    inputs: dict[str, str],
    seconds: float,
    **about: Any,
) -> None:
    """Commit `folder/step_XXXXXXXX/{state.pt, meta.json}` and prune all but the newest KEPT;
    `about` has the other entries of `Meta`.

    meta.json is written last. OSError (disk full, read-only) leaves the older checkpoints as they
    are and no temporary folder.
    """
    target = folder / f"step_{step:08d}"
    if target.exists():  # damaged ones were set aside by `newest`
        return
    aside = folder / f"{target.name}.tmp-{os.getpid()}"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with writing(target):
        aside.mkdir(parents=True)
        try:
            write_whole(aside / STATE, buffer.getvalue())
            own = {"format": FORMAT, "step": step, "sha256": sha256(aside / STATE)}
            write_json(aside / META, {**own, "inputs": inputs, "seconds": seconds, **about})
            sync_folder(aside)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(folder)
    for old in committed(folder)[:-KEPT]:
        shutil.rmtree(old.rename(folder / f"{old.name}.tmp-{os.getpid()}"))  # whole or not there


def committed(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if NAME.fullmatch(p.name))


def settings(folder: Path) -> dict[str, Any]:
    """Those of the run, in its newest checkpoint that has any; {} = there are none."""
    for path in reversed(committed(folder)):
        with suppress(InputError):
            if isinstance(found := read_mapping(path / META).get("settings"), dict):
                return found
    return {}


def clean(folder: Path) -> None:
    """Remove what an interrupted save left."""
    for path in folder.glob("step_*.tmp-*"):
        remove(path)


def load(path: Path) -> Checkpoint:
    """One checkpoint, verified: InputError where a file is missing, altered, of another step or of
    another format."""
    meta, state = read_mapping(path / META), path / STATE
    if (found := meta.get("format")) != FORMAT:
        raise InputError(f"{path / META}: a checkpoint of format {found!r}; this reads {FORMAT}")
    check_record(Meta, meta, str(path / META))
    if path.name != f"step_{meta['step']:08d}":
        raise InputError(f"{path / META}: of step {meta['step']}, which the folder's name is not")
    digest = sha256(state)
    if digest != meta["sha256"]:
        raise InputError(f"{state}: corrupt: SHA-256 {digest}, recorded {meta['sha256']}")
    content = read_torch(state)
    if not isinstance(content, dict):
        raise InputError(f"{state}: holds a {type(content).__name__}, no training's state")
    return Checkpoint(meta["step"], content, meta)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is intact, and a warning for each newer one that is not; those are
    set aside, so that the run can come by their step again. None = there are no checkpoints.

    Raises:
        InputError: there are checkpoints and none is intact; nothing is touched then.
    """
    problems: dict[Path, str] = {}
    for path in reversed(committed(folder)):
        try:
            found = load(path)
        except InputError as error:
            problems[path] = str(error)
            continue
        warnings = []
        for damaged, why in problems.items():
            aside = damaged.with_name(f"{damaged.name}.damaged")
            if aside.exists():
                remove(aside)
            damaged.rename(aside)
            warnings.append(f"skipping a damaged checkpoint, now {aside.name}: {why}")
        return found, warnings
    if problems:
        raise InputError(
            f"run: none of the checkpoints in {folder} is intact: {'; '.join(problems.values())}. "
            "Bring one back from a backup, or delete that folder to start from scratch"
        )
    return None, []
