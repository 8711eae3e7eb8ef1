"""What a data set is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapt.settings.groups import DataConfig

FILES = ("x1", "y1", "x2", "y2", "valid")
"""The fields of a sample that are files."""


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
    read: Callable[[DataConfig, Path, str], list[Sample]]
    """(configuration, root, split) -> samples of one domain, in the list's order."""
    write_list: Callable[[Path, str, list[Sample]], None]
    """Write the list of a twin whose files are already there: (root, split, samples)."""
    codes: tuple[int, ...] = ()
    """Value of each class in the masks; () = its index."""
    find: Callable[[DataConfig, Path], tuple[str, ...]] | None = None
    """(configuration, root) -> classes; for data sets with one label an image, and only those."""
    val_split: str = "val"
    """What is evaluated while a training runs."""

    @property
    def classification(self) -> bool:
        """One label an image, rather than one a pixel."""
        return self.find is not None
