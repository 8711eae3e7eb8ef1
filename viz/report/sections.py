"""Parts of the report: a heading with sentences, tables and charts, as report.html shows them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from viz.pictures import data_uri

T = TypeVar("T")

PANELS = 3
"""Panels in a row."""


@dataclass(frozen=True)
class Chart:
    """A figure of the report."""

    image: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of the report, cells as text."""

    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass
class Section:
    """A heading with its sentences, tables and figures."""

    title: str
    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)

    def draw(self, chart: bytes, alt: str, caption: str) -> None:
        self.charts.append(Chart(data_uri(chart), alt, caption))


def groups_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def parts_of(items: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    """The same of a mapping."""
    return (dict(group) for group in groups_of(list(items.items()), size))
