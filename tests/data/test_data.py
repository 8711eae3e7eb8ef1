"""Which files belong together: lists, names, parts, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from trees import images

from adapt.data import DATASETS, DataSet, Sample, load, segmentation
from adapt.data.images import read_mask
from adapt.data.parts import cut
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

Tree = Callable[..., Path]


def names(data: DataSet) -> list[str]:
    return [sample.name for sample in data.samples]


@pytest.fixture
def camvid(camvid_tree: Tree, tmp_path: Path) -> DataConfig:
    return DataConfig("camvid", str(camvid_tree(tmp_path / "camvid", train=4, val=2)))


@pytest.fixture
def voc(voc_tree: Tree, tmp_path: Path) -> DataConfig:
    root = voc_tree(tmp_path / "voc", train=4, val=2)
    return DataConfig("voc", str(root), train_split="train")


# CamVid


def test_camvid_pairs_each_listed_image_with_its_label(camvid: DataConfig) -> None:
    root = Path(camvid.root)
    data = load(camvid, "train")
    assert data.samples == tuple(
        Sample(name, root / f"train/{name}.png", root / f"trainannot/{name}.png")
        for name in (f"train_{i:03d}" for i in range(4))
    )
    assert (len(data.classes), data.classes[0], data.classes[10]) == (11, "sky", "bicyclist")
    assert data.labelled and not data.paired
    assert names(load(camvid, "val")) == ["val_000", "val_001"]


def test_camvid_files_match_by_stem_so_jpeg_serves_a_png_list(camvid: DataConfig) -> None:
    path = Path(camvid.root) / "train" / "train_001.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    assert load(camvid, "train").samples[1].x1 == path.with_suffix(".jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train/train_000.png", ":1: expected 'image label', got 'train/train_000.png'"),
        (2 * b"train/train_001.png trainannot/train_001.png\n", "listed twice: train_001"),
        (b"\n \n", "empty"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_an_unusable_list_is_refused(camvid: DataConfig, content: bytes, message: str) -> None:
    (Path(camvid.root) / "train.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"train\.txt.*{message}"):
        load(camvid, "train")


def test_what_is_unknown_is_named_with_the_choices(camvid: DataConfig) -> None:
    with pytest.raises(InputError, match=r"test\.txt: no such list .*train\.txt, val\.txt"):
        load(camvid, "test")
    with pytest.raises(InputError, match=r"'camvit' is not known\. Did you mean 'camvid'"):
        load(replace(camvid, name="camvit"), "train")
    with pytest.raises(InputError, match=r"data\.pairs is for data=pairs only"):
        load(replace(camvid, pairs="p.csv"), "train")


@pytest.mark.parametrize("name", sorted(DATASETS.keys() - {"scenes"}))
def test_a_missing_root_is_named(tmp_path: Path, name: str) -> None:
    sbd = str(tmp_path / "nowhere") if name == "d3" else ""
    config = DataConfig(name=name, root=str(tmp_path / "nowhere"), sbd=sbd, train_split="")
    with pytest.raises(InputError, match="nowhere"):
        load(config, "train")


# VOC and SBD


def test_voc_pairs_images_with_masks(voc: DataConfig) -> None:
    root = Path(voc.root)
    data = load(voc, "train")
    assert names(data) == [f"2007_{i:06d}" for i in range(4)]
    for sample in data.samples:
        assert sample.x1 == root / "JPEGImages" / f"{sample.name}.jpg"
        assert sample.y1 == root / "SegmentationClass" / f"{sample.name}.png"
    assert len(data.classes) == 21 and data.void == ()
    assert names(load(voc, "val")) == ["2007_000004", "2007_000005"]


def test_voc_is_found_as_its_archive_unpacks_with_paths_in_lists(
    voc_tree: Tree, tmp_path: Path
) -> None:
    made = voc_tree(tmp_path / "VOCdevkit/VOC2012", train=2, val=1)
    config = DataConfig(name="voc", root=str(tmp_path), train_split="train")
    wanted, listed = load(config, "train"), made / "ImageSets/Segmentation/train.txt"
    assert wanted.samples[0].x1.parent == made / "JPEGImages"
    rows = [f"/JPEGImages/{n}.jpg /Segm/{n}.png" for n in listed.read_text().split()]
    listed.write_text("\n".join(rows))
    assert load(config, "train") == wanted


@pytest.fixture
def sbd(voc: DataConfig, tmp_path: Path) -> DataConfig:
    """VOC with an SBD that has one of VOC's training images, two of its val images, and two own,
    whose pictures lie in JPEGImages as they do in VOC 2012. SBD's labels are all 7."""
    root = tmp_path / "sbd"
    lists = {"train": ["2007_000001", "2007_000004", "2008_000001"],
             "val": ["2007_000005", "2008_000000"]}  # fmt: skip
    (root / "cls").mkdir(parents=True)
    for split, chosen in lists.items():
        (root / f"{split}.txt").write_text("".join(f"{n}\n" for n in chosen))
        for name in chosen:
            mask = np.full((40, 56), 7, np.uint8)
            savemat(root / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": mask}})
            if name.startswith("2008"):
                images(Path(voc.root) / "JPEGImages", f"{name}.jpg")
    return replace(voc, sbd=str(root), train_split="")


def test_trainaug_is_train_and_sbd_without_val(sbd: DataConfig) -> None:
    data = load(sbd, "train")
    own = [f"2007_{i:06d}" for i in range(4)]
    assert names(data) == [*own, "2008_000000", "2008_000001"]
    labels = [s.y1 for s in data.samples if s.y1 is not None]
    assert [y.suffix for y in labels] == [".png"] * 4 + [".mat"] * 2  # VOC's finer masks go first
    assert np.array_equal(read_mask(labels[-1], 21), np.full((40, 56), 7))


def test_a_given_list_and_converted_labels_go_before_the_union(sbd: DataConfig) -> None:
    folder = images(Path(sbd.root) / "SegmentationClassAug", "2007_000000.png", "2008_000000.png")
    found = {s.name: s.y1.parent for s in load(sbd, "train").samples if s.y1 is not None}
    assert found["2007_000000"] == found["2008_000000"] == folder
    assert found["2007_000001"] == Path(sbd.root) / "SegmentationClass"
    lists = Path(sbd.root) / "ImageSets" / "Segmentation"
    (lists / "trainaug.txt").write_text("2008_000001\n2007_000002\n")
    assert names(load(sbd, "train")) == ["2008_000001", "2007_000002"]


def test_names_in_lists_may_have_blanks_and_lines_a_second_path(tmp_path: Path) -> None:
    rows = ["a b", "2007_000032", "/JPEGImages/c.jpg /SegmentationClassAug/c.png"]
    (tmp_path / "list.txt").write_text("\n".join(rows))
    assert segmentation.voc_names(tmp_path / "list.txt") == ["a b", "2007_000032", "c"]


def test_the_real_lists_must_give_the_published_union(
    sbd: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With VOC's own lists the union has 10,582 names; here the sizes stand for those."""
    for name, size in (("TRAIN", 4), ("VAL", 2), ("TRAINAUG", 7)):
        monkeypatch.setattr(segmentation, name, size)
    with pytest.raises(InputError, match="has 6 names, not 7"):
        load(sbd, "train")
    with pytest.raises(InputError, match=r"trainaug\.txt.*data\.sbd=DIR.*data\.train_split=train"):
        load(replace(sbd, sbd=""), "train")


# Two domains


def test_the_target_keeps_its_own_labels(
    camvid: DataConfig, camvid_tree: Tree, tmp_path: Path
) -> None:
    twin = camvid_tree(tmp_path / "twin", train=4, val=2)
    data = load(replace(camvid, target=str(twin)), "train")
    assert data.paired and data.labelled
    assert all((s.x2, s.y2) == (twin / f"train/{s.name}.png", twin / f"trainannot/{s.name}.png")
               for s in data.samples)  # fmt: skip


# Any pairs


@pytest.fixture
def pairs(tmp_path: Path) -> DataConfig:
    old = images(tmp_path / "old", "b.png", "a.png", "c.png")
    new = images(tmp_path / "new", "c.jpg", "a.jpg", "b.JPG")
    return DataConfig(name="pairs", root=str(old), target=str(new))


def test_two_folders_may_have_labels(pairs: DataConfig, tmp_path: Path) -> None:
    labels = images(tmp_path / "labels", "a.png", "b.png", "c.png")
    data = load(replace(pairs, labels=str(labels), classes=["one", "two"]), "train")
    assert [(s.y1, s.y2) for s in data.samples] == [
        (labels / f"{n}.png", labels / f"{n}.png") for n in "abc"
    ]
    assert data.classes == ("one", "two") and not load(pairs, "train").labelled


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], DataConfig]:
    """Writes a CSV beside a few images and returns the configuration that names it."""
    images(tmp_path / "csv", "old/a.png", "old/b.png", "new/a.png", "new/b.png", "y.png", "v.png")

    def write(text: str) -> DataConfig:
        (tmp_path / "csv" / "pairs.csv").write_text(text)
        return DataConfig(name="pairs", pairs=str(tmp_path / "csv" / "pairs.csv"))

    return write


