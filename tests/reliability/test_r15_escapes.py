"""R15: neither lists nor links make anything outside of the data's folders be opened."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import image_trees
import numpy as np
import pytest
from scipy.io import savemat
from trees import LISTED, images
from warm import Warm

from adapt.data import load
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

Tree = Callable[..., Path]


OPENED: dict[str, list[Path]] = {}
"""Under "now", while a test looks, what this process opens or lists."""


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    looks = event in ("open", "os.listdir", "os.scandir")
    if "now" in OPENED and looks and isinstance(arguments[0], str | bytes):
        OPENED["now"].append(Path(os.fsdecode(arguments[0])))


sys.addaudithook(hook)  # which cannot be taken away again


def refused(config: DataConfig, outside: Path, words: str = ".") -> None:
    """With nothing opened in `outside`, nor in /etc."""
    seen = OPENED["now"] = []
    with pytest.raises(InputError, match=words):
        load(config, "train")
    del OPENED["now"]
    wrong = [p for p in seen if p.is_relative_to(outside) or p.resolve().is_relative_to(outside)]
    assert not wrong and not [p for p in seen if p.is_relative_to("/etc")]


SIZE = (56, 40)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the data, with what links and lists would like to read."""
    place = images(tmp_path / "outside", "secret.png", "secret.jpg", "kitchen/secret.jpg",
                   size=SIZE)  # fmt: skip
    (place / "secret.txt").write_text("secret secret\n")
    return place


ESCAPES = ["../outside/secret.png", "{out}/secret.png", "../../etc/passwd", "/etc/passwd",
           "old/../../outside/secret.png", "link.png", "linked/secret.png", "a\0b.png", "loop.png",
           "x" * 5000]  # fmt: skip


Table = Sets = Callable[..., DataConfig]


@pytest.fixture
def table(tmp_path: Path, outside: Path) -> Table:
    """Writes a CSV beside a few images, and links out of there."""
    root = images(tmp_path / "csv", "old/a.png", "old/b.png", "new/a.png", "y.png", "v.png")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "linked").symlink_to(outside)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "within.png").symlink_to(root / "old/a.png")

    def write(text: str, follow: bool = False) -> DataConfig:
        (root / "pairs.csv").write_text(text)
        return DataConfig(name="pairs", pairs=str(root / "pairs.csv"), follow_links=follow)

    return write


@pytest.mark.parametrize("escape", ESCAPES)
def test_r15_a_csv_cannot_name_files_outside(table: Table, outside: Path, escape: str) -> None:
    words = r"(leads out|must be a path relative|cannot be found|no such file)"
    row = {"x1": "old/a.png", "x2": "new/a.png", "y1": "y.png", "y2": "y.png", "valid": "v.png"}
    for column in row:
        changed = row | {column: escape.format(out=outside)}
        config = table(",".join(changed) + "\n" + ",".join(changed.values()) + "\n")
        refused(config, outside, rf"pairs\.csv(:2)?: .*{words}|loop\.png: cannot be found")


def test_r15_links_are_read_within_and_out_where_told(table: Table, outside: Path) -> None:
    """Folders of links to a common store are usual; `..` stays refused."""
    (sample,) = load(table("x1,x2\nold/../within.png,new/a.png\n"), "train").samples
    assert sample.x1.resolve().name == "a.png"
    (sample,) = load(table("x1,x2\nlink.png,linked/secret.png\n", True), "train").samples
    assert {p.resolve() for p in (sample.x1, sample.x2) if p} == {outside / "secret.png"}
    refused(table("x1,x2\nlink.png,../outside/secret.png\n", True), outside, "leads out of")


# ---- layouts


@pytest.fixture
def sets(tmp_path: Path, camvid_tree: Tree, voc_tree: Tree) -> Sets:
    """A tree of each layout, and the configuration that reads it."""

    def make(name: str) -> DataConfig:
        root = tmp_path / name
        if name in ("camvid", "voc"):
            {"camvid": camvid_tree, "voc": voc_tree}[name](root, train=3, val=1)
        elif name == "pairs":
            images(root, "a.png", "b.png")
        elif name in LISTED:
            LISTED[name](root)
        elif name == "cityscapes":
            for i in range(2):
                stem = f"ulm_{i:06d}_000019"
                images(root, f"leftImg8bit/train/ulm/{stem}_leftImg8bit.png",
                       f"gtFine/train/ulm/{stem}_gtFine_labelIds.png")  # fmt: skip
        else:
            image_trees.TREES[name](root)
        split = {"voc": "train", "caltech256": "all"}.get(name, "")
        return DataConfig(name=name, root=str(root), train_split=split)

    return make


