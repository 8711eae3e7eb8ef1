"""Samples with several named label maps: recodings, lists, layouts; two data sets in one order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scans import report
from trees import images

import adapt.data
from adapt.data import by_task, load
from adapt.data.files import Layout
from adapt.data.samples import Sample, Task
from adapt.data.sampling import Batch, Stream, batches
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

MOVABLE = {"background": [0, 1, 3, 4, 5, 7], "pole": [2], "sign": [6], "car": [8, 9, 10]}
BOTH = {"semantic": {}, "movable": MOVABLE}


@pytest.fixture(scope="module")
def root(camvid_tree) -> Path:
    return camvid_tree()


def drawn(config: DataConfig, count: int = 6) -> Batch:
    stream = Stream(load(config, "train"), config, ["x1", "y1"], seed=3)
    return next(batches(stream, count, 0, 1))


def test_a_recoding_of_the_same_masks_moves_with_them(root: Path) -> None:
    """Through scale, rotation, crop and mirroring the second map is a table of the first, and the
    first is what it is without a second."""
    how = {"name": "camvid", "root": str(root), "crop": [32, 40], "scale": [0.6, 1.8], "rotate": 20}
    both, alone = drawn(DataConfig(**how, tasks=BOTH)), drawn(DataConfig(**how))
    table = np.full(256, 255)
    for label, values in enumerate(MOVABLE.values()):
        table[values] = label
    assert torch.equal(both["y_semantic"], alone["y"])
    assert np.array_equal(both["y_movable"], table[alone["y"]])
    assert both["has_movable"].all()
    one = drawn(DataConfig(**how, tasks={"movable": MOVABLE}))
    assert torch.equal(one["y"], both["y_movable"])


def listed(folder: Path) -> Path:
    """A list of three pairs whose second has no parts; the parts of x2 are their own once."""
    files = ["a.png", "b.png", "c.png", "a2.png", "b2.png", "c2.png"]
    images(folder, *files, size=(8, 8))
    for name, value in (("s", 1), ("p", 5), ("p2", 6)):
        Image.fromarray(np.full((8, 8), value, np.uint8)).save(folder / f"{name}.png")
    rows = ["a.png,a2.png,s.png,p.png,", "b.png,b2.png,s.png,,", "c.png,c2.png,s.png,p.png,p2.png"]
    head = "x1,x2,y1_semantic,y1_parts,y2_parts"
    (folder / "list.csv").write_text("\n".join([head, *rows]))
    return folder / "list.csv"


TASKS = {"semantic": {"sky": [0], "road": [1]}, "parts": {"arm": [5], "leg": [6], "none": [7]}}


def test_a_list_names_the_maps_and_a_missing_one_is_void(tmp_path: Path) -> None:
    config = DataConfig(name="pairs", pairs=str(listed(tmp_path)), tasks=TASKS, flip=False)
    data = load(config, "train")
    assert data.labelled
    assert data.paired
    found = {}
    for side in ("1", "2"):
        batch = next(batches(Stream(data, config, [f"x{side}", f"y{side}"], seed=0), 3, 0, 1))
        rows = zip(batch["y_semantic"][:, 0, 0], batch["y_parts"][:, 0, 0], strict=True)
        found[side] = {
            n: (*map(int, row), bool(has))
            for n, row, has in zip(batch["name"], rows, batch["has_parts"], strict=True)
        }
    assert found["1"] == {"a": (1, 0, True), "b": (1, 255, False), "c": (1, 0, True)}
    assert found["2"] == {"a": (1, 0, True), "b": (1, 255, False), "c": (1, 1, True)}
    views = by_task([config], "train").items()
    scored = {task: [s.name for s in of.samples] for task, (_, of) in views}
    assert scored == {"semantic": ["a", "b", "c"], "parts": ["a", "c"]}


def test_columns_of_no_task_are_not_read(tmp_path: Path, capsys) -> None:
    only = {"parts": TASKS["parts"]}
    data = load(DataConfig(name="pairs", pairs=str(listed(tmp_path)), tasks=only), "train")
    assert (data.classes, data.task) == (("arm", "leg", "none"), "parts")
    assert data.samples[0].y1 == tmp_path / "p.png"
    assert "not read: y1_semantic" in capsys.readouterr().out


def test_a_scan_sees_the_maps_of_a_list(tmp_path: Path) -> None:
    """A broken one is an error, and the values are said not to be checked."""
    config = DataConfig(name="pairs", pairs=str(listed(tmp_path)), tasks=TASKS)
    (tmp_path / "p.png").write_bytes(b"no image")
    found = report(tmp_path / "scan.json", config)
    broken = [f["file"] for f in found["findings"] if f["kind"] == "unreadable"]
    assert [Path(file).name for file in broken] == ["p.png"]


def test_a_link_out_of_the_data_is_refused_for_every_map(tmp_path: Path) -> None:
    elsewhere = images(tmp_path / "elsewhere", "p.png") / "p.png"
    home = tmp_path / "home"
    path = listed(home)
    (home / "p.png").unlink()
    (home / "p.png").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"y1_parts: .*leads out|leads out of"):
        load(DataConfig(name="pairs", pairs=str(path), tasks=TASKS), "train")


@pytest.fixture
def twofold(monkeypatch: pytest.MonkeyPatch, root: Path) -> DataConfig:
    """A layout with two maps."""

    def read(config: DataConfig, home: Path, split: str) -> list[Sample]:
        names = sorted(p.stem for p in (home / split).iterdir())
        masks = {n: home / f"{split}annot" / f"{n}.png" for n in names}
        maps = {n: {"y1_all": mask, "y1_coarse": mask} for n, mask in masks.items()}
        return [Sample(n, home / split / f"{n}.png", maps=maps[n]) for n in names]

    every = tuple(f"c{i}" for i in range(12))
    tasks = {"all": Task(every), "coarse": Task(("low", "high"), (11,), (0, 5), ())}
    layout = Layout((), (), "train", Path, lambda root: ["train"], read, tasks=tasks)
    monkeypatch.setitem(adapt.data.DATASETS, "twofold", layout)
    config = DataConfig(root=str(root))
    config.name = "twofold"
    return config


def test_a_layout_declares_several_maps(twofold: DataConfig) -> None:
    data = load(twofold, "train")
    assert list(data.tasks) == ["all", "coarse"]
    assert data.samples[0].y1 is None
    twofold.tasks = {"all": {}}
    alone = load(twofold, "train")
    assert len(alone.classes) == 12
    assert alone.samples[0].y1 == data.samples[0].maps["y1_all"]
    twofold.tasks = {"cause": {}}
    with pytest.raises(InputError, match=r"'cause' is not known.*all, coarse"):
        load(twofold, "train")
    twofold.tasks = {"mine": {"x": [1]}, "all": {}}
    with pytest.raises(InputError, match="mine: twofold has no label map of this name"):
        load(twofold, "train")


def test_images_of_two_data_sets_are_drawn_in_one_order(root: Path, voc_tree) -> None:
    """An epoch has each sample of both once, as its own stream gives it; what it lacks is void."""
    first = DataConfig(name="camvid", root=str(root), crop=[32, 40])
    second = DataConfig(name="voc", root=str(voc_tree(train=4)), crop=[32, 40], train_split="train")
    a, b = (load(config, "train").with_tasks() for config in (first, second))
    tasks = {task: of.classes for data in (a, b) for task, of in data.tasks.items()}
    also = Stream(b, second, ["x1", "y1"], 0, tasks=tasks)
    stream = Stream(a, first, ["x1", "y1"], 0, tasks=tasks, also=also)
    alone = {s.name: data for data in (a, b) for s in data.samples}
    for epoch in range(2):
        items = [stream[10 * epoch + i] for i in range(10)]
        assert sorted(item["name"] for item in items) == sorted(alone)
        for item in items:
            mine, other = ("camvid", "voc") if alone[item["name"]] is a else ("voc", "camvid")
            assert bool(item[f"has_{mine}"])
            assert not item[f"has_{other}"]
            assert (item[f"y_{other}"] == 255).all()
            assert (item[f"y_{mine}"] != 255).any()
    orders = [[stream[10 * e + i]["name"] in [s.name for s in a.samples] for i in range(10)]
              for e in range(2)]  # fmt: skip
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"a": {"x": [1], "y": [1]}, "b": {}}, "tasks.a: the value 1 stands twice"),
        ({"a": {"x": [1], "y": [11]}, "b": {}}, "tasks.a: the value 11 is void"),
        ({"a": {"x": [1], "y": [2]}, "b": {}}, r"label 0 \(\d+ pixels\), .* is out of range"),
    ],
)
def test_what_no_map_can_mean_is_refused(root: Path, tasks: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(DataConfig(name="camvid", root=str(root), tasks=tasks))
