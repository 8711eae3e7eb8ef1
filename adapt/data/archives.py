"""Files of others, before their content is looked at: only regular ones, and not above a size.

A member of a tar archive is a file like any other, by a path made of its place in the archive:
SHARD.tar/@OFFSET+SIZE/NAME.
"""

import io
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, cast

from adapt.errors import InputError

MAX_BYTES = 1 << 28
"""Of one image."""
SHARD = ".tar"
MAX_SHARD = 1 << 46
"""Bytes of an archive, 70 TB."""
PLACE = re.compile(r"@([0-9]{1,15})\+([0-9]{1,15})")


def part(shard: Path, offset: int, size: int, name: str) -> Path:
    """The path of a member: its suffix is the member's, its place in the archive part of it."""
    return shard / f"@{offset}+{size}" / name


class Part(io.RawIOBase):
    """So many bytes of a file, from an offset on."""

    def __init__(self, whole: BinaryIO, offset: int, size: int) -> None:
        self.whole, self.offset, self.size, self.at = whole, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        self.at = to + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def readall(self) -> bytes:
        left = max(self.size - self.at, 0)
        found = os.pread(self.whole.fileno(), left, self.offset + self.at)
        self.at += len(found)
        return found

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = max(self.size - self.at, 0)
        found = os.preadv(self.whole.fileno(), [buffer[:left]], self.offset + self.at)
        self.at += found
        return found

    def close(self) -> None:
        self.whole.close()
        super().close()


def opened_part(shard: Path, offset: int, size: int, limit: int, path: Path) -> BinaryIO:
    """A member of an archive, as `opened`.

    Raises:
        InputError: also where the archive has become shorter.
    """
    if size > limit:
        raise InputError(f"{path}: {size} bytes; at most {limit} are read")
    whole = opened(shard, MAX_SHARD, "shard")
    if offset + size > os.fstat(whole.fileno()).st_size:
        whole.close()
        raise InputError(f"{path}: the archive has become shorter than that")
    return cast(BinaryIO, io.BufferedReader(Part(whole, offset, size)))


def opened(path: Path, limit: int, what: str = "file") -> BinaryIO:
    """A regular file of at most `limit` bytes, open for reading.

    Raises:
        InputError: missing, a folder, a pipe or a device, above the limit, or not ours to read.
    """
    if (place := PLACE.fullmatch(path.parent.name)) and path.parents[1].suffix == SHARD:
        return opened_part(path.parents[1], int(place[1]), int(place[2]), limit, path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{path}: not a file")
        if about.st_size > limit:
            raise InputError(f"{path}: {about.st_size} bytes; at most {limit} are read")
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error})") from None


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file; raises InputError as `opened`."""
    with opened(path, limit) as stream:
        return stream.read(limit)
