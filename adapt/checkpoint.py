"""Checkpoints that survive `kill -9`: written aside, digested, renamed, never changed."""

import io
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adapt.errors import InputError
from adapt.files import read_json, sha256, sync_folder, write_json, write_whole, writing
from adapt.tensors import read_torch

STATE, META = "state.pt", "meta.json"
FORMAT = 2
KEPT = 2
NAME = re.compile(r"step_(\d{8})")


class Checkpoint(NamedTuple):
    step: int
    state: dict[str, Any]
    meta: dict[str, Any]


def save(folder: Path, step: int, state: dict[str, Any], meta: dict[str, Any]) -> None:
    """Commit `folder/step_XXXXXXXX/{state.pt, meta.json}` and prune all but the newest KEPT.

    meta.json, written last, has the SHA-256 of state.pt. OSError (disk full, read-only) leaves the
    older checkpoints as they are and no temporary folder.
    """
    target = folder / f"step_{step:08d}"
    if target.exists():
        return
    aside = folder / f"{target.name}.tmp-{os.getpid()}"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with writing(target):
        aside.mkdir(parents=True)
        try:
            write_whole(aside / STATE, buffer.getvalue())
            digest = sha256(aside / STATE)
            write_json(aside / META, {"format": FORMAT, "step": step, "sha256": digest, **meta})
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


def clean(folder: Path) -> None:
    """Remove what an interrupted save left."""
    for path in folder.glob("step_*.tmp-*"):
        shutil.rmtree(path)


def load(path: Path) -> Checkpoint:
    """One checkpoint, verified.

    Raises:
        InputError: a file is missing, altered, or of another format; the message names it.
    """
    meta = read_json(path / META)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise InputError(f"{path / META}: not a checkpoint of format {FORMAT}")
    if not (path / STATE).is_file():
        raise InputError(f"{path / STATE}: no such file")
    if (digest := sha256(path / STATE)) != meta.get("sha256"):
        raise InputError(
            f"{path / STATE}: corrupt: SHA-256 {digest}, recorded {meta.get('sha256')}"
        )
    return Checkpoint(int(meta["step"]), read_torch(path / STATE), meta)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is intact, and a warning for each newer one that is not."""
    warnings: list[str] = []
    for path in reversed(committed(folder)):
        try:
            return load(path), warnings
        except InputError as error:
            warnings.append(f"skipping a damaged checkpoint: {error}")
    return None, warnings
