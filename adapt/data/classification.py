"""Data sets with one label an image: the place of its folder among the sorted names of folders.

folders      <split>/<class>/*.jpg, as torchvision.datasets.ImageFolder reads them
caltech256   256_ObjectCategories/001.ak47/*.jpg … 257.clutter (Griffin, Holub, Perona 2007)
indoor67     Images/<class>/*.jpg, TrainImages.txt, TestImages.txt (Quattoni, Torralba 2009)
food101      images/<class>/*.jpg, meta/train.txt, meta/test.txt (Bossard et al. 2014)
dogs120      Images/<class>/*.jpg, lists/train_list.mat, lists/test_list.mat (Khosla et al. 2011)
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adapt.data.archives import read_mat
from adapt.data.files import (
    Layout,
    bare,
    folder,
    home_of,
    list_file,
    numbered,
    stems,
    unique,
    write_lines,
)
from adapt.data.samples import Sample
from adapt.disk.files import write_whole
from adapt.errors import InputError, listing, unknown
from adapt.settings.groups import DataConfig

CALTECH_IMAGES = "256_ObjectCategories"
TESTED = 20
"""Images of each Caltech class in the test (001, table 1)."""
IMAGENET_VAL = "imagenet_val"


def classes_in(where: Path) -> tuple[str, ...]:
    """Sorted names of the folders in `where`; no such folder, or none in it, is an InputError."""
    found = sorted(p.name for p in folder(where, "data.root").iterdir() if p.is_dir())
    names = tuple(name for name in found if not name.startswith("."))
    if not names:
        raise InputError(f"{where}: no folders inside; every class of images has one")
    return names


def samples_below(where: Path, classes: tuple[str, ...], synsets: bool = False) -> list[Sample]:
    """Every image of the class folders of `where`, in order of classes and names; a class may lack
    its folder. With `synsets` the folders' names end before the first `-` of the classes'."""
    folders = [where / (name.partition("-")[0] if synsets else name) for name in classes]
    return [
        Sample(f"{name}/{stem}", path, label=label)
        for label, (name, place) in enumerate(zip(classes, folders, strict=True))
        if place.is_dir()
        for stem, path in stems(place).items()
    ]


def samples_listed(source: Path, entries: list[tuple[int, str]], images: Path) -> list[Sample]:
    """The images that a list names as `<class>/<file>` in its numbered entries, below the folder
    `images`; files match by stem, so that lists without a suffix and shifted twins (PNG) serve as
    well. A class or an image that is not there is an InputError with the entry's number."""
    label_of = {name: label for label, name in enumerate(classes_in(images))}
    tables: dict[str, dict[str, Path]] = {}
    samples = []
    for number, entry in entries:
        where = f"{source}:{number}"
        name, stem = Path(entry).parent.name, bare(Path(entry).name)
        if name not in label_of:
            raise unknown(f"{where}: class", name, label_of)
        if name not in tables:
            tables[name] = stems(images / name)
        if stem not in tables[name]:
            raise InputError(f"{where}: no image {stem!r} in {images / name}")
        samples.append(Sample(f"{name}/{stem}", tables[name][stem], label=label_of[name]))
    unique([s.name for s in samples], source)
    return samples


def listed(
    images: str, list_of: Callable[[str], str], *below: str, suffixes: bool = True
) -> Layout:
    """A data set with class folders in `images` and a list for each split.

    Args:
        images: the folder's name.
        list_of: split -> its list's path.
        below: folders that the archive or torchvision makes below the root.
        suffixes: does a list of a twin name its files with their suffixes?
    """
    home = home_of(images, *below)

    def splits(root: Path) -> list[str]:
        return [split for split in ("train", "test") if (home(root) / list_of(split)).is_file()]

    def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
        root = home(root)
        source = list_file(root, list_of(split), config.follow_links)
        named = enumerate(entries(source), 1) if source.suffix == ".mat" else numbered(source)
        return samples_listed(source, [*named], root / images)

    def write(root: Path, split: str, samples: list[Sample]) -> None:
        names = [
            s.x1.relative_to(root / images).as_posix() if suffixes else s.name for s in samples
        ]
        path = root / list_of(split)
        (write_mat_list if path.suffix == ".mat" else write_lines)(path, names)

    return Layout(
        (), (), "train", home, splits, read, write, val_split="test",
        find=lambda config, root: classes_in(home(root) / images),
    )  # fmt: skip


