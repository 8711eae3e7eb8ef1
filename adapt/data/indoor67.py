"""MIT Indoor 67 (Quattoni, Torralba 2009): 67 kinds of rooms, 80 + 20 images of each in the lists.

Images/<class>/*.jpg, TrainImages.txt and TestImages.txt with lines such as kitchen/int474.jpg
"""

from pathlib import Path

from adapt.data.by_class import classes_in, home_of, samples_listed
from adapt.data.files import lines, list_file
from adapt.data.sample import Layout, Sample
from adapt.disk.files import write_whole
from adapt.errors import unknown
from adapt.settings.groups import DataConfig

IMAGES = "Images"
LISTS = {"train": "TrainImages.txt", "test": "TestImages.txt"}

home = home_of(IMAGES)


def find(config: DataConfig, root: Path) -> tuple[str, ...]:
    return classes_in(home(root) / IMAGES)


def splits(root: Path) -> list[str]:
    return [split for split, file in LISTS.items() if (home(root) / file).is_file()]


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    if split not in LISTS:
        raise unknown("data split of indoor67", split, LISTS)
    root = home(root)
    source = list_file(root, LISTS[split], config.follow_links)
    return samples_listed(source, lines(source), root / IMAGES)


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    text = "".join(f"{s.x1.relative_to(root / IMAGES).as_posix()}\n" for s in samples)
    write_whole(root / LISTS[split], text.encode())


INDOOR67 = Layout(
    (), (), "train", home, splits, read, write_list, find=find, val_split="test"
)  # fmt: skip