def test_csv_rows_become_samples(table: Callable[[str], DataConfig], tmp_path: Path) -> None:
    config = table(
        "x2,x1,valid,y1,y2\n"
        "new/b.png,old/b.png,,,\n"
        "new/a.png,old/a.png,v.png,y.png,\n"
    )  # fmt: skip
    root = tmp_path / "csv"
    y, valid = root / "y.png", root / "v.png"
    assert load(config, "train").samples == (
        Sample("old__b", root / "old/b.png", None, root / "new/b.png"),
        Sample("old__a", root / "old/a.png", y, root / "new/a.png", y, valid),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x1,x3\nold/a.png,new/a.png\n", "must have x1 and x2; it has x1, x3"),
        ("x1,x2,vaild\nold/a.png,new/a.png,v.png\n", "column: 'vaild' is not known. Did you mean"),
        ("x1,y1\nold/a.png,y.png\n", "must have x1 and x2"),
        ("x1,x2\n", "no rows"),
        ("", "must have x1 and x2"),
        ("x1,x2\nold/a.png,new/a.png\nold/b.png,\n", "pairs.csv:3: x1 and x2 must both"),
        ("x1,x2\nold/a.png,new/a.png\nold/b.png,new/z.png\n", "pairs.csv:3: x2: no such file"),
        (
            "x1,x2\n\nold/a.png,new/a.png\n, ,\nold/a.png,new/a.png\n",
            "csv:5: listed twice: .*csv:3",
        ),
        ("x1,x2\nold/a.png,new\n", "pairs.csv:2: x2: no such file"),
        ("x1,x2\nold\\a.png,new/a.png\n", r"x1: no such file: .*parted by \\, which must be /"),
        ("x1,x2\nold/a.png,new/a.png,y.png\n", "pairs.csv:2: more cells"),  # an unquoted comma
    ],
)
def test_csv_mistakes_are_named(
    table: Callable[[str], DataConfig], text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(table(text), "train")


def test_a_csv_that_is_missing_or_not_utf8_is_named(
    table: Callable[[str], DataConfig], tmp_path: Path
) -> None:
    config = table("")
    Path(config.pairs).write_bytes("x1,x2\nold/é.png,new/a.png\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"pairs\.csv: .*UTF-8"):
        load(config, "train")
    with pytest.raises(InputError, match=r"no such file: .*gone\.csv"):
        load(DataConfig(name="pairs", pairs=str(tmp_path / "gone.csv")), "train")


def test_what_would_not_be_read_beside_a_list_is_refused(
    table: Callable[[str], DataConfig],
) -> None:
    listed = table("x1,x2\nold/a.png,new/a.png\n")
    for what in ("target", "labels"):
        with pytest.raises(InputError, match=rf"data\.{what} is x, but .*pairs\.csv names"):
            load(replace(listed, **{what: "x"}), "train")
    with pytest.raises(InputError, match=r"data\.root is empty"):
        load(DataConfig(name="pairs", target="x"), "train")


# Parts


SAMPLES = [Sample(f"n{i:02d}", Path(f"n{i:02d}.png")) for i in range(17)]
PARTS = {"a": 0.5, "b": 0.3, "c": 0.2}


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_disjoint_and_complete_and_depend_on_names_and_seed(seed: int) -> None:
    found = {name: cut(SAMPLES, PARTS, seed, name) for name in PARTS}
    assert sorted((s for part in found.values() for s in part), key=lambda s: s.name) == SAMPLES
    for name, share in PARTS.items():
        assert abs(len(found[name]) - share * len(SAMPLES)) <= 1  # rounding of two edges
        assert found[name] == sorted(found[name], key=lambda s: s.name)  # the list's order
    elsewhere = [Sample(s.name, Path("elsewhere") / s.x1) for s in reversed(SAMPLES)]
    there = cut(elsewhere, PARTS, seed, "a")
    assert {s.name for s in there} == {s.name for s in found["a"]}
    assert found["a"] != cut(SAMPLES, PARTS, seed + 1, "a")
    blocks = [sample for name in PARTS for sample in cut(SAMPLES, PARTS, None, name)]
    assert blocks == sorted(SAMPLES, key=lambda sample: sample.name)[: len(blocks)]


def test_training_reads_its_part_and_evaluation_the_named_one(camvid: DataConfig) -> None:
    config = replace(camvid, parts={"fit": 0.5, "held": 0.5}, part="fit")
    fit, held = load(config, "train"), load(config, "held")
    assert len(fit.samples) == len(held.samples) == 2
    assert sorted(names(fit) + names(held)) == [f"train_{i:03d}" for i in range(4)]
    assert names(load(config, "val")) == ["val_000", "val_001"]
    assert len(load(replace(config, part="all"), "train").samples) == 4


def test_pairs_hold_a_share_out(pairs: DataConfig) -> None:
    config = replace(pairs, parts={"train": 0.67, "val": 0.33}, part="train")
    train, val = (names(load(config, split)) for split in ("train", "val"))
    assert (len(train), len(val)) == (2, 1) and sorted(train + val) == ["a", "b", "c"]
    with pytest.raises(InputError, match="'test' is not known"):
        load(config, "test")
    with pytest.raises(InputError, match=r"part 'tiny' of .* has no samples"):
        load(replace(pairs, parts={"tiny": 0.01, "rest": 0.99}, part="tiny"), "train")


def test_a_share_of_the_training_images_lies_within_a_larger_one(camvid_tree: Tree) -> None:
    config = DataConfig(name="camvid", root=str(camvid_tree(train=20)))
    parts = {"fit": 0.8, "held": 0.2}
    found = [
        set(names(load(replace(config, parts=parts, part="fit", share=share), "train")))
        for share in (0.25, 0.5, 1.0)
    ]
    assert [len(chosen) for chosen in found] == [4, 8, 16]
    assert found[0] < found[1] < found[2]
    assert len(load(replace(config, parts=parts, part="fit", share=0.25), "held").samples) == 4
    with pytest.raises(InputError, match=r"data.share is 0.0"):
        replace(config, share=0.0)
