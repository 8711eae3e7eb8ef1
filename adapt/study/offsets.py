"""Misalignment on purpose: how far x2 of a training pair is moved, and the files that say so."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from adapt.align.command import TABLE, pairs_of
from adapt.align.models import moved_by
from adapt.align.twin import image
from adapt.data import layout_of
from adapt.data.copies import MANIFEST, Output, make_all, write_manifest
from adapt.data.images import image_size
from adapt.data.sampling import image_seed
from adapt.data.warp import COLUMNS, names_of
from adapt.disk.files import write_whole
from adapt.disk.tables import csv_of
from adapt.settings.align import AlignConfig
from adapt.settings.groups import DataConfig
from adapt.shift.distort import splits_of, twin

SYSTEMATIC, RANDOM = "systematic", "random"
KINDS = (SYSTEMATIC, RANDOM)
"""All x2 are moved in one direction, or each in one of its own; by the same length."""
COMMON = math.atan2(1, 2)
"""The direction of all, radians: two to the right, one down."""
PLANTED, IMAGES, ALIGNED = "planted.csv", "images", "aligned"


@dataclass(frozen=True)
class Misaligned:
    """Pairs that are off by one kind and length of offset, in a folder of their own."""

    data: DataConfig
    """The pairs as they are."""
    kind: str
    length: float
    folder: Path

    @property
    def table(self) -> Path:
        """What `align` finds."""
        return self.folder / ALIGNED / TABLE

    @property
    def moved(self) -> DataConfig:
        """With the moved images."""
        return replace(self.data, target=str(self.folder / IMAGES))

    @property
    def versions(self) -> dict[str, DataConfig]:
        """What is adapted from, by the ending of its name: misaligned, and aligned again."""
        return {
            "": replace(self.data, transforms=str(self.folder / PLANTED)),
            "_aligned": replace(self.moved, transforms=str(self.table)),
        }

    def plant(self, workers: int) -> Path:
        """Move x2 of all pairs; returns the manifest.

        `images` is a twin of data.target with the moved images, for `align` to find out. As
        transforms of the pairs as they are, planted.csv moves them as they are read: what is then
        not shown of x1 does not count, as no camera that is off has black margins.
        """
        data, layout, out = self.data, layout_of(self.data), self.folder / IMAGES
        root = layout.home(Path(data.target))
        lists = splits_of(replace(data, root=data.target), layout, root)
        twins = {s: twin(s, root, out, moving=False) for each in lists.values() for s in each}
        outputs = []
        for sample, made in twins.items():
            move = partial(image, matrix=self.planted(sample.name), size=image_size(sample.x1))
            outputs.append(Output(sample.x1, made.x1, move, same=False))
            if sample.y1 and made.y1:
                outputs.append(Output(sample.y1, made.y1))
        digests = make_all(self.folder, outputs, workers, "plant")
        for split, members in lists.items():
            layout.write_list(out, split, [twins[sample] for sample in members])
        write_whole(self.folder / PLANTED, csv_of([COLUMNS, *self.rows()]))
        about = {"offset": self.kind, "pixels": self.length}
        return write_manifest(self.folder / MANIFEST, about, digests)

    def rows(self) -> Iterator[Sequence[object]]:
        """Of planted.csv."""
        for sample in pairs_of(self.data):
            planted = map(float, self.planted(sample.name).ravel())
            yield (*names_of(sample, self.data), 1, *planted, 1)

    def planted(self, name: str) -> np.ndarray:
        """(3, 3), from pixels of x1 to those of the x2 that is to be moved."""
        x, y = offset(self.kind, self.length, name)
        return moved_by(-x, -y)

    def aligning(self, workers: int) -> AlignConfig:
        """What a user does with such pairs."""
        return AlignConfig(self.moved, out=str(self.table.parent), workers=workers)


def offset(kind: str, length: float, name: str) -> tuple[int, int]:
    """By how many pixels, right and down, x2 of the pair of that name is moved."""
    drawn = np.random.default_rng(image_seed(0, name)).uniform(0, 2 * math.pi)
    angle = COMMON if kind == SYSTEMATIC else float(drawn)
    return round(length * math.cos(angle)), round(length * math.sin(angle))
