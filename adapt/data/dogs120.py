"""Stanford Dogs (Khosla et al. 2011): 120 breeds, 100 training images of each.

    Images/n02085620-Chihuahua/n02085620_10074.jpg …
    lists/train_list.mat, lists/test_list.mat, whose `file_list` names files as below Images/

Its images come from ImageNet's training set, the test's too; 001 therefore tests on the 50 images
of each breed in ImageNet's validation set: split `imagenet_val`, from data.imagenet_val=DIR with
one folder a class, DIR/n02085620/ILSVRC2012_val_….JPEG, as torchvision.datasets.ImageNet and the
usual scripts sort it.
"""

import io
from pathlib import Path

import numpy as np
from scipy.io import savemat

from adapt.data.by_class import classes_in, home_of, samples_listed
from adapt.data.files import folder, list_file, stems
from adapt.data.mat import read_mat
from adapt.data.sample import Layout, Sample
from adapt.disk.files import write_whole
from adapt.errors import InputError, listing, unknown
from adapt.settings.groups import DataConfig

IMAGES, LISTS = "Images", "lists"
HEADER = 116
"""Bytes of text that a .mat file begins with."""
IMAGENET_VAL = "imagenet_val"

home = home_of(IMAGES)


def find(config: DataConfig, root: Path) -> tuple[str, ...]:
    return classes_in(home(root) / IMAGES)


def splits(root: Path) -> list[str]:
    return [s for s in ("train", "test") if list_of(home(root), s).is_file()]


def list_of(root: Path, split: str) -> Path:
    return root / LISTS / f"{split}_list.mat"


def entries(source: Path) -> list[str]:
    """`file_list` of a MATLAB file: a column of cells, each a string.

    Raises:
        InputError: missing, or something else.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such list; lists.tar of Stanford Dogs has it")
    what = "a list of Stanford Dogs with file_list, a column of texts"
    cells = read_mat(source, "file_list", what)
    if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
        raise InputError(f"{source}: not {what}")
    return cells


def of_imagenet(config: DataConfig, classes: tuple[str, ...]) -> list[Sample]:
    """ImageNet's validation images of the breeds.

    Raises:
        InputError: no data.imagenet_val, or breeds without a folder there.
    """
    if not config.imagenet_val:
        raise InputError(
            f"data split {IMAGENET_VAL} needs data.imagenet_val=DIR: ImageNet's validation images "
            "in one folder a class (DIR/n02085620/…)"
        )
    where = folder(Path(config.imagenet_val), "data.imagenet_val")
    synsets = [name.partition("-")[0] for name in classes]
    if missing := [s for s in synsets if not (where / s).is_dir()]:
        raise InputError(f"data.imagenet_val: no folder {listing(missing)} in {where}")
    return [
        Sample(f"{name}/{stem}", path, label=label)
        for label, (name, synset) in enumerate(zip(classes, synsets, strict=True))
        for stem, path in stems(where / synset).items()
    ]


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    root = home(root)
    if split == IMAGENET_VAL:
        return of_imagenet(config, classes_in(root / IMAGES))
    if split not in ("train", "test"):
        raise unknown("data split of dogs120", split, ("train", "test", IMAGENET_VAL))
    name = list_of(Path(), split)
    source = list_file(root, name, config.follow_links)
    return samples_listed(source, entries(source), root / IMAGES)


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    names = [s.x1.relative_to(root / IMAGES).as_posix() for s in samples]
    buffer = io.BytesIO()
    savemat(buffer, {"file_list": np.array(names, dtype=object)[:, None]})
    headed = b"MATLAB 5.0 MAT-file".ljust(HEADER) + buffer.getvalue()[HEADER:]  # without the date
    write_whole(list_of(root, split), headed)


DOGS120 = Layout(
    (), (), "train", home, splits, read, write_list, find=find, val_split="test"
)  # fmt: skip
