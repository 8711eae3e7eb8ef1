"""Files of others: only regular ones and not above a size, tar archives, and MATLAB's.

A member of a tar archive is a file like any other, by a path made of its place in the archive:
SHARD.tar/@OFFSET+SIZE/NAME. Nothing is unpacked.
"""

import io
import os
import re
import stat
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from adapt.errors import InputError

MAX_BYTES = 1 << 28
"""Of one image."""
SHARD = ".tar"
MAX_SHARD = 1 << 46
"""Bytes of an archive, 70 TB."""
PLACE = re.compile(r"@([0-9]{1,15})\+([0-9]{1,15})")
BLOCK = 512
PADDING = 1 << 20
"""Bytes of zeros that may follow an archive's end; tar fills up to its blocking factor (10 kB)."""


def members(path: Path) -> Iterator[tuple[str, int, int]]:
    """The regular files of a plain tar archive, in its order: name (relative, without `..`), place
    of the first byte in the archive, and size.

    Raises:
        InputError: the archive is packed, damaged or cut off, or more follows its end; a link, a
            device or a sparse file; a name that leads out of the archive.
    """
    with opened(path, MAX_SHARD, "shard") as stream:
        end = 0
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for found in archive:
                    end = found.offset_data + -(-found.size // BLOCK) * BLOCK
                    if found.isdir():
                        continue
                    if not found.isreg() or found.issparse():
                        raise InputError(
                            f"{path}: its member {found.name!r} is a link, a device or a sparse "
                            "file; tar --dereference --hard-dereference stores files instead"
                        )
                    name = PurePosixPath(found.name)
                    if name.is_absolute() or ".." in name.parts:
                        text = f"its member {found.name!r} leads out of the archive"
                        raise InputError(f"{path}: {text}")
                    yield str(name), found.offset_data, found.size
        except (tarfile.TarError, OverflowError, OSError) as error:
            raise InputError(
                f"{path}: no plain tar archive, or cut off ({error}); unpack a .tar.gz first"
            ) from None
        rest = os.pread(stream.fileno(), PADDING + 1, end)
    if len(rest) < BLOCK or rest[:BLOCK].strip(b"\0"):  # tarfile would end here without a word
        raise InputError(f"{path}: cut off or damaged: no member and no end at byte {end}")
    if len(rest) > PADDING or rest.strip(b"\0"):
        raise InputError(
            f"{path}: more follows its end, as where archives were joined by cat; join them by tar "
            "--concatenate, or keep them apart"
        )


def part(shard: Path, offset: int, size: int, name: str) -> Path:
    """The path of a member: its suffix is the member's, its place in the archive part of it."""
    return shard / f"@{offset}+{size}" / name


class Part(io.FileIO):
    """So many bytes of a file, from an offset on."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__(path)
        self.start, self.end = offset, offset + size
        self.seek(0)

    def tell(self) -> int:
        return super().tell() - self.start

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self.start, os.SEEK_CUR: super().tell(), os.SEEK_END: self.end}
        return super().seek(base[whence] + to) - self.start

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[: max(self.end - super().tell(), 0)])

    def readall(self) -> bytes:
        return super().read(max(self.end - super().tell(), 0))


def opened(path: Path, limit: int, what: str = "file") -> io.BufferedReader:
    """A regular file, or a member of an archive, of at most `limit` bytes, open for reading; an
    InputError where it is missing, something else, larger or not ours to read."""
    if (place := PLACE.fullmatch(path.parent.name)) and path.parents[1].suffix == SHARD:
        shard, offset, size = path.parents[1], int(place[1]), int(place[2])
        with opened(shard, MAX_SHARD, "shard") as whole:
            there = os.fstat(whole.fileno()).st_size
        if size > limit or offset + size > there:
            why = f"at most {limit} are read" if size > limit else "its archive has become shorter"
            raise InputError(f"{path}: {size} bytes; {why}")
        return io.BufferedReader(Part(shard, offset, size))
    try:
        about = path.stat()
        if stat.S_ISREG(about.st_mode) and about.st_size <= limit:
            return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path}: not a file")
    raise InputError(f"{path}: {about.st_size} bytes; at most {limit} are read")


def read_mat(path: Path, name: str, what: str) -> Any:
    """The variable `name` of a MATLAB file up to version 7, as scipy.io.loadmat gives it; an
    InputError where the file is not `what` it should be."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with opened(path, MAX_BYTES) as stream:
        content = io.BytesIO(stream.read())
    try:
        return loadmat(content, variable_names=[name])[name]
    except (
        MatReadError, NotImplementedError, KeyError, ValueError, TypeError, IndexError, OSError,
        OverflowError, MemoryError, UnboundLocalError, zlib.error, struct.error,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: not {what} ({type(error).__name__}: {error})") from None
