"""Files that are written whole or not at all; JSON, YAML and text that are read; digests."""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import yaml

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


def strangers(folder: Path, own: set[str]) -> set[str]:
    """Names in a folder that are neither `own` nor what a killed `write_whole` left there."""
    return {p.name for p in folder.iterdir() if not LEFTOVER.fullmatch(p.name)} - own


def clear(paths: Iterable[Path], names: Collection[str] | None = None) -> None:
    """Remove what a killed `write_whole` left among `paths`; of files of certain `names` only. What
    another process is writing stays: it holds a lock on it."""
    for path in paths:
        if (of := LEFTOVER.fullmatch(path.name)) and (names is None or of[1] in names):
            with suppress(OSError), path.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@cache
def leftovers(folder: Path) -> dict[str, list[Path]]:
    """What `clear` would look at in a folder, by the name of the file that was being written. A
    folder is listed once in a process: there may be tens of thousands of files to write into it."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if of := LEFTOVER.fullmatch(path.name):
            found.setdefault(of[1], []).append(path)
    return found


def remove(path: Path) -> None:
    """A file, a folder with all that is in it, or a link, but not what that leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def refuse_links(folder: Path) -> None:
    """InputError for a link anywhere in a folder that is about to be written to: in one that comes
    from others it may lead to any file. The folder itself may be a link, which its user made."""
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in folders + names):
            if path.is_symlink():
                raise InputError(
                    f"{path}: a link to {path.readlink()}, and links in a run's folder are not "
                    "followed for writing or deleting; put what it leads to in its place (the "
                    "whole folder may be a link)"
                )


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A stream for what replaces `path` in one step when the block ends well: temporary file beside
    it, fsync, rename. Such files that a killed process left are removed.

    Without `durable` there is no fsync, which costs milliseconds a file: a killed process leaves
    the file whole or not at all, a power failure may leave it empty.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(leftovers(path.parent.resolve()).pop(path.name, ()))
        try:
            temporary.unlink(missing_ok=True)  # of a killed process of this number, or a link
            with temporary.open("xb") as stream:
                with suppress(OSError):  # not every file system has locks
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield stream
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Replace `path` by `content` in one step, as `whole_file` does. In a text, which becomes
    UTF-8, names that are not UTF-8 stay as they are on disk."""
    if isinstance(content, str):
        content = content.encode(errors="surrogateescape")
    with whole_file(path, durable) as stream:
        stream.write(content)


def finite(content: Any) -> Any:
    """The same with NaN and infinities as None, which JSON has no word for."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(finite(content), indent=1, allow_nan=False) + "\n")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """An OSError inside is an InputError: it was `path` that could not be read."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def check_readable(path: Path) -> None:
    """InputError for a file that is missing, forbidden or in a loop of links, for a folder, and for
    a pipe or device, of which none is opened."""
    with reading(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no regular file'}")
        path.open("rb").close()


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, or an InputError."""
    check_readable(path)
    try:
        with reading(path):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None


def parse_json(text: str | bytes, where: str) -> Any:
    """The content of a JSON text, which may have NaN; a broken one is an InputError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON ({error})") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; a missing or broken one is an InputError."""
    return parse_json(read_text(path), str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """As `read_json`, of a file that holds a JSON object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; it must be a mapping")
    return content


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping of plain values in a YAML file; anything else is an InputError. No tag makes an
    object, and references (`*a`), which can unfold without end, are refused."""
    text = read_text(path)
    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader) if "*" in text else ()
        references = [e.start_mark.line + 1 for e in events if isinstance(e, yaml.AliasEvent)]
        content = None if references else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: broken YAML ({error})") from None
    if references:
        raise InputError(f"{path}:{references[0]}: a reference; only plain values are read")
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping")
    return content


def sha256(path: Path) -> str:
    """SHA-256 of a file, or an InputError."""
    with reading(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of a mapping's JSON, in order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8; names of files that are not UTF-8 count as they are on disk."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def sync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
