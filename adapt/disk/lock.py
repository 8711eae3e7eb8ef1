"""One writer at a time: a lock that the kernel drops when its owner dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from adapt.disk.files import remove
from adapt.errors import InputError


@contextmanager
def only_writer(path: Path, what: str, *, keep: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made. At the end both are removed, the folder if
    nothing came into it, unless the lock is to be kept. With `wait` another process is waited for.

    A forked child (a worker of a data loader) does not inherit the lock, and a link at `path` is
    not followed.

    Raises:
        InputError: another process holds it (`what` says so: `run: another process is writing
            DIR`), or the file system has no locks.
    """
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        raise InputError(f"{what} (it holds {path})") from None
    except OSError as error:
        if error.filename:  # the file cannot be opened: a full disk, no permission, a link
            raise
        raise InputError(
            f"{path}: cannot be locked ({error.strerror}): its file system has no flock, without "
            "which two processes could write the same; docs/clusters.md has more"
        ) from None
    try:
        yield
    finally:
        if not keep:
            path.unlink(missing_ok=True)
            if made and not any(path.parent.iterdir()):
                path.parent.rmdir()
        lock.release()


@contextmanager
def scratch_folder(target: Path, purpose: str, what: str) -> Iterator[Path]:
    """An empty folder `.NAME.PURPOSE` beside `target` until the block ends; what a killed process
    left there is removed by the next call. It raises as `whole_folder`."""
    target = target.resolve()
    folder, lock = (target.with_name(f".{target.name}.{end}") for end in (purpose, "lock"))
    with only_writer(lock, f"{what}: another process is writing {target}"):
        if folder.exists():
            remove(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            remove(folder)


@contextmanager
def whole_folder(path: Path, what: str) -> Iterator[Path]:
    """A new folder that takes the place of `path` when the block ends well. Otherwise `path` stays
    as it was, and what a killed process left is removed by the next call.

    Raises:
        InputError: another process writes there; `what` is the setting that names `path`.
    """
    path = path.resolve()
    new, old, lock = (path.with_name(f".{path.name}.{end}") for end in ("new", "old", "lock"))

    def tidy() -> None:
        if old.exists() and not path.exists():  # killed between the two renames
            old.rename(path)
        for left in filter(Path.exists, (new, old)):
            remove(left)

    with only_writer(lock, f"{what}: another process is writing {path}"):
        tidy()
        try:
            new.mkdir()
            yield new
            if path.exists():
                path.rename(old)
            new.rename(path)
        except OSError as error:  # of a write it has no name, else perhaps that of a file in `new`
            name = Path(error.filename or path)
            error.filename = str(path / name.relative_to(new) if name.is_relative_to(new) else name)
            raise
        finally:
            tidy()
