"""What a data set is made of: samples, and the folders and lists that their files are found in."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from adapt.data.images import SUFFIXES
from adapt.data.video import on_disk
from adapt.disk.files import read_text, write_whole
from adapt.errors import InputError, listing
from adapt.settings.groups import DataConfig

FILES = ("x1", "y1", "x2", "y2", "valid")
"""The fields of a sample that are files."""


@dataclass(frozen=True)
class Sample:
    """Files of one scene. A layout fills x1 and y1 or label; pairing adds the new domain."""

    name: str
    x1: Path
    y1: Path | None = None
    x2: Path | None = None
    y2: Path | None = None
    valid: Path | None = None
    """Mask of the pixels at which the two images show the same thing: 0 = no, else yes."""
    label: int | None = None
    """Of the whole image, in data sets for classification; then there are no masks."""
    transform: tuple[float, ...] | None = None
    """Homography, row by row, from pixels of x1 to those of x2 (adapt.data.warp)."""

    @property
    def identity(self) -> str:
        """What tells it from others, for a digest."""
        parts = (self.name, self.x1, self.y1, self.x2, self.y2, self.valid, self.label)
        return "\0".join(map(str, (*parts, self.transform) if self.transform else parts))


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk."""

    classes: tuple[str, ...]
    """Names in index order; empty = given by the configuration, or found on disk by `find`."""
    void: tuple[int, ...]
    """Mask values besides 255 that mean void."""
    train_split: str
    home: Callable[[Path], Path]
    """Root as given -> the folder that everything lies below."""
    splits: Callable[[Path], list[str]]
    """Root -> names of the lists that are there."""
    read: Callable[[DataConfig, Path, str], list[Sample]]
    """(configuration, root, split) -> samples of one domain, in the list's order."""
    write_list: Callable[[Path, str, list[Sample]], None] = lambda root, split, samples: None
    """Write the list of a twin whose files are already there: (root, split, samples). The default
    is for data sets without lists."""
    codes: tuple[int, ...] = ()
    """Value of each class in the masks; () = its index."""
    find: Callable[[DataConfig, Path], tuple[str, ...]] | None = None
    """(configuration, root) -> classes; for data sets with one label an image, and only those."""
    val_split: str = "val"
    """What is evaluated while a training runs."""

    @property
    def classification(self) -> bool:
        """Has each image one label, rather than each pixel?"""
        return self.find is not None


KINDS = {
    "missing": ("file is missing", "files are missing"),
    "double": ("name is there twice", "names are there twice"),
    "outside": ("file lies outside", "files lie outside"),
}


class Problem(NamedTuple):
    """What is wrong with one name or file of a data set."""

    kind: str
    """A key of KINDS, or `unpaired`."""
    where: str
    """The file, or the list and its line."""
    text: str


class MissingFiles(InputError):
    """Names without a file or a partner, with two files, or whose file leads out of its folder: all
    of them in `problems`; `samples` has the others."""

    def __init__(self, problems: list[Problem], samples: list[Sample], message: str = "") -> None:
        found = Counter(p.kind for p in problems)
        heads = (f"{n} {KINDS[kind][n > 1]}" for kind, n in found.items() if kind in KINDS)
        every = listing(f"{p.where}: {p.text}" for p in problems)
        super().__init__(message or f"{', '.join(heads)}: {every}")
        self.problems, self.samples = problems, samples
        self.message = message


def folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise InputError(f"{what}: no such folder: {path}")
    return path


def home_of(marker: str, *below: str) -> Callable[[Path], Path]:
    """A function that finds the folder in which `marker` lies: the given root, or a folder below it
    that the archive or torchvision makes."""

    def home(root: Path) -> Path:
        folder(root, "data.root")
        for candidate in (root, *(root / name for name in below)):
            if (candidate / marker).is_dir():
                return candidate
        also = f" (nor in {listing(below)} below it)" if below else ""
        raise InputError(f"data.root: no folder {marker} in {root}{also}")

    return home


def inside(root: Path, relative: str, where: str, follow_links: bool = False) -> Path:
    """root/relative, refused where it leads out of root: absolute, by `..`, or by a symbolic link
    unless links are followed. Nothing is opened."""
    path = Path(relative)
    if "\0" in relative or path.is_absolute() or path.drive:
        raise InputError(f"{where}: {relative!r} must be a path relative to {root}")
    steps = accumulate(-1 if part == ".." else 1 for part in path.parts)
    climbs = min(steps, default=0) < 0
    real = on_disk(root / path)
    if climbs or not (follow_links or resolved(real).is_relative_to(resolved(root))):
        raise InputError(f"{where}: {relative!r} leads out of {root}")
    return root / path


def list_file(root: Path, name: Path | str, follow_links: bool) -> Path:
    """root/name; raises InputError where a list is a link out of its data set."""
    return inside(root, str(name), f"{root}: its list", follow_links)


def resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise InputError(f"{path}: cannot be found ({error})") from None


def exists(path: Path) -> bool:
    """Is it a file, or a frame of one? Names that no file can have are none."""
    try:
        return on_disk(path).is_file()
    except (OSError, ValueError):
        return False


def leading_out(samples: Iterable[Sample], roots: list[Path]) -> list[Problem]:
    """The files of samples that links lead out of all of `roots` (resolved). Nothing is opened."""
    folders: dict[Path, Path] = {}
    problems = []
    for sample in samples:
        for path in (p for name in FILES if (p := getattr(sample, name)) is not None):
            if path.parent not in folders:
                folders[path.parent] = resolved(path.parent)
            real = resolved(path) if path.is_symlink() else folders[path.parent] / path.name
            if not any(real.is_relative_to(root) for root in roots):
                text = f"is a link to {real}, outside of the data's folders; to read it "
                text += "nevertheless: data.follow_links=true"
                problems.append(Problem("outside", str(path), text))
    return problems


def list_text(path: Path) -> str:
    """The content of a UTF-8 file, without the mark that Windows puts at its beginning."""
    return read_text(path).removeprefix("\ufeff")


def lines(path: Path) -> list[str]:
    """The non-empty lines of a list file."""
    if not exists(path):
        beside = listing(p.name for p in path.parent.glob("*.txt")) if path.parent.is_dir() else ""
        raise InputError(f"{path}: no such list (beside it: {beside or 'none'})")
    found = [line for row in list_text(path).splitlines() if (line := row.strip())]
    if not found:
        raise InputError(f"{path}: the list is empty")
    return found


def write_lines(path: Path, rows: list[str]) -> None:
    write_whole(path, "".join(f"{row}\n" for row in rows).encode())


def stems(where: Path) -> dict[str, Path]:
    """Stem -> file of every image in a folder; raises InputError where there is none, or one stem
    has two suffixes."""
    lookup = Lookup()
    found = lookup.table(where)
    lookup.complete([])
    return found


class Lookup:
    """Files by stem. What is wrong is noted, so that one error can name all of it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def table(self, where: Path, suffixes: Iterable[str] = SUFFIXES) -> dict[str, Path]:
        """Stem -> file of every image in a folder; of one stem with two suffixes the first. No
        such folder, or no image in it, is an InputError."""
        suffixes = tuple(suffixes)
        found: dict[str, Path] = {}
        for path in sorted(folder(where, "data").iterdir()):
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                if path.stem in found:
                    text = f"the same name twice: {found[path.stem].name} and {path.name}"
                    self.problems.append(Problem("double", str(where), text))
                found.setdefault(path.stem, path)
        if not found:
            raise InputError(f"{where}: no files with suffix {', '.join(suffixes)}")
        return found

    def pick(self, table: dict[str, Path], stem: str, where: str) -> Path | None:
        if stem not in table:
            example = next(iter(table.values()))
            text = f"no file named {stem!r} in {example.parent} ({len(table)} files there, such as "
            self.problems.append(Problem("missing", where, f"{text}{example.name})"))
        return table.get(stem)

    def complete(self, samples: list[Sample]) -> list[Sample]:
        """The samples; raises MissingFiles for names that were not there, or twice."""
        if self.problems:
            raise MissingFiles(self.problems, samples)
        return samples


def matched(left: Iterable[str], right: Iterable[str], a: str, b: str) -> None:
    """Raises MissingFiles where the sides have different names: with the totals and the names that
    are on one side only."""
    left, right = set(left), set(right)
    if left != right:
        message = (
            f"{a} and {b} do not match by name: {len(left & right)} in both; "
            f"{len(left - right)} only in {a}: {listing(left - right) or '-'}; "
            f"{len(right - left)} only in {b}: {listing(right - left) or '-'}"
        )
        if alike := look_alikes(left - right, right - left):
            message += f". Of these, {len(alike)} differ in case or accents' encoding only: "
            message += listing(f"{x!r} and {y!r}" for x, y in alike)
        problems = [
            Problem("unpaired", there, f"{name!r} has no partner in {other}")
            for names, there, other in ((left - right, a, b), (right - left, b, a))
            for name in sorted(names)
        ]
        raise MissingFiles(problems, [], message)


def look_alikes(left: Iterable[str], right: Iterable[str]) -> list[tuple[str, str]]:
    """Names of the two sides that only case or Unicode's normal form (macOS has another) keeps
    apart."""

    def folded(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()

    of_right = {folded(name): name for name in right}
    return [(name, of_right[folded(name)]) for name in left if folded(name) in of_right]


def unique(names: list[str], where: Path) -> None:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"{where}: listed twice: {listing(twice)}")
