"""Any paired images: two folders matched by name, a CSV `x1,x2[,y1][,y2][,valid]`, or tar archives.

The archives are WebDataset's: <key>.x1.jpg, <key>.x2.jpg, <key>.y.png. A member has a path of its
own (adapt.data.archives), so that whatever reads, compares or names a sample's files does so in any
process and order.
"""

import csv
import io
import re
from pathlib import Path

from adapt.data.archives import SHARD, members, part
from adapt.data.files import (
    Layout,
    Lookup,
    MissingFiles,
    Problem,
    Sample,
    exists,
    folder,
    inside,
    lines,
    list_text,
    matched,
    resolved,
    unique,
)
from adapt.data.images import SUFFIXES
from adapt.data.video import without_frame
from adapt.errors import InputError, listing, unknown
from adapt.machine.runtime import progress
from adapt.settings.groups import DataConfig

COLUMNS = ("x1", "x2", "y1", "y2", "valid")
ALL = "all"
NAMED = re.compile(r"(.+)\.(x1|x2|y|y2|valid)\.[^.]+")
"""Key and field of a member."""


def pairs(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Every image of the folder `root`; `split` is ALL: parts of it are cut by `data.parts`."""
    lookup = Lookup()
    files = lookup.table(root)
    labels = lookup.table(Path(config.labels)) if config.labels else {}
    samples = [Sample(name=n, x1=f, y1=labels.get(n)) for n, f in files.items()]
    if labels:
        try:
            matched(files, labels, str(root), config.labels)
        except MissingFiles as error:
            error.samples = [s for s in samples if s.y1]
            raise
    return lookup.complete(samples)


PAIRS = Layout(
    (), (), ALL, lambda root: folder(root, "data.root (pairs)"), lambda root: [ALL], pairs
)  # fmt: skip


def paired(name: str, files: dict[str, Path]) -> Sample:
    """A sample of its files by column; x2 has the labels of x1 where it has none of its own."""
    y1 = files.get("y1")
    return Sample(name, files["x1"], y1, files["x2"], files.get("y2", y1), files.get("valid"))


def read_csv(path: Path, follow_links: bool = False) -> list[Sample]:
    """Rows of a CSV whose paths are relative to its own folder and stay inside it; raises
    InputError with the line number where one does not, or is not there."""
    root = folder(path.parent, "data.pairs")
    if not exists(path):
        raise InputError(f"data.pairs: no such file: {path}")
    samples = []
    missing: list[Problem] = []
    for number, row in enumerate(rows_of(path), 2):
        where = f"{path}:{number}"
        if None in row:
            raise InputError(f"{where}: more cells than the header's {listing([*row][:-1])}")
        if any("\n" in cell for cell in row.values() if cell):
            text = "a cell goes on in the next line: a quotation mark lacks its partner"
            raise InputError(f"{where}: {text}")
        files = {c: inside(root, v, where, follow_links) for c, v in row.items() if v}
        if "x1" not in files or "x2" not in files:
            raise InputError(f"{where}: x1 and x2 must both be given")
        if lost := [column for column in COLUMNS if column in files and not exists(files[column])]:
            missing += [Problem("missing", where, f"{c}: no such file: {files[c]}") for c in lost]
            continue
        name = Path(without_frame(row["x1"])).with_suffix("").as_posix().replace("/", "__")
        samples.append(paired(name, files))
    unique([s.name for s in samples], path)
    if missing:
        raise MissingFiles(missing, samples)
    return samples


def rows_of(path: Path) -> list[dict[str, str]]:
    """Column -> cell for each row of a CSV with columns of COLUMNS, x1 and x2 among them."""
    reader = csv.DictReader(io.StringIO(list_text(path), newline=""))
    try:
        rows, columns = list(reader), reader.fieldnames or ()
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV ({error})") from None
    for column in columns:
        if column not in COLUMNS:
            raise unknown(f"{path}: column", column, COLUMNS)
    if len(set(columns)) < len(columns):
        raise InputError(f"{path}: the header names a column twice: {', '.join(columns)}")
    if not {"x1", "x2"} <= set(columns):
        there = listing(columns) or "none"
        raise InputError(f"{path}: the header must have x1 and x2; it has {there}")
    if not rows:
        raise InputError(f"{path}: no rows below the header")
    return rows


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
            for number, line in enumerate(lines(path), 1)
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
            files = groups.setdefault(named[1].replace("/", "__"), {})
            column = "y1" if named[2] == "y" else named[2]
            if first := files.get(column):
                text = f"a second {named[2]} of {named[1]!r}; the first is in {first.parents[1]}"
                lookup.problems.append(Problem("double", str(shard), text))
            files.setdefault(column, part(shard, offset, size, file))
    samples = []
    for key, files in groups.items():
        if lost := [side for side in ("x1", "x2") if side not in files]:
            beside = next(iter(files.values()))
            text = f"no {' and no '.join(lost)} of {key!r} beside its {beside.name}"
            lookup.problems.append(Problem("missing", str(beside.parents[1]), text))
        else:
            samples.append(paired(key, files))
    if not groups:
        raise InputError(f"data.shards: no pairs in the archives of {where}")
    return lookup.complete(samples)
