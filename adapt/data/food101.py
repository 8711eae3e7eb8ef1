"""Food-101 (Bossard, Guillaumin, Van Gool 2014): 101 dishes, 750 + 250 images of each.

images/<class>/<number>.jpg, meta/train.txt and meta/test.txt with lines such as
apple_pie/1005649
"""

from pathlib import Path

from adapt.data.by_class import classes_in, home_of, samples_listed
from adapt.data.files import lines, list_file
from adapt.data.sample import Layout, Sample
from adapt.disk.files import write_whole
from adapt.settings.groups import DataConfig

IMAGES, LISTS = "images", "meta"

home = home_of(IMAGES, "food-101")


def find(config: DataConfig, root: Path) -> tuple[str, ...]:
    return classes_in(home(root) / IMAGES)


def splits(root: Path) -> list[str]:
    return [s for s in ("train", "test") if (home(root) / LISTS / f"{s}.txt").is_file()]


def read(config: DataConfig, root: Path, split: str) -> list[Sample]:
    root = home(root)
    source = list_file(root, f"{LISTS}/{split}.txt", config.follow_links)
    return samples_listed(source, lines(source), root / IMAGES)


def write_list(root: Path, split: str, samples: list[Sample]) -> None:
    text = "".join(f"{s.name}\n" for s in samples)
    write_whole(root / LISTS / f"{split}.txt", text.encode())


FOOD101 = Layout(
    (), (), "train", home, splits, read, write_list, find=find, val_split="test"
)  # fmt: skip
