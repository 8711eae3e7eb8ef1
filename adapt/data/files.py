"""Where samples come from: layouts, folders and lists, and what may be wrong with them."""

import os
import re
import unicodedata
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO, TypeVar

from adapt.data.images import SUFFIXES
from adapt.data.samples import FILES, Sample, Task, Texts, column, map_fields, repeats
from adapt.data.video import VIDEOS, on_disk
from adapt.disk.files import check_readable, reading, write_whole
from adapt.errors import InputError, listing
from adapt.machine.runtime import say
from adapt.settings.groups import DataConfig

ENDINGS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif",
    ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pnm", ".mat", *VIDEOS,
}  # fmt: skip
"""Suffixes that are no part of an image's name; what follows another dot is (`scan.2024`)."""

S = TypeVar("S", bound=Sequence[Sample])
say_once = cache(say)


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
    read: Callable[[DataConfig, Path, str], Sequence[Sample]]
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
    tasks: Mapping[str, Task] = field(default_factory=dict)
    """Of several label maps, instead of `classes`; a sample has each as `y1_NAME` in its maps."""

    @property
    def classification(self) -> bool:
        """Has each image one label, rather than each pixel?"""
        return self.find is not None


FOLLOW = "data.follow_links=true"
SEVERAL = (
    "Where an old image has several new ones, list them: data.pairs=list.csv, columns x1,x2, a row "
    "for each new one"
)
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

    def __init__(
        self, problems: list[Problem], samples: Sequence[Sample], message: str = ""
    ) -> None:
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


def inside(root: Path, given: str, where: str, follow_links: bool = False) -> Path:
    """The file or folder that a list calls `given`, relative to `root` or absolute; refused where
    it leads out of root: by `..`, or by a symbolic link unless links are followed. Nothing is
    opened."""
    path = Path(given)
    for home in (root.absolute(), resolved(root)) if path.is_absolute() else ():
        path = path.relative_to(home) if path.is_relative_to(home) else path
    if "\0" in given or path.is_absolute() or path.drive:
        raise InputError(f"{where}: {given!r} must be a path relative to {root}, or lie in it")
    steps = accumulate(-1 if part == ".." else 1 for part in path.parts)
    climbs = min(steps, default=0) < 0
    real = on_disk(root / path)
    if climbs or not (follow_links or resolved(real).is_relative_to(resolved(root))):
        raise InputError(f"{where}: {given!r} leads out of {root}")
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


def leading_out(samples: Sequence[Sample], roots: list[Path]) -> list[Problem]:
    """The files of samples that links lead out of all of `roots` (resolved). Nothing is opened but
    folders within."""
    links: dict[str, set[str] | None] = {}
    problems = []
    columns = (column(samples, name) for name in (*FILES, *map_fields(samples)))
    for text in filter(None, chain.from_iterable(columns)):
        folder, mark, name = text.rpartition("/")
        folder = folder or mark or "."
        if folder not in links:
            within = any(resolved(Path(folder)).is_relative_to(root) for root in roots)
            links[folder] = links_in(folder) if within else None
        if (known := links[folder]) is None or name in known:
            real = resolved(Path(text))
            if not any(real.is_relative_to(root) for root in roots):
                why = f"is a link to {real}, outside of the data's folders; to read it "
                problems.append(Problem("outside", text, f"{why}nevertheless: {FOLLOW}"))
    return problems


