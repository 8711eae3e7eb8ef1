"""Files of others, before their content is looked at: only regular ones, and not above a size."""

import stat
from pathlib import Path
from typing import BinaryIO

from adapt.errors import InputError

MAX_BYTES = 1 << 28
"""Of one image."""


def opened(path: Path, limit: int, what: str = "file") -> BinaryIO:
    """A regular file of at most `limit` bytes, open for reading.

    Raises:
        InputError: missing, a folder, a pipe or a device, above the limit, or not ours to read.
    """
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
