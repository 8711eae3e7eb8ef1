"""A disk that fails at a chosen moment, inside this process."""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch


@contextmanager
def disk(
    folder: Path, fails: Callable[[int], bool] = lambda number: False, code: int = errno.ENOSPC
) -> Iterator[list[str]]:
    """What writes below `folder` is listed with its path: making files and folders, writing, fsync,
    renaming. Each call of a number that `fails` (from 1) fails, a write after half of its bytes."""
    calls: list[str] = []
    opened, synced, made, low = io.open, os.fsync, os.mkdir, os.open

    def use(path: Any, named: bool = True) -> None:
        calls.append(str(Path(os.fsdecode(path)).absolute()))
        if fails(len(calls)):
            raise OSError(code, os.strerror(code), *([os.fsdecode(path)] if named else []))

    def holds(path: Any) -> bool:
        known = isinstance(path, str | bytes | os.PathLike)
        return known and Path(os.fsdecode(path)).absolute().is_relative_to(folder)

    class FailingFile(io.FileIO):
        """As a kernel does it: what fits is written, and each further call says why no more."""

        error: OSError | None = None

        def write(self, content: Any) -> int:
            if self.error:
                raise self.error
            try:
                use(self.name, named=False)
            except OSError as error:
                self.error = error
                return super().write(bytes(content)[: len(content) // 2])
            return super().write(content)

    def opening(file: Any, mode: str = "r", *others: Any, **named: Any) -> Any:
        if not holds(file) or not set(mode) & set("wxa"):
            return opened(file, mode, *others, **named)
        use(file)
        buffered = io.BufferedWriter(FailingFile(file, mode.replace("b", "").replace("t", "")))
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

    def opening_low(path: Any, flags: int, *others: Any, **named: Any) -> int:
        if flags & os.O_CREAT and holds(path):
            use(path)
        return low(path, flags, *others, **named)

    def making(path: Any, *others: Any, **named: Any) -> None:
        if holds(path) and not os.path.lexists(path):
            use(path)
        made(path, *others, **named)

    def syncing(descriptor: int) -> None:
        if holds(path := Path(f"/proc/self/fd/{descriptor}").readlink()):
            use(path, named=False)
        synced(descriptor)

    def renaming(rename: Callable[..., None], source: Any, target: Any, **named: Any) -> None:
        if holds(source):
            use(source)
        rename(source, target, **named)

    with ExitStack() as stack:
        for module in (io, builtins):
            stack.enter_context(patch.object(module, "open", opening))
        for name, function in (("open", opening_low), ("mkdir", making), ("fsync", syncing)):
            stack.enter_context(patch.object(os, name, function))
        for rename in (os.rename, os.replace):
            stack.enter_context(patch.object(os, rename.__name__, partial(renaming, rename)))
        yield calls
