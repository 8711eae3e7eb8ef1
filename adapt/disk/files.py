"""Writing files whole or not at all, and their digests."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from adapt.errors import InputError

LARGEST = 32 << 20
"""Bytes of the largest JSON file that is read."""
LARGEST_YAML = 1 << 20
DEEPEST = 64
"""Mappings and lists inside each other in JSON and YAML."""
SEAL = "seal"
"""Key of a sealed record: SHA-256 of its other entries."""
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


def strangers(folder: Path, own: set[str], written: Iterable[str]) -> set[str]:
    """Names in a folder that are neither `own` nor what a killed `write_whole` left of files that
    are `written` there."""
    there = list(folder.iterdir())
    return {p.name for p in there} - own - {p.name for p in leftovers(there, written)}


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


def check_readable(path: Path) -> int:
    """The size of a file that can be read; nothing that blocks (a pipe) is opened.

    Raises:
        InputError: missing, a folder, a pipe or device, a loop of links, or no permission.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no regular file'}")
        path.open("rb").close()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    return about.st_size


def read_text(path: Path, largest: int = LARGEST) -> str:
    """The content of a UTF-8 text file of at most `largest` bytes; else an InputError."""
    if (size := check_readable(path)) > largest:
        raise InputError(f"{path}: {size} bytes; at most {largest} are read")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def refuse_absurd(content: Any, where: str) -> None:
    """Raises InputError for nesting beyond DEEPEST and for integers beyond 64 bits, on which
    whatever reads them would fail."""
    level, depth = [content], 0
    while level:
        if depth > DEEPEST:
            raise InputError(f"{where}: nested more than {DEEPEST} levels deep")
        if any(isinstance(x, int) and abs(x) >> 63 for x in level):
            raise InputError(f"{where}: an integer of more than 64 bits")
        lists = [
            x.values() if isinstance(x, dict) else x for x in level if isinstance(x, dict | list)
        ]
        level, depth = [item for items in lists for item in items], depth + 1


def parse_json(text: str, where: str, nan: bool = False) -> Any:
    """JSON text; anything else, what is absurdly deep or large, and NaN or Infinity unless they are
    allowed, is an InputError."""

    def constant(name: str) -> float:
        if not nan:
            raise ValueError(f"{name} is not JSON")
        return float(name)

    try:
        content = json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON ({error})") from None
    refuse_absurd(content, where)
    return content


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
    """A mapping of plain values in a YAML file. Tags (`!!python/...`) and references (`*a`), which
    nothing here writes and which can name code or unfold without end, are refused.

    Raises:
        InputError: missing, broken, or with anything else inside.
    """
    text, depth = read_text(path, LARGEST_YAML), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise InputError(f"{path}: nested more than {DEEPEST} levels deep")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                line = event.start_mark.line + 1
                raise InputError(f"{path}:{line}: a tag or reference; only plain values are read")
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: broken YAML ({error})") from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: a value that YAML cannot hold ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping")
    refuse_absurd(content, str(path))
    return content


def seal_of(content: dict[str, Any]) -> str:
    """SHA-256 of a record's entries, but for the seal itself, as JSON in order of their names."""
    entries = {k: v for k, v in finite(content).items() if k != SEAL}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The record with its seal, by which `check_seal` tells whether it was altered."""
    return content | {SEAL: seal_of(content)}


def check_seal(content: dict[str, Any], path: Path) -> None:
    """Raises InputError where a record is not what was sealed."""
    if content.get(SEAL) != (found := seal_of(content)):
        raise InputError(
            f"{path}: corrupt: the SHA-256 of its entries is {found}, recorded {content.get(SEAL)}"
        )


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
