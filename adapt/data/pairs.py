"""Any paired images: two folders matched by name, a list x1,x2[,y1][,y2][,valid], or tar archives.

The archives are WebDataset's: <key>.x1.jpg, <key>.x2.jpg, <key>.y.png. A member has a path of its
own (adapt.data.archives), so that whatever reads, compares or names a sample's files does so in any
process and order.
"""

import csv
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain
from operator import eq
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adapt.data.archives import SHARD, members, part
from adapt.data.files import (
    Layout,
    Lookup,
    MissingFiles,
    Problem,
    bare,
    distinct,
    exists,
    folder,
    inside,
    matched,
    numbered,
    opened_list,
    resolved,
    say_once,
    unique,
)
from adapt.data.images import SUFFIXES
from adapt.data.samples import Sample, Table, Texts, chosen, column
from adapt.data.video import on_disk, without_frame
from adapt.errors import InputError, listing, unknown
from adapt.machine.runtime import progress
from adapt.settings.groups import DataConfig

COLUMNS = ("x1", "x2", "y1", "y2", "valid")
MARKS = ",;\t"
"""What may part the cells of a list."""
CLOSE = 0.75
"""Likeness (difflib's ratio) from which on a column's name is taken for a typing error."""
ALL = "all"
NAMED = re.compile(r"(.+)\.(x1|x2|y|y2|valid)\.[^.]+")
"""Key and field of a member."""


def pairs(config: DataConfig, root: Path, split: str) -> Sequence[Sample]:
    """Every image of the folder `root`; `split` is ALL: parts of it are cut by `data.parts`."""
    lookup = Lookup()
    files = lookup.below(root, config.follow_links)
    names = Texts(map(bare, files))
    columns = {"name": names, "x1": Texts(files, head_of(root))}
    if config.labels:
        where = Path(config.labels)
        labels = {bare(file): file for file in lookup.below(where, config.follow_links)}
        columns["y1"] = Texts((labels.get(name, "") for name in names), head_of(where))
        try:
            matched(names, labels, str(root), config.labels)
        except MissingFiles as error:
            whole = [s for s in Table(columns) if s.y1]
            cure = "Where only some have one, list all in a CSV (data.pairs), y1 of others empty"
            raise MissingFiles(error.problems, whole, f"{error.message}. {cure}") from None
    return lookup.complete(Table(columns))


PAIRS = Layout(
    (), (), ALL, lambda root: folder(root, "data.root (pairs)"), lambda root: [ALL], pairs
)  # fmt: skip


def head_of(folder: Path) -> str:
    """What stands before the files of a folder in their paths."""
    return str(folder / "x")[:-1]


def paired(name: str, files: dict[str, Path]) -> Sample:
    """A sample of its files by column; x2 has the labels of x1 where it has none of its own."""
    y1 = files.get("y1")
    return Sample(name, files["x1"], y1, files["x2"], files.get("y2", y1), files.get("valid"))


def partnered(old: Sequence[Sample], new: Sequence[Sample]) -> Sequence[Sample]:
    """The samples of the old domain that have one of their name in the new one, with its image as
    x2; y2 is its own label, where it has one, else that of x1."""
    wanted, there = column(old, "name"), column(new, "name")
    found = np.arange(len(wanted))
    if len(wanted) != len(there) or not all(map(eq, wanted, there)):
        places = {name: place for place, name in enumerate(there)}
        found = np.array([places.get(name, -1) for name in wanted], int)
    ours, theirs = chosen(old, np.flatnonzero(found >= 0)), chosen(new, found[found >= 0])
    if isinstance(ours, Table) and isinstance(theirs, Table):
        labels = {"y2": ours.columns["y1"]} if "y1" in ours.columns else {}
        return Table(ours.columns | {"x2": theirs.columns["x1"]} | labels)
    both = zip(ours, theirs, strict=True)
    return [replace(a, x2=b.x1, y2=b.y1 or a.y1, maps={**a.maps, **moved(a, b)}) for a, b in both]


def moved(a: Sample, b: Sample) -> dict[str, Path]:
    """The named label maps of b as those of x2, where it has them, else those of a."""
    return {f"y2_{field.partition('_')[2]}": file for field, file in {**a.maps, **b.maps}.items()}


