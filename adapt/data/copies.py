"""Copies of a data set in a folder of their own: made file by file, continued where a call was
interrupted, with a manifest of their digests."""

import hashlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.data.images import read_image
from adapt.disk.files import clear, read_mapping, sha256, write_json, write_whole
from adapt.errors import InputError
from adapt.machine.runtime import progress
from adapt.machine.workers import spread
from adapt.settings.mapping import differences

MANIFEST, LOCK = "manifest.json", "lock"


@dataclass(frozen=True)
class Output:
    """One file of a copy, made from a file of the source."""

    source: Path
    target: Path
    make: Callable[[Path], bytes] = Path.read_bytes
    """Source -> content: of an image or a mask, or the source's own."""
    same: bool = True
    """Is it the source's own?"""


def make(output: Output) -> str:
    """Make one file, unless an interrupted call has left it there whole; returns its SHA-256."""
    if output.target.exists() and intact(output):
        return sha256(output.target)
    content = output.make(output.source)
    write_whole(output.target, content, durable=False)
    return hashlib.sha256(content).hexdigest()


def intact(output: Output) -> bool:
    """Whether the file of an interrupted call survived: power failures leave empty or torn ones."""
    if output.same:
        return output.target.read_bytes() == output.source.read_bytes()
    try:
        return read_image(output.target).size > 0
    except InputError:
        return False


def make_all(outputs: list[Output], workers: int, what: str) -> list[str]:
    """All digests in the files' order; 0 workers = one for each core, 1 = this process."""
    workers = workers or os.cpu_count() or 1
    here = nullcontext(map(make, outputs))
    with here if workers == 1 else spread(make, outputs, workers, 4, what) as found:
        return list(progress(found, what=what, total=len(outputs)))


def claim(out: Path, name: str, made_with: dict[str, Any], former: dict[str, Any]) -> None:
    """Mark `out` as what these settings make, in its file `name`, or check that it is; clear what a
    killed call left. Settings that an earlier version did not record count as `former`."""
    if not (out / name).is_file():
        write_json(out / name, made_with)
    elif changed := differences(former | read_mapping(out / name), made_with):
        raise InputError(f"out: {out} was made otherwise (there -> given): {'; '.join(changed)}")
    clear(out.rglob(".*"))


def write_manifest(
    out: Path, made_with: dict[str, Any], outputs: list[Output], digests: list[str]
) -> Path:
    """The record, written last, of settings and of every file's digest."""
    os.sync()  # the files before the manifest that vouches for them
    names = (output.target.relative_to(out).as_posix() for output in outputs)
    write_json(out / MANIFEST, {**made_with, "sha256": dict(zip(names, digests, strict=True))})
    return out / MANIFEST
