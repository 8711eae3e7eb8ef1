"""Writing files whole or not at all, and their digests."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapt.errors import InputError

LEFTOVER = re.compile(r"\.(.+)\.tmp-\d+")
"""What a process that was killed while writing leaves beside the file; group 1 is its name."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError inside says that it was `path` that could not be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def unwritten(error: OSError) -> str:
    """What a user is told of a file that could not be written or read: which, why and, where the
    disk is full, how much is free."""
    text = f"{error.filename}: {error.strerror}"
    if error.errno not in FULL:
        return text
    place = next(p for p in (Path(error.filename), *Path(error.filename).parents) if p.exists())
    free, files = shutil.disk_usage(place).free, os.statvfs(place)
    inodes = f" and {files.f_favail:,} inodes" if files.f_files else ""
    return (
        f"{text} ({free / 1e6:,.1f} MB{inodes} free). Nothing is half written; with room made, the "
        "same command goes on"
    )


def leftovers(paths: Iterable[Path], names: Iterable[str] | None = None) -> list[Path]:
    """Those of `paths` that a killed `write_whole` left; of files of certain `names` only."""
    wanted = None if names is None else set(names)
    matched = [(p, found) for p in paths if (found := LEFTOVER.fullmatch(p.name))]
    return [p for p, found in matched if wanted is None or found[1] in wanted]


def clear(paths: Iterable[Path], names: Iterable[str] | None = None) -> None:
    """Remove the leftovers among `paths`."""
    for path in leftovers(paths, names):
        path.unlink()


def write_whole(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace `path` by `content` in one step: temporary file beside it, fsync, rename.

    Without `durable` there is no fsync, which costs milliseconds a file: a killed process leaves
    the file whole or not at all, a power failure may leave it empty.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
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
