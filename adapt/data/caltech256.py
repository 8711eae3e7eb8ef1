"""Caltech-256 (Griffin, Holub, Perona 2007): 256 classes and clutter, 80 to 827 images each.

    256_ObjectCategories/001.ak47/001_0001.jpg … 257.clutter/257_0827.jpg

It has no lists: splits are drawn, as 001 does it, with 30 or 60 images of each class for training
and 20 others for the test. The draw depends on the files' names and on data.parts_seed only, the
test is the same for every number of training images, and fewer of them are a part of more.
"""

import re
from pathlib import Path

import numpy as np

from adapt.data.by_class import classes_in, home_of, no_list, samples_below
from adapt.data.sample import Layout, Sample
from adapt.errors import InputError, unknown
from adapt.settings.groups import DataConfig

IMAGES = "256_ObjectCategories"
TESTED = 20
"""Images of each class in the test (001, table 1)."""

home = home_of(IMAGES, "caltech256")


def find(config: DataConfig, root: Path) -> tuple[str, ...]:
    return classes_in(home(root) / IMAGES)


def splits(root: Path) -> list[str]:
    """Of a shifted twin: everything, so that the same splits can be drawn of it."""
    return ["all"]


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """`trainN`: N images of each class; `test`: TESTED others; `all`: all of them.

    Raises:
        InputError: another name, or a class with too few images.
    """
    where = home(root) / IMAGES
    classes = classes_in(where)
    samples = samples_below(where, classes)
    if split == "all":
        return samples
    wanted = re.fullmatch(r"train([1-9]\d*)", split)
    if not wanted and split != "test":
        raise unknown("data split of caltech256", split, ["train30", "train60", "test", "all"])
    count = int(wanted[1]) if wanted else 0
    chosen: set[str] = set()
    for label, name in enumerate(classes):
        own = [s.name for s in samples if s.label == label]
        if len(own) < TESTED + count:
            raise InputError(
                f"{where / name}: {len(own)} images; {split} takes {count} beside {TESTED} for the "
                "test"
            )
        order = np.random.default_rng([config.parts_seed, label]).permutation(len(own))
        drawn = order[TESTED : TESTED + count] if count else order[:TESTED]
        chosen.update(own[i] for i in drawn)
    return [s for s in samples if s.name in chosen]


CALTECH256 = Layout(
    (), (), "train60", home, splits, read, no_list, find=find, val_split="test"
)  # fmt: skip
