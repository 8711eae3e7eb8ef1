"""Folders, lists and matching by name, shared by every data layout."""

from collections.abc import Iterable
from pathlib import Path

from adapt.data.sample import Sample
from adapt.errors import InputError, listing
from adapt.images import SUFFIXES


class MissingFiles(InputError):
    """Names without a file or a partner: all of them in `missing`; `samples` has the others."""

    def __init__(self, message: str, missing: list[str], samples: list[Sample]) -> None:
        super().__init__(message)
        self.missing, self.samples = missing, samples


def folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise InputError(f"{what}: no such folder: {path}")
    return path


def inside(root: Path, relative: str, where: str) -> Path:
    """root/relative, refused where it leads out of root (also by `..` or a symbolic link)."""
    if "\0" in relative or Path(relative).is_absolute():
        raise InputError(f"{where}: {relative!r} must be a path relative to {root}")
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise InputError(f"{where}: {relative!r} leads out of {root}")
    return root / relative


def lines(path: Path) -> list[str]:
    """The non-empty lines of a list file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = listing(p.name for p in path.parent.glob("*.txt")) if path.parent.is_dir() else ""
        raise InputError(f"{path}: no such list (beside it: {beside or 'none'})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a UTF-8 text file") from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise InputError(f"{path}: the list is empty")
    return found


def stems(where: Path, suffixes: Iterable[str] = SUFFIXES) -> dict[str, Path]:
    """Stem -> file of every image in a folder.

    Raises:
        InputError: no such folder, no image in it, or one stem with two suffixes.
    """
    suffixes = tuple(suffixes)
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(folder(where, "data").iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                twice.append(f"{found[path.stem].name} and {path.name}")
            found[path.stem] = path
    if twice:
        raise InputError(f"{where}: the same name twice: {listing(twice)}")
    if not found:
        raise InputError(f"{where}: no files with suffix {', '.join(suffixes)}")
    return found


class Lookup:
    """Files by stem. What is not there is noted, so that one error can name all of it."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def pick(self, table: dict[str, Path], stem: str, where: str) -> Path | None:
        if stem not in table:
            example = next(iter(table.values()))
            self.missing.append(
                f"{where}: no file named {stem!r} in {example.parent} "
                f"({len(table)} files there, such as {example.name})"
            )
        return table.get(stem)

    def complete(self, samples: list[Sample]) -> list[Sample]:
        """The samples, if nothing was missing.

        Raises:
            MissingFiles: names that were asked for and are not there, with where they were.
        """
        if self.missing:
            many = f"{len(self.missing)} files are missing: " if len(self.missing) > 1 else ""
            raise MissingFiles(many + listing(self.missing), self.missing, samples)
        return samples


def matched(left: Iterable[str], right: Iterable[str], a: str, b: str) -> None:
    """Both sides must have the same names.

    Raises:
        MissingFiles: with the totals and the names that are on one side only.
    """
    left, right = set(left), set(right)
    if left != right:
        message = (
            f"{a} and {b} do not match by name: {len(left & right)} in both; "
            f"{len(left - right)} only in {a}: {listing(left - right) or '-'}; "
            f"{len(right - left)} only in {b}: {listing(right - left) or '-'}"
        )
        sides = ((left - right, a, b), (right - left, b, a))
        missing = [
            f"{there}: {name!r} has no partner in {other}"
            for names, there, other in sides
            for name in sorted(names)
        ]
        raise MissingFiles(message, missing, [])


def unique(names: list[str], where: Path) -> None:
    twice = (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()
    )
    if twice:
        raise InputError(f"{where}: listed twice: {listing(twice)}")
