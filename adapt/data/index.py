"""What the index scripts of public paired sets share: a list of pairs, converted files, GeoTIFF."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from adapt.data.images import voc_palette, write_png
from adapt.data.pairs import COLUMNS, read_csv
from adapt.disk.files import write_whole
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.machine.runtime import progress, say

Row = dict[str, Path]
"""Column of COLUMNS -> file."""
Converter = Callable[[Path], np.ndarray]
"""File -> uint8 (H, W, 3), or (H, W) for masks."""


def write_index(path: Path, rows: Iterable[Row], classes: Sequence[str], what: str) -> None:
    """Write the CSV that data=pairs reads, check it, and say what to run next; raises InputError
    for no rows, or for files outside the list's folder."""
    rows = list(rows)
    if not rows:
        raise InputError(f"{path.parent}: no pairs of {what} found there")
    root = path.parent.resolve()
    columns = [c for c in COLUMNS if any(c in row for row in rows)]
    table: list[Sequence[str]] = [columns]
    for row in rows:
        if wrong := [f for f in row.values() if not f.resolve().is_relative_to(root)]:
            raise InputError(f"{wrong[0]} lies outside {root}; put --out into the set's folder")
        there = {k: f.resolve().relative_to(root).as_posix() for k, f in row.items()}
        table.append([there.get(column, "") for column in columns])
    write_whole(path, csv_of(table))
    read_csv(path)
    labels = sum("y1" in row for row in rows)
    named = "data.classes=" + json.dumps([*classes], separators=(",", ":"))  # names have commas
    command = shlex.join(["fra", "adapt", "data=pairs", f"data.pairs={path}", named])
    say(f"{path}: {len(rows)} pairs, {labels} with labels. Next:\n  {command} teacher=… run=…")


def converted(jobs: Mapping[Path, Path], convert: Converter, what: str, *, mask: bool) -> None:
    """Write `convert(source)` of each job, target -> source, as PNG, but for those that are there;
    index masks get the VOC colours."""
    for target, source in progress(jobs.items(), what=what, total=len(jobs)):
        if not target.exists():
            write_png(target, convert(source), voc_palette() if mask else None)


def converted_rows(
    beside: Path,
    sources: Mapping[str, Mapping[str, Path]],
    convert: Mapping[str, Converter],
    x2: str = "x2",
) -> list[Row]:
    """Rows of the names that both x1 and x2 have, whose files are converted into folders `beside`
    the list: x1/, x2/ and labels/.

    Args:
        beside: the list's folder.
        sources: column (x1, x2, y1) -> name -> file.
        convert: column -> how it is converted.
        x2: another folder for x2, of which a set has several under one name.
    """
    folders = {"x1": "x1", "x2": x2, "y1": "labels"}
    names = sorted(sources["x1"].keys() & sources["x2"].keys())
    rows = [
        {c: beside / folders[c] / f"{n}.png" for c in sources if n in sources[c]} for n in names
    ]
    for column, files in sources.items():
        jobs = {row[column]: files[row[column].stem] for row in rows if column in row}
        converted(jobs, convert[column], folders[column], mask=column == "y1")
    return rows


def arguments(description: str, **choices: Sequence[str]) -> argparse.Namespace:
    """The command line of an index script: the set's folder, --out, and an option for each of
    `choices`, whose first value is the default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="the data set's folder, as its archives unpack")
    parser.add_argument("--out", type=Path, help="the list; default: pairs.csv in that folder")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=values[0])
    given = parser.parse_args()
    given.out = given.out or given.root / "pairs.csv"
    return given


def run(command: Callable[[], None]) -> None:
    """Run an index script; wrong input ends with one line and status 2."""
    try:
        command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