def entries(source: Path) -> list[str]:
    """`file_list` of a MATLAB file, a column of cells with a string each; else an InputError."""
    if not source.is_file():
        raise InputError(f"{source}: no such list; lists.tar of Stanford Dogs has it")
    what = "a list of Stanford Dogs with file_list, a column of texts"
    found = read_mat(source, "file_list", what)
    cells = [np.asarray(cell) for cell in found.flat] if isinstance(found, np.ndarray) else []
    if not cells or any(cell.dtype.kind != "U" or cell.size != 1 for cell in cells):
        raise InputError(f"{source}: not {what}")
    return [cell.item() for cell in cells]


def write_mat_list(path: Path, names: list[str]) -> None:
    """A MATLAB file with `file_list`, without the date that scipy writes into it."""
    from scipy.io import savemat

    buffer, header = io.BytesIO(), 116  # bytes of text that the file begins with
    savemat(buffer, {"file_list": np.array(names, dtype=object)[:, None]})
    write_whole(path, b"MATLAB 5.0 MAT-file".ljust(header) + buffer.getvalue()[header:])


INDOOR67 = listed("Images", lambda split: f"{split.capitalize()}Images.txt")
FOOD101 = listed("images", lambda split: f"meta/{split}.txt", "food-101", suffixes=False)
DOGS = listed("Images", lambda split: f"lists/{split}_list.mat")


def dogs120(config: DataConfig, root: Path, split: str) -> Sequence[Sample]:
    """Stanford Dogs' lists, and the split `imagenet_val`: ImageNet's validation images of the
    breeds, on which 001 tests, because the images of Stanford Dogs are ImageNet's training images.
    They lie in data.imagenet_val=DIR, a folder a class (DIR/n02085620/ILSVRC2012_val_….JPEG), as
    torchvision.datasets.ImageNet sorts them. A breed without a folder there is an InputError."""
    if split in ("train", "test"):
        return DOGS.read(config, root, split)
    if split != IMAGENET_VAL:
        raise unknown("data split of dogs120", split, ("train", "test", IMAGENET_VAL))
    if not config.imagenet_val:
        raise InputError(
            f"data split {IMAGENET_VAL} needs data.imagenet_val=DIR: ImageNet's validation images "
            "in one folder a class (DIR/n02085620/…)"
        )
    where = folder(Path(config.imagenet_val), "data.imagenet_val")
    classes = classes_in(DOGS.home(root) / "Images")
    synsets = [name.partition("-")[0] for name in classes]
    if missing := [s for s in synsets if not (where / s).is_dir()]:
        raise InputError(f"data.imagenet_val: no folder {listing(missing)} in {where}")
    return samples_below(where, classes, synsets=True)


DOGS120 = replace(DOGS, read=dogs120)


caltech_home = home_of(CALTECH_IMAGES, "caltech256")


def caltech256(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Splits are drawn, as 001 does it, since there are no lists. `trainN`: N images of each class;
    `test`: TESTED others; `all`: all, so that the same splits can be drawn of a shifted twin. The
    draw depends on the files' names and on data.parts_seed only, the test is the same for every N,
    and fewer training images are a part of more. Too few images of a class are an InputError."""
    where = caltech_home(root) / CALTECH_IMAGES
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
            text = f"{len(own)} images; {split} takes {count} beside {TESTED} for the test"
            raise InputError(f"{where / name}: {text}")
        order = np.random.default_rng([config.parts_seed, label]).permutation(len(own))
        drawn = order[TESTED : TESTED + count] if count else order[:TESTED]
        chosen.update(own[i] for i in drawn)
    return [s for s in samples if s.name in chosen]


CALTECH256 = Layout(
    (), (), "train60", caltech_home, lambda root: ["all"], caltech256,
    find=lambda config, root: classes_in(caltech_home(root) / CALTECH_IMAGES),
    val_split="test",
)  # fmt: skip


def folders(config: DataConfig, root: Path, split: str) -> list[Sample]:
    """Every image of <split>/<class>/; the classes are those of the training split's folders, and
    another one is an InputError."""
    if split not in classes_in(root):
        raise unknown(f"data split of {root}", split, classes_in(root))
    classes = classes_in(root / (config.train_split or "train"))
    if extra := set(classes_in(root / split)) - set(classes):
        text = f"no class of the training split: {listing(extra)}; it has {listing(classes)}"
        raise InputError(f"{root / split}: {text}")
    return samples_below(root / split, classes)


FOLDERS = Layout(
    (), (), "train", lambda root: folder(root, "data.root (folders)"),
    lambda root: list(classes_in(root)), folders,
    find=lambda config, root: classes_in(root / (config.train_split or "train")),
)  # fmt: skip