def read_csv(path: Path, follow_links: bool = False, tasks: Iterable[str] = ()) -> Sequence[Sample]:
    """Rows of a list whose files lie in its own folder; raises InputError with the line's number
    where one does not, or is not there. Columns y1_TASK and y2_TASK are label maps of `tasks`.

    A pair is called by x1's path without its suffix, with `__` for `/`; where others have that name
    too (an old image with several new ones, say), x2's follows.
    """
    root = folder(path.parent, "data.pairs")
    if not exists(path):
        raise InputError(f"data.pairs: no such file: {path}")
    labels = [("y1", "y2"), *((f"y1_{task}", f"y2_{task}") for task in tasks)]
    known = (*COLUMNS, *chain(*labels[1:]))
    numbers, cells = cells_of(path, known)
    missing: list[tuple[int, Problem]] = []
    columns = {}
    for field in [*cells]:
        files = files_of(field, cells.pop(field), numbers, path, follow_links, missing)
        columns[field] = Texts(files, head_of(root))
    columns["name"] = names_of(columns, numbers, path)
    for old, new in (pair for pair in labels if pair[0] in columns):
        both = zip(columns[old], columns.get(new, columns[old]), strict=True)
        columns[new] = Texts(y2 or y1 for y1, y2 in both)
    samples = Table(columns)
    if missing:
        whole = np.setdiff1d(np.arange(len(samples)), [row for row, _ in missing])
        raise MissingFiles([problem for _, problem in sorted(missing)], chosen(samples, whole))
    return samples


def cells_of(path: Path, known: Sequence[str]) -> tuple[Sequence[int], dict[str, Texts]]:
    """The cells of a list by `known` column, x1 and x2 among them, and the numbers of its lines,
    but for empty ones. Other columns are passed over, which a line says, unless their names seem to
    be meant for one of these."""
    with opened_list(path) as stream:
        first, head = next(((n, row) for n, row in enumerate(stream, 1) if row.strip()), (0, ""))
        headers = {mark: header_of(head, mark) for mark in MARKS}
        mark = max(MARKS, key=lambda mark: len({*headers[mark]} & {*known}))
        header = headers[mark]
        check_header(path, header, known)
        cells = {column: Texts() for column in known if column in header}
        wanted = [(header.index(column), texts) for column, texts in cells.items()]
        numbers, before = array("L"), 0
        rows = csv.reader(stream, delimiter=mark, skipinitialspace=True)
        try:
            for row in progress(rows, what=path.name):
                where, lines, before = first + rows.line_num, rows.line_num - before, rows.line_num
                found = [cell.strip() for cell in row]
                if lines > 1:
                    text = "a cell goes on in the next line: a quotation mark lacks its partner"
                    raise InputError(f"{path}:{where - lines + 1}: {text}")
                if not any(found):
                    continue
                if any(found[len(header) :]):
                    raise InputError(
                        f"{path}:{where}: more cells than the header's {listing(header)}"
                    )
                found += [""] * (len(header) - len(found))
                for place, texts in wanted:
                    texts.append(found[place])
                if not (found[wanted[0][0]] and found[wanted[1][0]]):
                    raise InputError(f"{path}:{where}: x1 and x2 must both be given")
                numbers.append(where)
        except csv.Error as error:
            raise InputError(f"{path}: not a CSV ({error})") from None
    if not numbers:
        raise InputError(f"{path}: no rows below the header")
    return numbers, cells


def header_of(line: str, mark: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])
    return [cell.strip().lower() for cell in cells]


def check_header(path: Path, header: list[str], known: Sequence[str]) -> None:
    others = [cell for cell in header if cell and cell not in known]
    for cell in others:
        if get_close_matches(cell, known, 1, CLOSE):
            raise unknown(f"{path}: column", cell, known)
    if any(header.count(cell) > 1 for cell in known):
        raise InputError(f"{path}: the header names a column twice: {', '.join(header)}")
    if not {"x1", "x2"} <= set(header):
        there = listing(header) or "none"
        raise InputError(f"{path}: the header must have x1 and x2; it has {there}")
    if others:
        say_once(f"{path}: columns that are not read: {listing(others)}")


class Place(NamedTuple):
    """A folder that a list names files in."""

    prefix: str
    """Its path relative to the list's folder, with a slash at its end."""
    files: set[str]
    """The names of its files."""
    links: set[str] | None
    """Names that have to be looked at one by one; None = all that are no files."""


def place_of(root: Path, where: str, follow_links: bool) -> Place:
    """The folder `where` of a list in `root`; one that cannot be listed, or leads out of `root`,
    has no files."""
    files, links = set[str](), set[str]()
    try:
        place = inside(root, where or ".", "", follow_links)
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=follow_links):
                    files.add(entry.name)
                elif entry.is_symlink():
                    links.add(entry.name)
    except FileNotFoundError:
        return Place("", files, links)
    except (InputError, OSError):
        return Place("", set(), None)
    return Place(head_of(place).removeprefix(head_of(root)), files, links)


