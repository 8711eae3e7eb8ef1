"""R15: neither lists nor links make anything outside of the data's folders be opened."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import image_trees
import numpy as np
import pytest
from PIL import Image
from scans import command
from scipy.io import savemat
from test_scripts import run as script

from adapt.data import load
from adapt.data.files import inside
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

Tree = Callable[..., Path]


class Opened:
    """Files that this process opens or lists, while it looks."""

    def __init__(self) -> None:
        self.paths: list[Path] | None = None
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        looks = event in ("open", "os.listdir", "os.scandir")
        if self.paths is not None and looks and isinstance(arguments[0], str | bytes):
            self.paths.append(Path(os.fsdecode(arguments[0])))

    @contextmanager
    def watched(self) -> Iterator[list[Path]]:
        self.paths = seen = []
        try:
            yield seen
        finally:
            self.paths = None


OPENED = Opened()
"""One, because a hook cannot be taken away again."""


def refused(config: DataConfig, outside: Path, words: str = ".", split: str = "train") -> None:
    """With nothing opened in `outside`, nor in /etc."""
    with OPENED.watched() as seen, pytest.raises(InputError, match=words):
        load(config, split)
    wrong = [p for p in seen if p.is_relative_to(outside) or p.resolve().is_relative_to(outside)]
    assert not wrong and not [p for p in seen if p.is_relative_to("/etc")]


def images(folder: Path, *files: str) -> Path:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (56, 40)).save(path)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the data, with what links and lists would like to read."""
    place = images(tmp_path / "outside", "secret.png", "secret.jpg", "kitchen/secret.jpg")
    (place / "secret.txt").write_text("secret secret\n")
    return place


ESCAPES = ["../outside/secret.png", "{out}/secret.png", "../../etc/passwd", "/etc/passwd",
           "old/../../outside/secret.png", "link.png", "linked/secret.png", "a\0b.png", "loop.png",
           "x" * 5000]  # fmt: skip