ONE_FILE = {
    "camvid": "train/train_001.png", "voc": "JPEGImages/2007_000001.jpg", "pairs": "a.png",
    "context": "SegmentationClassContext/2008_2.png",
    "person_part": "ImageSets/Person/gt/2009_3.png", "lip": "Training/Images/0000007.jpg",
    "cityscapes": "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png",
    "caltech256": "256_ObjectCategories/001.ak47/001_0003.jpg",
    "indoor67": "Images/kitchen/kitchen_2_a.b.jpg",
    "dogs120": f"Images/{image_trees.BREEDS[0]}/{image_trees.BREEDS[0]}_1.jpg",
    "food101": "images/waffles/3001.jpg", "folders": "train/kind001/2.jpg",
}  # fmt: skip
"""A file of each layout's training split."""


@pytest.mark.parametrize("name", ONE_FILE)
def test_r15_links_out_are_refused_in_every_layout(sets: Sets, outside: Path, name: str) -> None:
    config = sets(name)
    path = Path(config.root) / ONE_FILE[name]
    whole, kept = load(config, "train"), path.with_name(f"kept{path.suffix}.bak")
    path.rename(kept)
    path.symlink_to(outside / f"secret{path.suffix}")
    refused(config, outside, rf"1 file lies outside: .*{path.name}: is a link to")
    config.follow_links = True
    assert len(load(config, "train").samples) == len(whole.samples)
    path.unlink()
    path.symlink_to(kept)
    assert load(replace(config, follow_links=False), "train") == whole
    if name == "pairs":  # it has no folder within
        return
    path.unlink()
    kept.rename(path)
    path.parent.rename(outside / "moved")
    path.parent.symlink_to(outside / "moved")
    with pytest.raises(InputError, match=r"lies? outside|leads out of"):
        load(replace(config, follow_links=False), "train")
    assert load(config, "train").samples


def test_r15_links_between_named_folders_are_fine(sets: Sets, tmp_path: Path) -> None:
    """A new domain mostly borrows the labels of the old one; the data set itself may be a link."""
    config, new = sets("camvid"), tmp_path / "new"
    shutil.copytree(config.root, new)
    for path in (new / "trainannot").iterdir():
        path.unlink()
        path.symlink_to(Path(config.root) / "trainannot" / path.name)
    (tmp_path / "shortcut").symlink_to(config.root)
    config.root, config.target = str(tmp_path / "shortcut"), str(new)
    data = load(config, "train")
    assert data.paired and [s.name for s in data.samples] == [f"train_{i:03d}" for i in range(3)]


LISTS = {
    "camvid": ("train.txt", "{0} {0}"), "voc": ("ImageSets/Segmentation/train.txt", "{0}"),
    "context": ("ImageSets/SegmentationContext/train.txt", "{0}"),
    "person_part": ("ImageSets/Person/train.txt", "{0}"), "lip": ("Training/train_id.txt", "{0}"),
    "indoor67": ("TrainImages.txt", "{0}"), "food101": ("meta/train.txt", "{0}"),
    "dogs120": ("lists/train_list.mat", "{0}"),
}  # fmt: skip


def write(path: Path, text: str) -> None:
    if path.suffix == ".mat":
        savemat(path, {"file_list": np.array([text], dtype=object)[:, None]})
    else:
        path.write_text(text)


@pytest.mark.parametrize("name", LISTS)
def test_r15_a_list_cannot_name_or_lie_outside(sets: Sets, outside: Path, name: str) -> None:
    """Of its paths only the last folder and the name count, and both are looked up."""
    config = sets(name)
    file, form = LISTS[name]
    path, moved = Path(config.root) / file, outside / Path(file).name
    path.rename(moved)
    for entry in (*ESCAPES, "..", ".", "kitchen/../../outside/kitchen/secret.jpg"):
        write(path, form.format(entry.format(out=outside)))
        refused(config, outside, str(Path(config.root)))
    path.unlink()
    path.symlink_to(moved)
    refused(config, outside, r"its list: .* leads out of")
    config.follow_links = True
    assert load(config, "train").samples


# ---- the commands


@pytest.mark.system
def test_r15_the_commands_name_what_leads_out(
    warm: Warm, world: Path, camvid_tree: Tree, outside: Path
) -> None:
    """A label that is a link to something else would be copied as it is into a twin."""
    labels = camvid_tree(world / "r15", train=3, val=1) / "trainannot"
    for name in ("train_000.png", "train_002.png"):
        (labels / name).unlink()
        (labels / name).symlink_to(outside / "secret.txt")
    data = ("data=camvid", "data.root=r15")
    found = warm.run("scan.py", *data, "out=r15.json", status=1)
    assert found.stderr.startswith("r15.json: ")
    for name in ("train_000.png", "train_002.png"):
        assert f"error: outside: r15/trainannot/{name}: is a link to {outside}" in found.stdout
    done = warm.run("make_distorted_voc.py", *data, "shift=photocopy", "out=r15_twin", status=2)
    assert done.stderr.startswith("error: 2 files lie outside: ")
    assert not (world / "r15_twin").exists()
