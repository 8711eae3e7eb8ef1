"""PASCAL VOC 2012's layout, with SBD's extra annotations as `trainaug` (Hariharan et al. 2011).

The embedded scenes lie on disk in the same way.
"""

from pathlib import Path

from adapt.data.files import Lookup, folder, lines, list_file, unique
from adapt.data.sample import Layout, Sample
from adapt.data.scenes import CLASSES as SCENE_CLASSES
from adapt.disk.files import write_whole
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip

LISTS = Path("ImageSets/Segmentation")
TRAIN, VAL, TRAINAUG = 1464, 1449, 10582
"""Sizes of VOC 2012's lists and of the union with SBD."""


def home(root: Path) -> Path:
    """The folder with JPEGImages: root itself, or below it as the archive unpacks."""
    for candidate in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (candidate / "JPEGImages").is_dir():
            return candidate
    raise InputError(
        f"data.root: no JPEGImages folder in {root} (nor in VOCdevkit/VOC2012 below it)"
    )


def splits(root: Path) -> list[str]:
    names = ("train", "val", "trainval")
    return [name for name in names if (home(root) / LISTS / f"{name}.txt").is_file()]


def stem(line: str) -> str:
    """`2007_000032` also from public lists' `/JPEGImages/2007_000032.jpg /Segmentation…`."""
    return Path(line.split()[0]).stem


def trainaug(config: DataConfig, root: Path) -> list[str]:
    """VOC train united with SBD's train and val, without VOC val: 10,582 names."""
    listed = list_file(root, LISTS / "trainaug.txt", config.follow_links)
    if listed.is_file():
        return [stem(line) for line in lines(listed)]
    if not config.sbd:
        raise InputError(
            f"{listed}: no such list; give it, or data.sbd=DIR (SBD's benchmark_RELEASE/dataset), "
            "or data.train_split=train"
        )

    def names_in(place: Path, split: str) -> list[str]:
        return [stem(x) for x in lines(list_file(place, f"{split}.txt", config.follow_links))]

    sbd = folder(Path(config.sbd), "data.sbd")
    train, val = (names_in(root / LISTS, s) for s in ("train", "val"))
    union = set(train).union(*(names_in(sbd, s) for s in ("train", "val")))
    names = sorted(union - set(val))
    if (len(train), len(val)) == (TRAIN, VAL) and len(names) != TRAINAUG:
        raise InputError(f"data.sbd: the union without val has {len(names)} names, not {TRAINAUG}")
    return names


def label_tables(config: DataConfig, root: Path, lookup: Lookup) -> list[dict[str, Path]]:
    """Where a label is looked for, first hit wins."""
    suffixes = (".png", ".mat")
    places = [root / "SegmentationClassAug", root / "SegmentationClass"]
    if config.sbd:
        places.append(Path(config.sbd) / "cls")
    found = [lookup.table(place, suffixes) for place in places if place.is_dir()]
    if not found:
        raise InputError(f"data.root: no SegmentationClass folder in {root}")
    return found


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    root = home(root)
    source = list_file(root, LISTS / f"{split}.txt", config.follow_links)
    names = trainaug(config, root) if split == "trainaug" else [stem(x) for x in lines(source)]
    unique(names, source)
    samples, lookup = [], Lookup()
    images = lookup.table(root / "JPEGImages")
    labels = label_tables(config, root, lookup)
    for name in names:
        image = lookup.pick(images, name, str(source))
        table = next((t for t in labels if name in t), labels[0])
        label = lookup.pick(table, name, str(source))
        if image and label:
            samples.append(Sample(name, image, label))
    return lookup.complete(samples)


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    text = "".join(f"{s.name}\n" for s in samples)
    write_whole(root / LISTS / f"{split}.txt", text.encode())


VOC = Layout(CLASSES, (), "trainaug", home, splits, read, write_list)
SCENES = Layout(SCENE_CLASSES, (), "train", home, splits, read, write_list)