@pytest.fixture
def table(tmp_path: Path, outside: Path) -> Callable[[str], DataConfig]:
    """Writes a CSV beside a few images, and links out of there."""
    root = images(tmp_path / "csv", "old/a.png", "old/b.png", "new/a.png", "y.png", "v.png")
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "linked").symlink_to(outside)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "within.png").symlink_to(root / "old/a.png")

    def write(text: str) -> DataConfig:
        (root / "pairs.csv").write_text(text)
        return DataConfig(name="pairs", pairs=str(root / "pairs.csv"))

    return write


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("column", ["x1", "x2", "y1", "y2", "valid"])
def test_r15_a_csv_cannot_name_files_outside(
    table: Callable[[str], DataConfig], outside: Path, escape: str, column: str
) -> None:
    row = {"x1": "old/a.png", "x2": "new/a.png", "y1": "y.png", "y2": "y.png", "valid": "v.png"}
    row[column] = escape.format(out=outside)
    config = table(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    words = r"(leads out|must be a path relative|cannot be found|no such file)"
    refused(config, outside, rf"pairs\.csv(:2)?: .*{words}|loop\.png: cannot be found")


def test_r15_a_link_within_the_folder_is_followed(table: Callable[[str], DataConfig]) -> None:
    (sample,) = load(table("x1,x2\nold/../within.png,new/a.png\n"), "train").samples
    assert sample.x1.resolve().name == "a.png"


def test_r15_links_out_are_read_where_the_user_says_so(
    table: Callable[[str], DataConfig], outside: Path
) -> None:
    """Folders of links to a common store are usual; `..` stays refused."""
    config = table("x1,x2\nlink.png,linked/secret.png\n")
    config.follow_links = True
    (sample,) = load(config, "train").samples
    assert {p.resolve() for p in (sample.x1, sample.x2) if p} == {outside / "secret.png"}
    config = table("x1,x2\nlink.png,../outside/secret.png\n")
    config.follow_links = True
    refused(config, outside, "leads out of")


@pytest.mark.parametrize("follow", [False, True])
def test_r15_paths_are_judged_before_the_file_system_is_asked(tmp_path: Path, follow: bool) -> None:
    root = images(tmp_path / "root", "a/b.png")
    for escape in ("..", "a/../..", "../root/a/b.png", "/root/a/b.png", "a\0b", "a/../../root/x"):
        with pytest.raises(InputError, match=r"list:7: .*(leads out of|must be a path relative)"):
            inside(root, escape, "list:7", follow)
    assert inside(root, "a/../a/b.png", "list:7", follow).is_file()


# ---- layouts


def camvid(root: Path, make: Tree) -> DataConfig:
    make(root, train=3, val=1)
    return DataConfig(name="camvid", root=str(root))


def voc(root: Path, make: Tree) -> DataConfig:
    make(root, train=3, val=1)
    return DataConfig(name="voc", root=str(root), train_split="train")


@pytest.fixture
def sets(tmp_path: Path, camvid_tree: Tree, voc_tree: Tree) -> Callable[[str], DataConfig]:
    """A tree of each layout, and the configuration that reads it."""

    def make(name: str) -> DataConfig:
        root = tmp_path / name
        if name == "camvid":
            return camvid(root, camvid_tree)
        if name == "voc":
            return voc(root, voc_tree)
        if name == "pairs":
            images(root, "a.png", "b.png")
        elif name == "cityscapes":
            for i in range(2):
                stem = f"ulm_{i:06d}_000019"
                images(root, f"leftImg8bit/train/ulm/{stem}_leftImg8bit.png",
                       f"gtFine/train/ulm/{stem}_gtFine_labelIds.png")  # fmt: skip
        else:
            image_trees.TREES[name](root)
        return DataConfig(name=name, root=str(root))

    return make


ONE_FILE = {
    "camvid": "train/train_001.png", "voc": "JPEGImages/2007_000001.jpg", "pairs": "a.png",
    "cityscapes": "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png",
    "caltech256": "256_ObjectCategories/001.ak47/001_0003.jpg",
    "indoor67": "Images/kitchen/kitchen_2_a.b.jpg",
    "dogs120": f"Images/{image_trees.BREEDS[0]}/{image_trees.BREEDS[0]}_1.jpg",
    "food101": "images/waffles/3001.jpg", "folders": "train/kind001/2.jpg",
}  # fmt: skip
"""A file of each layout's training split."""

WHERE = {"caltech256": "all"}


@pytest.mark.parametrize("name", ONE_FILE)
def test_r15_a_file_that_is_a_link_out_is_refused_in_every_layout(
    sets: Callable[[str], DataConfig], outside: Path, name: str
) -> None:
    config = sets(name)
    path = Path(config.root) / ONE_FILE[name]
    split = WHERE.get(name, "train")
    whole = load(config, split)
    path.rename(path.with_name(f"kept{path.suffix}.bak"))
    path.symlink_to(outside / f"secret{path.suffix}")
    refused(config, outside, rf"1 file lies outside: .*{path.name}: is a link to", split)
    config.follow_links = True
    assert len(load(config, split).samples) == len(whole.samples)
    config.follow_links = False
    path.unlink()
    path.symlink_to(path.with_name(f"kept{path.suffix}.bak"))
    assert load(config, split) == whole


@pytest.mark.parametrize("name", sorted(ONE_FILE.keys() - {"pairs"}))  # it has no folder within
def test_r15_a_folder_that_is_a_link_out_is_refused_in_every_layout(
    sets: Callable[[str], DataConfig], outside: Path, name: str
) -> None:
    config = sets(name)
    place = (Path(config.root) / ONE_FILE[name]).parent
    split = WHERE.get(name, "train")
    place.rename(outside / "moved")
    place.symlink_to(outside / "moved")
    with pytest.raises(InputError, match=r"lies? outside|leads out of"):
        load(config, split)
    config.follow_links = True
    assert load(config, split).samples


def test_r15_the_data_set_itself_may_be_a_link(
    sets: Callable[[str], DataConfig], tmp_path: Path
) -> None:
    config = sets("camvid")
    (tmp_path / "shortcut").symlink_to(config.root)
    whole = load(config, "train")
    config.root = str(tmp_path / "shortcut")
    assert [s.name for s in load(config, "train").samples] == [s.name for s in whole.samples]


def test_r15_links_between_the_folders_that_the_user_names_are_fine(
    sets: Callable[[str], DataConfig], tmp_path: Path
) -> None:
    """A new domain mostly borrows the labels of the old one."""
    config = sets("camvid")
    new = tmp_path / "new"
    (new / "train").mkdir(parents=True)
    for path in (Path(config.root) / "train").iterdir():
        (new / "train" / path.name).write_bytes(path.read_bytes())
    (new / "train.txt").write_text((Path(config.root) / "train.txt").read_text())
    for path in (Path(config.root) / "trainannot").iterdir():
        (new / "trainannot").mkdir(exist_ok=True)
        (new / "trainannot" / path.name).symlink_to(path)
    config.target = str(new)
    assert load(config, "train").paired


LISTS = {
    "camvid": ("train.txt", "{0} {0}"), "voc": ("ImageSets/Segmentation/train.txt", "{0}"),
    "indoor67": ("TrainImages.txt", "{0}"), "food101": ("meta/train.txt", "{0}"),
    "dogs120": ("lists/train_list.mat", "{0}"),
}  # fmt: skip


def write(path: Path, text: str) -> None:
    if path.suffix == ".mat":
        savemat(path, {"file_list": np.array([text], dtype=object)[:, None]})
    else:
        path.write_text(text)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("entry", [*ESCAPES, "..", ".", "kitchen/../../outside/kitchen/secret.jpg"])
def test_r15_a_list_cannot_name_files_outside(
    sets: Callable[[str], DataConfig], outside: Path, name: str, entry: str
) -> None:
    """Whatever a list says: of its paths only the last folder and the name count, as public lists
    have the paths of other machines, and both are looked up among what is in the data set."""
    config = sets(name)
    file, form = LISTS[name]
    write(Path(config.root) / file, form.format(entry.format(out=outside)))
    refused(config, outside, str(Path(config.root)))


@pytest.mark.parametrize("name", LISTS)
def test_r15_a_list_that_is_a_link_out_is_not_read(
    sets: Callable[[str], DataConfig], outside: Path, name: str
) -> None:
    config = sets(name)
    path = Path(config.root) / LISTS[name][0]
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)
    refused(config, outside, r"its list: .* leads out of")
    config.follow_links = True
    assert load(config, "train").samples


