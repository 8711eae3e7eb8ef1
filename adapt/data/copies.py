"""Copies of a data set in a folder of their own: made file by file, continued where a call was
interrupted, with a manifest of their digests."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.data.archives import members
from adapt.data.images import read_image
from adapt.data.video import status
from adapt.disk.files import read_mapping, reading, sha256, whole_file, write_json, write_whole
from adapt.disk.portions import PARTS, Portion
from adapt.errors import InputError
from adapt.machine.workers import in_processes
from adapt.settings.mapping import differences

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Output:
    """One file of a copy, made from a file of the source."""

    source: Path
    target: Path
    make: Callable[[Path], bytes] = Path.read_bytes
    """Source -> content: of an image or a mask, or the source's own."""
    same: bool = True
    """Is it the source's own?"""


@dataclass(frozen=True)
class Shard:
    """A tar archive of files of a copy."""

    target: Path
    members: Mapping[str, Output]
    """Name in the archive -> the file, whose own target does not count."""


def make(output: Output | Shard) -> str:
    """Make one file, unless an earlier call has left it there whole and no source of it was written
    since; returns its SHA-256."""
    sources = output.members.values() if isinstance(output, Shard) else [output]
    newest = max(written(one.source) for one in sources)
    if output.target.exists() and newest <= written(output.target) and intact(output):
        return sha256(output.target)
    if isinstance(output, Shard):
        return pack(output)
    content = output.make(output.source)
    write_whole(output.target, content, durable=False)
    return hashlib.sha256(content).hexdigest()


def written(path: Path) -> int:
    """When a file, or the video of a frame, was written, in nanoseconds; 0 for members of
    archives."""
    about = status(path)
    return about.st_mtime_ns if about else 0


def pack(shard: Shard) -> str:
    """Write an archive; the same files make the same bytes."""
    with whole_file(shard.target) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for name, output in shard.members.items():
            with reading(output.source):
                content = output.make(output.source)
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return sha256(shard.target)


def intact(output: Output | Shard) -> bool:
    """Whether the file of an interrupted call survived: power failures leave empty or torn ones."""
    if isinstance(output, Output) and output.same:
        return output.target.read_bytes() == output.source.read_bytes()
    try:
        if isinstance(output, Shard):
            return [name for name, _, _ in members(output.target)] == [*output.members]
        return read_image(output.target).size > 0
    except InputError:
        return False


def make_all(
    out: Path, outputs: Sequence[Output | Shard], workers: int, what: str
) -> dict[str, str]:
    """The digests of all files by their names in `out`; 0 workers = one for each core, 1 = this
    process."""
    chunk = 1 if any(isinstance(output, Shard) for output in outputs[:1]) else 4
    digests = in_processes(make, outputs, workers, what, chunk)
    return dict(zip(relative_names(out, outputs), digests, strict=True))


def relative_names(out: Path, outputs: Iterable[Output | Shard]) -> list[str]:
    return [output.target.relative_to(out).as_posix() for output in outputs]


def claim(out: Path, name: str, made_with: dict[str, Any], former: dict[str, Any]) -> None:
    """Mark `out` as what these settings make, in its file `name`, or check that it is. Settings
    that an earlier version did not record count as `former`."""
    if not (out / name).is_file():
        write_json(out / name, made_with)
    elif changed := differences(former | read_mapping(out / name), made_with):
        raise InputError(f"out: {out} was made otherwise (there -> given): {'; '.join(changed)}")


def write_manifest(path: Path, made_with: dict[str, Any], digests: Mapping[str, str]) -> Path:
    """The record, written last, of settings and of every file's digest."""
    os.sync()  # the files before the manifest that vouches for them
    write_json(path, {**made_with, "sha256": digests})
    return path


def put_together(
    out: Path, part: Portion, names: Callable[[Portion], Sequence[str]]
) -> dict[str, str]:
    """The digests that the parts recorded by manifests of their own; an InputError where one has
    none, or has others than `names` says."""
    digests: dict[str, str] = {}
    for one, record in part.records(out / PARTS):
        own = record.get("sha256", {})
        if [*own] != names(one):
            raise InputError(f"part={one}: {one.record(out / PARTS)} is of other files; repeat it")
        digests |= own
    return digests
