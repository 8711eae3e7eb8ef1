"""Data sets with one label an image: their published layouts, splits and labels."""

import json
from pathlib import Path

import image_trees
import numpy as np
import pytest
import torch
from archives import packed, serving
from torchvision.datasets import Food101, ImageFolder

from adapt.data import DATASETS, load
from adapt.data.images import read_image
from adapt.data.sampling import Stream, batches
from adapt.errors import InputError
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted

SPLITS = {
    "caltech256": ("train3", 9, "test", 60),
    "indoor67": ("train", 12, "test", 6),
    "dogs120": ("train", 9, "test", 6),
    "food101": ("train", 12, "test", 6),
    "folders": ("train", 18, "val", 9),
}
"""Training split, its images, evaluation split, its images: of image_trees."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trees")
    for name, make in image_trees.TREES.items():
        make(root / name)
    image_trees.imagenet_val(root / "imagenet_val")
    return root


def config(trees: Path, name: str, **changes: object) -> DataConfig:
    split = "train3" if name == "caltech256" else ""
    return DataConfig(name=name, root=str(trees / name), train_split=split, **changes)  # type: ignore[arg-type]


def colour_label(path: Path) -> int:
    """The class that a picture of image_trees shows, by its mean colour."""
    mean = read_image(path).mean(axis=(0, 1))
    colours = [np.random.default_rng([7, n]).integers(40, 216, 3) for n in range(3)]
    return int(np.argmin([np.abs(mean - c).sum() for c in colours]))


@pytest.mark.parametrize("name", SPLITS)
def test_splits_have_their_images_with_the_labels_that_these_show(name: str, trees: Path) -> None:
    _, trained, test_split, tested = SPLITS[name]
    given = config(trees, name)
    train, test = load(given, "train"), load(given, test_split)
    assert (len(train.samples), len(test.samples)) == (trained, tested)
    assert train.classification and train.labelled and len(train.classes) == 3
    names = [{s.name for s in data.samples} for data in (train, test)]
    assert len(names[0]) == trained and not names[0] & names[1]
    for sample in (*train.samples, *test.samples):
        assert sample.label == colour_label(sample.x1)
        assert train.classes[sample.label] == sample.name.split("/")[0]
    assert [s.label for s in load(given, DATASETS[name].val_split).samples] == [
        s.label for s in test.samples
    ]


def test_labels_of_folders_are_torchvisions(trees: Path) -> None:
    ours = load(config(trees, "folders"), "train")
    theirs = dict(ImageFolder(trees / "folders" / "train").samples)
    assert theirs == {str(s.x1): s.label for s in ours.samples}


def test_caltechs_draw_is_one_test_for_all_and_fewer_of_the_same(trees: Path) -> None:
    given = config(trees, "caltech256")

    def names(split: str, seed: int = 0) -> set[str]:
        drawn = DataConfig(name="caltech256", root=given.root, parts_seed=seed)
        return {s.name for s in load(drawn, split).samples}

    assert names("train2") < names("train5")
    assert not names("train5") & names("test")
    assert names("test") == names("test") != names("test", seed=1)
    counted = [n.split("/")[0] for n in names("test")]
    assert sorted(counted.count(c) for c in set(counted)) == [20, 20, 20]
    with pytest.raises(InputError, match=r"001\.ak47: 26 images; train7 takes 7 beside 20"):
        names("train7")


def test_dogs_can_be_tested_on_imagenets_validation_images(trees: Path) -> None:
    given = config(trees, "dogs120", imagenet_val=str(trees / "imagenet_val"))
    data = load(given, "imagenet_val")
    assert len(data.samples) == 6 and data.classes == image_trees.BREEDS
    for sample in data.samples:
        assert sample.x1.parent.name == data.classes[sample.label or 0].split("-")[0]
    with pytest.raises(InputError, match=r"needs data\.imagenet_val=DIR"):
        load(config(trees, "dogs120"), "imagenet_val")
    lacking = config(trees, "dogs120", imagenet_val=str(trees / "dogs120"))
    with pytest.raises(InputError, match="no folder n02085620, n02085782, n02116738"):
        load(lacking, "imagenet_val")


def test_a_batch_has_an_integer_label_for_each_image(trees: Path) -> None:
    given = config(trees, "folders", resize=[40], crop=[32, 24])
    data = load(given, "train")
    batch = next(batches(Stream(data, given, ["x1", "y1"], seed=3), 5, 0, 1))
    assert batch["x1"].shape == (5, 3, 32, 24) and batch["x1"].dtype == torch.uint8
    assert batch["y"].shape == (5,) and batch["y"].dtype == torch.int64
    labels = {s.name: s.label for s in data.samples}
    assert batch["y"].tolist() == [labels[n] for n in batch["name"]]
    assert "y" not in next(batches(Stream(data, given, ["x1"], seed=3), 5, 0, 1))


@pytest.mark.parametrize("name", SPLITS)
def test_a_shifted_twin_is_the_new_domain_of_the_same_images(
    name: str, trees: Path, tmp_path: Path
) -> None:
    given = config(trees, name)
    shift = ShiftConfig("ripple", {"amplitude": 2.0, "period": 8.0})
    make_distorted(DistortConfig(data=given, shift=shift, out=str(tmp_path / "d2"), workers=1))
    paired = config(trees, name, target=str(tmp_path / "d2"))
    for split in ("train", SPLITS[name][2]):
        data = load(paired, split)
        assert data.paired
        assert [s.name for s in data.samples] == [s.name for s in load(given, split).samples]
        assert all(s.x2 and s.x2.is_relative_to(tmp_path) for s in data.samples)
        old, new = read_image(data.samples[0].x1), read_image(data.samples[0].x2 or Path())
        assert old.shape == new.shape and (old != new).any()


UNKNOWN = {
    "indoor67": r"OtherImages\.txt: no such list .*TestImages\.txt, TrainImages\.txt",
    "dogs120": "Choices: train, test, imagenet_val", "folders": "Choices: train, val",
    "caltech256": "Choices: train30, train60, test, all",
    "food101": r"other\.txt: no such list .beside it: test\.txt, train\.txt",
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_splits_that_are_not_there_are_named(name: str, trees: Path) -> None:
    with pytest.raises(InputError, match=UNKNOWN[name]):
        load(config(trees, name), "other")


LACKING = {
    "kitchen/kitchen_3_a.b.jpg\nkitchn/x.jpg\n": r"TestImages\.txt:2: class: 'kitchn'.*'kitchen'",
    "kitchen/kitchen_9_a.b.jpg\n": r"TestImages\.txt:1: no image 'kitchen_9_a\.b' in",
    "../../etc/x.jpg\n": r"class: 'etc' is not known",
}


def test_what_a_list_or_folder_lacks_is_named(trees: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder Images in .*trees"):
        load(DataConfig(name="indoor67", root=str(trees)), "train")
    root = image_trees.indoor67(tmp_path / "a")
    for text, message in LACKING.items():
        (root / "TestImages.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            load(DataConfig(name="indoor67", root=str(root)), "test")
    own = image_trees.folders(tmp_path / "b")
    (own / "val" / "other").mkdir()
    with pytest.raises(InputError, match="no class of the training split: other"):
        load(DataConfig(name="folders", root=str(own)), "val")
    dogs = image_trees.dogs120(tmp_path / "c")
    (dogs / "lists" / "train_list.mat").write_bytes(b"no list")
    with pytest.raises(InputError, match=r"train_list\.mat: not a list of Stanford Dogs"):
        load(DataConfig(name="dogs120", root=str(dogs)), "train")


def test_food101_is_fetched_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = image_trees.food101(tmp_path / "food-101")
    for split in ("train", "test"):  # torchvision reads the archive's lists in JSON
        listed = (tree / f"meta/{split}.txt").read_text().split()
        classes = {n.split("/")[0]: [m for m in listed if m.startswith(n[:-4])] for n in listed}
        (tree / f"meta/{split}.json").write_text(json.dumps(classes))
    archive = packed(tree, tmp_path / "food-101.tar.gz", "w:gz")
    monkeypatch.setattr(Food101, "_MD5", archive.md5)
    with serving(tmp_path) as address:
        monkeypatch.setattr(Food101, "_URL", f"{address}/{archive.path.name}")
        given = DataConfig(name="food101", root=str(tmp_path / "data"), download=True)
        assert len(load(given, "train").samples) == 12
    assert len(load(given, "test").samples) == 6, "not fetched again"
