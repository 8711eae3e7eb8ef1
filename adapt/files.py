"""Writing files whole or not at all, and their digests."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from adapt.errors import InputError


def write_whole(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace `path` by `content` in one step: temporary file beside it, fsync, rename.

    Without `durable` there is no fsync, which costs milliseconds a file: a killed process leaves
    the file whole or not at all, a power failure may leave it empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def finite(content: Any) -> Any:
    """The same with NaN and infinities as None, which JSON has no word for."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: Any) -> None:
    write_whole(path, (json.dumps(finite(content), indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file; a missing or broken one is an InputError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: broken JSON ({error})") from None


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
