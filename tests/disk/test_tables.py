"""Rows as CSV and as columns of text."""

from math import nan

from adapt.disk.tables import csv_of_records, text_table


def test_tables() -> None:
    rows = [{"layer": "a,b", "r2": 0.5}, {"layer": "c", "r2": nan}, {"layer": "d"}]
    assert csv_of_records(rows) == 'layer,r2\n"a,b",0.5\nc,\nd,\n'
    printed = text_table([("layer", "n"), ("conv", 12345), ("x", nan), ("y", 0.123456)])
    assert printed.splitlines() == [
        "layer       n", "conv   12,345", "x           -", "y      0.1235",
    ]  # fmt: skip
