"""Small trees with the layouts of the data sets that have one label an image."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIDES = ((40, 56), (48, 36), (36, 36))
"""(H, W) of the images, in turn: upright, lying and square."""


def picture(label: int, number: int) -> Image.Image:
    """A noisy image (JPEG-safe) whose colour tells the class."""
    rng = np.random.default_rng([label, number])
    colour = np.random.default_rng([7, label]).integers(40, 216, 3)
    height, width = SIDES[number % len(SIDES)]
    return Image.fromarray((colour + rng.integers(-20, 20, (height, width, 3))).astype(np.uint8))


def fill(where: Path, classes: Iterable[str], count: int, name: str, suffix: str = ".jpg") -> None:
    """`count` images for each class; `name` is formatted with the class's number from 1 (c), its
    name (k) and the image's number from 1 (i)."""
    for label, key in enumerate(classes):
        folder = where / key
        folder.mkdir(parents=True)
        for i in range(1, count + 1):
            file = folder / (name.format(c=label + 1, k=key, i=i) + suffix)
            picture(label, i).save(file, format="JPEG", quality=95)


def caltech256(root: Path, count: int = 26) -> Path:
    """Three of the 257 categories, with the file that is no image and the folder that is no class
    in the published archive."""
    images = root / "256_ObjectCategories"
    names = ("001.ak47", "002.american-flag", "257.clutter")
    fill(images, names, count, "{c:03d}_{i:04d}")
    (images / "257.clutter" / "RENAME2").write_text("mv a b\n")
    (images / "001.ak47" / "greg").mkdir()
    return root


def indoor67(root: Path) -> Path:
    names = ("airport_inside", "bakery", "kitchen")
    fill(root / "Images", names, 6, "{k}_{i}_a.b")
    for file, numbers in (("TrainImages.txt", (1, 2, 4, 6)), ("TestImages.txt", (3, 5))):
        lines = [f"{k}/{k}_{i}_a.b.jpg" for k in names for i in numbers]
        (root / file).write_text("\n".join(lines))  # published without a last newline
    return root


BREEDS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02116738-African_hunting_dog")


def dogs120(root: Path) -> Path:
    fill(root / "Images", BREEDS, 5, "{k}_{i}")
    (root / "lists").mkdir()
    for split, numbers in (("train", (1, 2, 3)), ("test", (4, 5))):
        files = [f"{k}/{k}_{i}.jpg" for k in BREEDS for i in numbers]
        labels = [[b + 1] for b in range(len(BREEDS)) for _ in numbers]
        cells = np.array(files, dtype=object)[:, None]
        savemat(root / "lists" / f"{split}_list.mat", {"file_list": cells, "labels": labels})
    return root


def imagenet_val(root: Path) -> Path:
    """Some of its thousand folders, among them those of the breeds."""
    synsets = ["n01440764", *(breed.partition("-")[0] for breed in BREEDS)]
    fill(root, synsets, 2, "ILSVRC2012_val_{c:04d}{i:04d}", ".JPEG")
    return root


def food101(root: Path) -> Path:
    names = ("apple_pie", "beet_salad", "waffles")
    fill(root / "images", names, 6, "{c}00{i}")
    (root / "meta").mkdir()
    for split, numbers in (("train", (1, 2, 3, 4)), ("test", (5, 6))):
        lines = [f"{k}/{c}00{i}" for c, k in enumerate(names, 1) for i in numbers]
        (root / "meta" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def folders(root: Path, classes: int = 3, train: int = 6, val: int = 3) -> Path:
    names = [f"kind{n:03d}" for n in range(classes)]
    fill(root / "train", names, train, "{i}")
    fill(root / "val", names, val, "v{i}")
    return root


TREES = {
    "caltech256": caltech256, "indoor67": indoor67, "dogs120": dogs120, "food101": food101,
    "folders": folders,
}  # fmt: skip
