"""Rows as CSV and as columns of text."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows by column names, those of the first; what is missing or NaN stays empty."""
    buffer = io.StringIO()
    names = list(rows[0]) if rows else []
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
    return buffer.getvalue()


def shown(value: object) -> str:
    """Numbers with four digits; NaN as a dash."""
    if isinstance(value, float):
        return f"{value:.4g}" if value == value else "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def text_table(rows: Iterable[Sequence[object]]) -> str:
    """Columns under the names in the first row: text on the left, numbers on the right."""
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{c:>{w}}" if n else f"{c:<{w}}"
            for n, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
