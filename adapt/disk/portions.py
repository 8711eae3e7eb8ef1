"""A command's files shared by several calls, on as many machines: part i of n, and all together.

A part has consecutive files, in blocks that stay whole: the images of an archive, of a batch. So it
reads what lies side by side, makes of it what one call makes, and the parts' records follow one
another in the order in which one call writes them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from adapt.disk.files import clear, read_mapping
from adapt.disk.lock import only_writer
from adapt.errors import MOST, InputError

T = TypeVar("T")

LOCK, PARTS = "lock", "parts"
"""In a folder that a command writes: what its one writer holds, and what the parts record."""


@dataclass(frozen=True)
class Portion:
    """What the setting `part` says."""

    number: int = 0
    """Of the part, from 1; 0 = it is all of them."""
    count: int = 0
    """0 = nothing is shared."""

    @staticmethod
    def of_setting(part: str) -> "Portion":
        """`i/n` or `all/n`, or empty. The tasks of a SLURM array count from 0 or from 1, as it is
        submitted: 0/n is n/n, so that either are n parts."""
        number, _, count = part.partition("/")
        if number == "all" or not part:
            return Portion(count=int(count or 0))
        return Portion(int(number) or int(count), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def joins(self) -> bool:
        """Does it put the others together?"""
        return bool(self.count) and not self.number

    @property
    def each(self) -> list["Portion"]:
        """All parts."""
        return [Portion(number, self.count) for number in range(1, self.count + 1)]

    def of(self, items: Sequence[T], block: int = 1) -> Sequence[T]:
        """Its items, with the blocks of so many whole; of all parts all items."""
        if not self.number:
            return items
        blocks = -(-len(items) // block)
        start, end = (block * (blocks * k // self.count) for k in (self.number - 1, self.number))
        return items[start:end]

    def record(self, folder: Path, suffix: str = ".json") -> Path:
        """Where the part's record lies among those of all."""
        return folder / f"{self.number}-of-{self.count}{suffix}"

    def records(self, folder: Path) -> Iterator[tuple["Portion", dict[str, Any]]]:
        """All parts with their records; an InputError that names those that have none."""
        self.refuse(folder, [p for p in self.each if not p.record(folder).is_file()])
        return ((part, read_mapping(part.record(folder))) for part in self.each)

    def refuse(self, folder: Path, missing: Sequence["Portion"]) -> None:
        """InputError for parts that are not done."""
        if missing:
            names = ", ".join(f"part={part}" for part in missing[:MOST])
            more = f" and {len(missing) - MOST} more" if len(missing) > MOST else ""
            then = f"run what is missing, then part=all/{self.count}"
            raise InputError(f"part: {folder} lacks {names}{more}: {then}")

    def check(self, folder: Path) -> None:
        """InputError where there are none to put together, or parts of another number: that is what
        SLURM_ARRAY_TASK_COUNT is where single tasks are submitted again."""
        if self.joins and not folder.is_dir():
            self.refuse(folder, self.each)
        for path in folder.glob("*-of-*") if self.count else ():
            count = path.name.partition("-of-")[2].partition(".")[0]
            if count != str(self.count):
                raise InputError(
                    f"part: {folder} has parts of {count}, not of {self.count}: give i/{count}, or "
                    "remove the folder"
                )


@contextmanager
def one_writer(out: Path, part: Portion, begin: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the folder `out`, or of a part of it, whose first steps, `begin`, are made
    while nobody else writes there. What killed calls left is cleared by those that hold all of it.

    Raises:
        InputError: another process is writing the same, or `out` has parts of another number.
    """
    what = f"out: another process is writing {out}"
    part.check(out / PARTS)
    if part.number:
        with only_writer(out / LOCK, what, keep=True, wait=True):
            begin()
        with only_writer(part.record(out / PARTS, ".lock"), f"part={part}: {what}"):
            yield
        return
    with only_writer(out / LOCK, what):
        try:
            clear(out.rglob(".*"))
            begin()
            yield
        finally:
            clear(out.rglob(".*"))
