"""What a data set is made of: samples. Those of long lists are kept as text.

A pair of paths takes 1 kB as objects and 0.1 kB in a Table, which makes each sample as it is asked
for; and processes that a DataLoader forks share it, as reading it changes no reference count.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
FILES = ("x1", "y1", "x2", "y2", "valid")
"""The fields of a sample that are files, but for named label maps."""


@dataclass(frozen=True)
class Task:
    """What the values of a named label map mean, which a head of a network learns."""

    classes: tuple[str, ...]
    void: tuple[int, ...] = ()
    """Mask values besides 255 that mean void; () = the data set's."""
    codes: tuple[int, ...] = ()
    """Mask values of the classes; () = their indices."""
    labels: tuple[int, ...] = ()
    """The class that each of `codes` means; () = one value a class, in their order."""


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
    maps: Mapping[str, Path] = field(default_factory=dict, hash=False)
    """Of several named label maps, instead of y1 and y2: `y1_TASK` and `y2_TASK`."""

    def file(self, name: str) -> Path | None:
        """A field, or one of `maps`; None = there is none."""
        return getattr(self, name, self.maps.get(name))


def spaced(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of them, evenly spaced from the first to the last."""
    count = min(count, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


class Texts(Sequence[str]):
    """Texts in one piece of memory, each after a common `head`; an empty one stands for none."""

    def __init__(self, texts: Iterable[str] = (), head: str = "") -> None:
        self.head, self.content, self.ends = head, bytearray(), array("Q", [0])
        self.rows: Sequence[int] | None = None
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self.content += text.encode(errors="surrogateescape")
        self.ends.append(len(self.content))

    def take(self, places: np.ndarray) -> "Texts":
        """The texts at some places, of the same memory."""
        taken = Texts(head=self.head)
        taken.content, taken.ends = self.content, self.ends
        taken.rows = array("Q", places if self.rows is None else np.asarray(self.rows)[places])
        return taken

    def __len__(self) -> int:
        return len(self.ends) - 1 if self.rows is None else len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        row = place if self.rows is None else self.rows[place]
        return self.between(self.ends[row], self.ends[row + 1])

    def __iter__(self) -> Iterator[str]:
        if self.rows is not None:
            return map(self.__getitem__, range(len(self)))
        return map(self.between, self.ends, islice(self.ends, 1, None))

    def between(self, start: int, end: int) -> str:
        text = self.content[start:end].decode(errors="surrogateescape")
        return self.head + text if text else ""


def repeats(texts: Sequence[str]) -> bool:
    """Are any of them equal? Without a set, which takes as much memory as the texts; that hashes
    are equal by chance is next to impossible, and does no harm."""
    hashes = np.sort(np.fromiter(map(hash, texts), np.int64, len(texts)))
    return bool((hashes[1:] == hashes[:-1]).any())


class Table(Sequence[Sample]):
    """Samples by column: `name`, and fields of theirs that are files, in `maps` too."""

    def __init__(self, columns: Mapping[str, Texts]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(self.columns["name"])

    def __getitem__(self, place: Any) -> Any:
        row = range(len(self))[place]
        if isinstance(row, range):
            return [self[each] for each in row]
        cells = {field: texts[row] for field, texts in self.columns.items()}
        name = cells.pop("name")
        found: dict[str, Any] = {f: Path(text) for f, text in cells.items() if text}
        maps = {f: found.pop(f) for f in [*found] if f not in FILES}
        return Sample(name, **found, maps=maps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]


def column(samples: Sequence[Sample], field: str) -> Sequence[str]:
    """A field of all samples as text, "" for None."""
    if isinstance(samples, Table):
        return samples.columns.get(field) or [""] * len(samples)
    found = (sample.file(field) for sample in samples)
    return ["" if value is None else str(value) for value in found]


def chosen(samples: Sequence[Sample], places: np.ndarray) -> Sequence[Sample]:
    """The samples at some places."""
    if isinstance(samples, Table):
        return Table({field: texts.take(places) for field, texts in samples.columns.items()})
    return [samples[place] for place in places]


def renamed(samples: Sequence[Sample], change: Callable[[str], str]) -> Sequence[Sample]:
    """The samples with what `change` makes of their names."""
    names = map(change, column(samples, "name"))
    if isinstance(samples, Table):
        return Table(samples.columns | {"name": Texts(names)})
    return [replace(sample, name=name) for sample, name in zip(samples, names, strict=True)]


def joined(every: Sequence[Sequence[Sample]]) -> Sequence[Sample]:
    """Samples one after the other; of Tables another Table."""
    tables = [samples for samples in every if isinstance(samples, Table)]
    if len(tables) < len(every):
        return [*chain.from_iterable(every)]
    fields = dict.fromkeys(chain.from_iterable(table.columns for table in tables))
    return Table({f: Texts(chain.from_iterable(column(t, f) for t in tables)) for f in fields})


def map_fields(samples: Sequence[Sample]) -> list[str]:
    """The fields of samples that are named label maps."""
    if isinstance(samples, Table):
        return [field for field in samples.columns if field not in ("name", *FILES)]
    return [*dict.fromkeys(field for sample in samples for field in sample.maps)]


def with_fields(samples: Sequence[Sample], sources: Mapping[str, str]) -> Sequence[Sample]:
    """Samples with other label maps: field -> the field whose files it gets; there are no more."""
    if isinstance(samples, Table):
        kept = {f: texts for f, texts in samples.columns.items() if f[0] != "y"}
        own = samples.columns
        return Table(kept | {f: own[source] for f, source in sources.items() if source in own})
    made = []
    for sample in samples:
        files = {f: path for f, source in sources.items() if (path := sample.file(source))}
        y1, y2 = (files.pop(f, None) for f in ("y1", "y2"))
        made.append(replace(sample, y1=y1, y2=y2, maps=files))
    return made


def pairing(samples: Sequence[Sample]) -> str:
    """How many samples there are, and a digest of their names, files and labels in their order:
    what belongs to what, not what the files contain."""
    fields = ("name", *FILES, *map_fields(samples), "label", "transform")
    columns = (column(samples, field) for field in fields)
    digest, between = hashlib.sha256(), b""
    for *row, transform in zip(*columns, strict=True):
        text = "\0".join([cell or "None" for cell in row]) + (transform and f"\0{transform}")
        digest.update(between + text.encode(errors="surrogateescape"))
        between = b"\n"
    found = f"{len(samples)} samples, SHA-256 of their names and files"
    return f"{found} {digest.hexdigest()}"