def files_of(
    field: str,
    cells: Texts,
    numbers: Sequence[int],
    path: Path,
    follow_links: bool,
    missing: list[tuple[int, Problem]],
) -> Iterator[str]:
    """The files that cells of a list name, relative to its folder. Each folder is listed once,
    which is much faster than to ask for each file; `missing` gets rows of files that are not there.
    """
    root, places = path.parent, dict[str, Place]()
    for row, cell in enumerate(cells):
        where, slash, name = cell.rpartition("/")
        where = where or slash
        if where not in places:
            places[where] = place_of(root, where, follow_links)
        prefix, files, links = places[where]
        own = on_disk(Path(name)).name if "#" in name and name not in files else name
        if own in files or not cell:
            yield prefix + name
            continue
        line, unsure = f"{path}:{numbers[row]}", links is None or own in links
        file = inside(root, cell, line, follow_links) if unsure else root / cell
        if not (unsure and exists(file)):
            text = f"{field}: no such file: {file}"
            text += "; its folders are parted by \\, which must be /" if "\\" in cell else ""
            missing.append((row, Problem("missing", line, text)))
        yield str(file).removeprefix(head_of(root))


def names_of(columns: Mapping[str, Texts], numbers: Sequence[int], path: Path) -> Texts:
    """The names of a list's pairs, no two alike; the same pair twice is an InputError."""

    def file(field: str, row: int) -> str:
        return columns[field][row].removeprefix(columns[field].head)

    def short(field: str, row: int) -> str:
        return bare(without_frame(file(field, row))).replace("/", "__")

    def pair(row: int) -> str:
        return f"{file('x1', row)}, {file('x2', row)}"

    def both(row: int) -> str:
        return f"{short('x1', row)}__{short('x2', row)}"

    def line(row: int) -> str:
        return f"{path}:{numbers[row]}"

    return distinct(len(numbers), line, lambda row: short("x1", row), both, pair)


def shards_of(where: str, follow_links: bool = False) -> list[Path]:
    """The archives that `data.shards` names: those of a folder, those that fit a pattern, one, or
    those of a list, one a line, relative to its folder. Raises InputError for none, for one that
    is named twice or missing, and for a link or a line that leads out of the folder."""
    path = Path(where)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix == SHARD)
    elif re.search(r"[*?[]", where):
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    elif path.suffix == SHARD:
        found = [path]
    elif not exists(path):
        raise InputError(f"data.shards: no such folder, archive or list: {where}")
    else:
        found = [
            path.parent / line if follow_links else inside(path.parent, line, f"{path}:{number}")
            for number, line in numbered(path)
        ]
    if not found:
        raise InputError(f"data.shards: no {SHARD} files in {where}")
    unique([str(p) for p in found], path)
    for shard in found:
        if shard.suffix != SHARD or not exists(shard):
            raise InputError(f"data.shards: no {SHARD} file: {shard}")
        leads_out = not resolved(shard).is_relative_to(resolved(shard.parent))
        if shard.is_symlink() and leads_out and not follow_links:
            raise InputError(
                f"{shard}: is a link to {resolved(shard)}, outside of its folder; to read it "
                "nevertheless: data.follow_links=true"
            )
    return found


def read_shards(where: str, follow_links: bool = False) -> list[Sample]:
    """The pairs of all shards, in their order; files that are no images are passed over. An image
    that belongs to no sample is an InputError; names that lack a side or have a file twice are
    MissingFiles, with the samples that are whole."""
    groups: dict[str, dict[str, Path]] = {}
    lookup = Lookup()
    for shard in progress(shards_of(where, follow_links), what="shards"):
        for name, offset, size in members(shard):
            file = name.rpartition("/")[2]
            if file.startswith(".") or Path(file).suffix.lower() not in SUFFIXES:
                continue
            named = NAMED.fullmatch(name)
            if named is None:
                raise InputError(
                    f"{shard}: {name!r} belongs to no sample; names are KEY.x1.jpg, KEY.x2.jpg "
                    "and, where there are any, KEY.y.png, KEY.y2.png, KEY.valid.png"
                )
            files = groups.setdefault(named[1], {})
            column = "y1" if named[2] == "y" else named[2]
            if first := files.get(column):
                text = f"a second {named[2]} of {named[1]!r}; the first is in {first.parents[1]}"
                lookup.problems.append(Problem("double", str(shard), text))
            files.setdefault(column, part(shard, offset, size, file))
    keys, samples = [*groups], []
    own = keys.__getitem__
    names = distinct(len(keys), own, lambda place: own(place).replace("/", "__"), own)
    for name, (key, files) in zip(names, groups.items(), strict=True):
        if lost := [side for side in ("x1", "x2") if side not in files]:
            beside = next(iter(files.values()))
            text = f"no {' and no '.join(lost)} of {key!r} beside its {beside.name}"
            lookup.problems.append(Problem("missing", str(beside.parents[1]), text))
        else:
            samples.append(paired(name, files))
    if not groups:
        raise InputError(f"data.shards: no pairs in the archives of {where}")
    return lookup.complete(samples)
