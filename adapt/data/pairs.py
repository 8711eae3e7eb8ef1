"""Any paired images: two folders matched by name, or a CSV `x1,x2[,y1][,y2][,valid]`."""

import csv
import io
from pathlib import Path

from adapt.data.archives import read_file
from adapt.data.files import (
    MAX_LIST,
    Lookup,
    MissingFiles,
    Problem,
    exists,
    folder,
    inside,
    matched,
    unique,
)
from adapt.data.sample import Layout, Sample
from adapt.errors import InputError, listing, unknown
from adapt.settings.groups import DataConfig

COLUMNS = ("x1", "x2", "y1", "y2", "valid")
ALL = "all"


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
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


def read_csv(path: Path, follow_links: bool = False) -> list[Sample]:
    """Rows of a CSV whose paths are relative to its own folder and stay inside it.

    Raises:
        InputError: with the line number, for an unknown or missing column, a missing file, a path
            that leads out of the folder, or an x1 named twice.
    """
    root = folder(path.parent, "data.pairs")
    if not exists(path):
        raise InputError(f"data.pairs: no such file: {path}")
    try:
        text = read_file(path, MAX_LIST).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = list(reader)
        columns = reader.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8 ({error})") from None
    for column in columns:
        if column not in COLUMNS:
            raise unknown(f"{path}: column", column, COLUMNS)
    if len(set(columns)) < len(columns):
        raise InputError(f"{path}: the header names a column twice: {', '.join(columns)}")
    if not {"x1", "x2"} <= set(columns):
        raise InputError(
            f"{path}: the header must have x1 and x2; it has {listing(columns) or 'none'}"
        )
    if not rows:
        raise InputError(f"{path}: no rows below the header")
    samples = []
    missing: list[Problem] = []
    for number, row in enumerate(rows, 2):
        if None in row:
            raise InputError(f"{path}:{number}: more cells than the header's {listing(columns)}")
        cells = {c: row.get(c) for c in COLUMNS}
        if any("\n" in v for v in cells.values() if v):
            text = "a cell goes on in the next line: a quotation mark lacks its partner"
            raise InputError(f"{path}:{number}: {text}")
        files = {
            c: inside(root, v, f"{path}:{number}", follow_links) for c, v in cells.items() if v
        }
        if "x1" not in files or "x2" not in files:
            raise InputError(f"{path}:{number}: x1 and x2 must both be given")
        if lost := [c for c, file in files.items() if not exists(file)]:
            where = f"{path}:{number}"
            missing += [Problem("missing", where, f"{c}: no such file: {files[c]}") for c in lost]
            continue
        name = Path(cells["x1"] or "").with_suffix("").as_posix().replace("/", "__")
        y1 = files.get("y1")
        samples.append(
            Sample(name, files["x1"], y1, files["x2"], files.get("y2", y1), files.get("valid"))
        )
    unique([s.name for s in samples], path)
    if missing:
        raise MissingFiles(missing, samples)
    return samples


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    """Two plain folders have no list."""


def home(root: Path) -> Path:
    return folder(root, "data.root (pairs)")


PAIRS = Layout((), (), ALL, home, lambda root: [ALL], read, write_list)
