"""Rows as CSV and as columns of text."""

import csv
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any


def csv_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows, the names first; what is None or NaN stays empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(["" if value != value else value for value in row] for row in rows)
    return buffer.getvalue()


def csv_of_records(records: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """Mappings as rows, in the columns `names` or those of the first; what is missing stays
    empty."""
    columns = names or list(records[0] if records else ())
    return csv_of([columns, *([record.get(name) for name in columns] for record in records)])


def as_text(value: object) -> str:
    """Numbers with four digits; NaN as a dash."""
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def text_table(rows: Iterable[Sequence[object]], left: Container[int] = (0,)) -> str:
    """Columns under the names in the first row: text on the left, which is in the columns `left`,
    numbers on the right."""
    columns = []
    for number, column in enumerate(zip(*rows, strict=True)):
        cells = [as_text(value) for value in column]
        width = max(map(len, cells))
        columns.append([c.ljust(width) if number in left else c.rjust(width) for c in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))
