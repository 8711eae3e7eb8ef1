"""Small data sets in the layouts of the real ones. Each call of a fixture makes its own tree."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import camvid, scene

Tree = Callable[..., Path]
"""(root=None, train=6, val=3) -> root of the tree that was made; None = a fresh temporary one."""


def pytest_collection_finish() -> None:
    """The garbage collector leaves alone what all the imports made, which stays to the end."""
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else libraries report as leaks what an interpreter's end does not find


@pytest.fixture(scope="session")
def camvid_tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """CamVid as SegNet's authors publish it: PNG, classes 0..10, void 11, lists with the absolute
    paths of their machine."""

    def make(root: Path | None = None, train: int = 6, val: int = 3) -> Path:
        return camvid(root or tmp_path_factory.mktemp("camvid"), train, val)

    return make


@pytest.fixture(scope="session")
def voc_tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """VOC 2012 as its archive unpacks: JPEG, palette masks of 21 classes with void 255, lists of
    bare names. The root is the folder with JPEGImages."""

    def make(root: Path | None = None, train: int = 6, val: int = 3) -> Path:
        root = root or tmp_path_factory.mktemp("voc")
        rng = np.random.default_rng(2)
        lists = root / "ImageSets" / "Segmentation"
        for folder in (lists, root / "JPEGImages", root / "SegmentationClass"):
            folder.mkdir(parents=True)
        names = [f"2007_{i:06d}" for i in range(train + val)]
        for name in names:
            image, mask = scene(rng, labels=21, void=255)
            Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg")
            palette = Image.fromarray(mask)
            palette.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
            palette.save(root / "SegmentationClass" / f"{name}.png")
        for split, chosen in (("train", names[:train]), ("val", names[train:])):
            (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen))
        return root

    return make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, camvid_tree: Tree) -> Path:
    """A folder with a data set `d1`, its photocopied twin `d2` and a finished run `teacher`."""
    from tiny import shifted_and_taught  # xdist's main process, too, reads this file: torch is late

    root = tmp_path_factory.mktemp("world")
    camvid_tree(root / "d1")
    shifted_and_taught(root)
    return root


@pytest.fixture(scope="session")
def shifted(world: Path) -> str:
    """A table for data.transforms that has each x2 of `world` (9, 5) px off its x1."""
    from adapt.data.warp import COLUMNS
    from adapt.disk.tables import csv_of

    names = [f"{split}/{path.name}" for split in ("train", "val")
             for path in sorted((world / "d1" / split).iterdir())]  # fmt: skip
    rows = [[name, name, 1, 1, 0, 9, 0, 1, 5, 0, 0, 1, 1] for name in names]
    (file := world / "shifted.csv").write_text(csv_of([COLUMNS, *rows]))
    return str(file)