def test_r15_public_lists_with_paths_of_another_machine_are_read(
    sets: Callable[[str], DataConfig],
) -> None:
    config = sets("camvid")
    assert "/SegNet/CamVid/" in (Path(config.root) / "train.txt").read_text()
    assert len(load(config, "train").samples) == 3


# ---- the commands


@pytest.mark.system
def test_r15_the_commands_name_what_leads_out(
    sets: Callable[[str], DataConfig], outside: Path, tmp_path: Path
) -> None:
    """A label that is a link to something else would be copied as it is into a twin."""
    config = sets("camvid")
    for name in ("train_000.png", "train_002.png"):
        path = Path(config.root) / "trainannot" / name
        path.unlink()
        path.symlink_to(outside / "secret.txt")
    found = command("data=camvid", "data.root=camvid", cwd=tmp_path)
    assert found.returncode == 1 and found.stderr.startswith("scan.json: ")
    for name in ("train_000.png", "train_002.png"):
        assert f"error: outside: camvid/trainannot/{name}: is a link to {outside}" in found.stdout
    done = script("make_distorted_voc.py", "data=camvid", "data.root=camvid", "shift=photocopy",
                  "out=twin", cwd=tmp_path, ok=False)  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: 2 files lie outside: ")
    assert not (tmp_path / "twin").exists()