def links_in(folder: str) -> set[str]:
    """The names of the links in a folder."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_symlink()}


@contextmanager
def opened_list(path: Path) -> Iterator[TextIO]:
    """A list, open for reading: UTF-8, or UTF-16 with its byte order mark. What cannot be read is
    an InputError."""
    check_readable(path)
    with reading(path), path.open("rb") as stream:
        wide = stream.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE)
    try:
        with path.open(encoding="utf-16" if wide else "utf-8-sig") as text:
            yield text
    except UnicodeError as error:
        raise InputError(f"{path}: neither UTF-8 nor UTF-16 text ({error})") from None


def list_text(path: Path) -> str:
    with opened_list(path) as text:
        return text.read()


def numbered(path: Path) -> list[tuple[int, str]]:
    """The non-empty lines of a list file, without blanks at their ends, with their numbers."""
    if not exists(path):
        beside = listing(p.name for p in path.parent.glob("*.txt")) if path.parent.is_dir() else ""
        raise InputError(f"{path}: no such list (beside it: {beside or 'none'})")
    with opened_list(path) as text:
        found = [(n, line) for n, row in enumerate(text, 1) if (line := row.strip())]
    if not found:
        raise InputError(f"{path}: the list is empty")
    return found


def lines(path: Path) -> list[str]:
    """The non-empty lines of a list file."""
    return [line for _, line in numbered(path)]


def write_lines(path: Path, rows: list[str]) -> None:
    write_whole(path, "".join(f"{row}\n" for row in rows))


def say_unread(where: Path, files: Iterable[Path]) -> None:
    """A line where files of a folder are images in formats that are not read."""
    unread = ENDINGS - {*SUFFIXES, *VIDEOS, ".mat"}
    if found := [path.name for path in files if path.suffix.lower() in unread]:
        say_once(f"{where}: {len(found)} images are not read, such as {min(found)}; make them PNG")


def stems(where: Path) -> dict[str, Path]:
    """Stem -> file of every image in a folder; raises InputError where there is none, or one stem
    has two suffixes."""
    lookup = Lookup()
    found = lookup.table(where)
    lookup.complete([])
    return found


def image_folders(where: Path, follow_links: bool) -> Iterator[tuple[str, list[str], list[str]]]:
    """Of a folder and all below it, in order of their names: its path relative to `where` (`seq0/`,
    and the empty one first), and the names of its images and of the links to folders that are not
    followed, as those in a circle never are. What is hidden is passed over; a folder that cannot be
    read is an InputError."""

    def refuse(error: OSError) -> NoReturn:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})")

    for place, folders, files in os.walk(where, onerror=refuse, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        links = [
            name
            for name in folders
            if (link := Path(place, name)).is_symlink()
            and not (follow_links and not resolved(Path(place)).is_relative_to(resolved(link)))
        ]
        folders[:] = [name for name in folders if name not in links]
        images = sorted(n for n in files if n[0] != "." and n.lower().endswith(SUFFIXES))
        say_unread(Path(place), map(Path, files))
        inner = place.removeprefix(str(where)).lstrip("/")
        yield f"{inner}/" if inner else "", images, links


class Lookup:
    """Files by stem. What is wrong is noted, so that one error can name all of it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def table(self, where: Path, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
        """Stem -> file of every image in a folder; of one stem with two suffixes the first. No
        such folder, or no image in it, is an InputError."""
        found: dict[str, Path] = {}
        for path in sorted(folder(where, "data").iterdir()):
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                if path.stem in found:
                    text = f"the same name twice: {found[path.stem].name} and {path.name}"
                    self.problems.append(Problem("double", str(where), text))
                found.setdefault(path.stem, path)
        say_unread(where, where.iterdir())
        if not found:
            raise InputError(f"{where}: no files with suffix {', '.join(suffixes)}")
        return found

    def below(self, where: Path, follow_links: bool = False) -> list[str]:
        """Every image in a folder or, where there are none, in the folders below it, by its path
        there, whose name that is without its suffix (`seq0/a`); of one name with two suffixes the
        first. A folder below that is a link is noted unless links are followed; no image at all is
        an InputError."""
        found: list[str] = []
        walk = image_folders(folder(where, "data"), follow_links)
        first = next(walk)
        for place, images, links in chain([first], () if first[1] else walk):
            for name in () if first[1] else links:
                text = "that it lies in" if follow_links else f"and not read without {FOLLOW}"
                problem = Problem("outside", str(where / place / name), f"leads to a folder {text}")
                self.problems.append(problem)
            found += [place + image for image in images] if place else images
        if not found:
            raise InputError(
                f"{where}: no files with suffix {', '.join(SUFFIXES)}, nor in the folders below it"
            )
        if first[1] and (other := next((place for place, images, _ in walk if images), "")):
            say_once(f"{where}: only the images directly in it are read, not those in {other}")
        if len({file.rpartition(".")[2] for file in found}) == 1:
            return found
        files: dict[str, str] = {}
        for file in found:
            if (other := files.setdefault(bare(file), file)) != file:
                text = f"the same name twice: {other} and {file}"
                self.problems.append(Problem("double", str(where), text))
        return [*files.values()]

    def pick(self, table: dict[str, Path], stem: str, where: str) -> Path | None:
        if stem not in table:
            example = next(iter(table.values()))
            text = f"no file named {stem!r} in {example.parent} ({len(table)} files there, such as "
            self.problems.append(Problem("missing", where, f"{text}{example.name})"))
        return table.get(stem)

    def complete(self, samples: S) -> S:
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
        if not left & right and (ends := endings(left, right)):
            message += ". Without {!r} and {!r} at their ends names are equal: ".format(*ends)
            message += "rename them, or list the pairs in a CSV (data.pairs)"
        if any(part in left for name in right - left for part in re.split("/|__", name)):
            message += f". {SEVERAL}"
        problems = [
            Problem("unpaired", there, f"{name!r} has no partner in {other}")
            for names, there, other in ((left - right, a, b), (right - left, b, a))
            for name in sorted(names)
        ]
        raise MissingFiles(problems, [], message)


def endings(*sides: Iterable[str]) -> list[str]:
    """What all names of each side end in, where names without it are equal, else []."""
    ends = [os.path.commonprefix([n[::-1] for n in side])[::-1] for side in sides]  # noqa: RUF071
    kept = ({n.removesuffix(end) for n in names} for names, end in zip(sides, ends, strict=True))
    return ends if set.intersection(*kept) - {""} else []


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


def bare(path: str) -> str:
    """A path without the suffix that makes it an image."""
    stem, _, suffix = path.rpartition(".")
    return stem if f".{suffix.lower()}" in ENDINGS and stem[-1:] not in ("", "/") else path


def distinct(count: int, where: Callable[[int], str], *forms: Callable[[int], str]) -> Texts:
    """A name for each of `count` items: the first of its forms, by its place, that is no other
    item's. Items that are equal in the last form too are an InputError that says where they are."""
    names = Texts(map(forms[0], range(count)))
    for form in forms[1:]:
        if not repeats(names):
            return names
        times = Counter(names)
        names = Texts(n if times[n] == 1 else form(place) for place, n in enumerate(names))
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        if (first := seen.setdefault(name, place)) != place:
            raise InputError(f"{where(place)}: listed twice: {name} (first in {where(first)})")
    return names
