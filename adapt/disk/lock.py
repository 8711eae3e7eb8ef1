"""One writer at a time: a lock that the kernel drops when its owner dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapt.errors import InputError

_held: set[int] = set()


def _drop_in_child() -> None:
    """A loader's worker shares its parent's lock: it must not hold it when the parent is dead."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_in_child)


def _open(path: Path) -> int:
    """`path` open and locked.

    Raises:
        BlockingIOError: another process has it.
        InputError: the file system knows no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError as error:
                raise InputError(
                    f"{path}: cannot be locked ({error.strerror}): its file system has no flock, "
                    "without which two processes could write the same; docs/clusters.md has more"
                ) from None
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the owner before took it away when it was done


@contextmanager
def only_writer(path: Path, what: str, *, keep: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made. In the end both are removed, the folder if
    nothing came into it, unless the lock is to be kept.

    Raises:
        InputError: another process holds it; `what` says, as `run: another process is writing DIR`.
    """
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = _open(path)
    except BlockingIOError:
        raise InputError(f"{what} (it holds {path})") from None
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:
            if not keep:
                path.unlink(missing_ok=True)
                if made and not any(path.parent.iterdir()):
                    path.parent.rmdir()
            _held.remove(descriptor)
            os.close(descriptor)
