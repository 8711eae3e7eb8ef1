"""Cityscapes' layout, from its folders to predictions for its test server."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import adapting, teaching

from adapt.data import load
from adapt.data.images import IGNORE, read_mask
from adapt.data.segmentation import CITYSCAPES, CITYSCAPES_LABELS
from adapt.errors import InputError
from adapt.evaluation.predict import predictions
from adapt.settings.commands import DistortConfig, PredictConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from adapt.training.adapt import adapt
from adapt.training.train import train

CODES = CITYSCAPES.codes
CITIES = {"train": ("aachen", "ulm"), "train_extra": ("bern",), "val": ("lindau",),
          "test": ("berlin",)}  # fmt: skip


def draw(root: Path, split: str, kind: str, seed: int, ending: str = "leftImg8bit") -> None:
    """Two frames for each city of a split, with labels of a kind where one is given."""
    rng = np.random.default_rng(seed)
    for city in CITIES[split]:
        for number in range(2):
            name = f"{city}_{number:06d}_{19 + number:06d}"
            ids = np.kron(rng.integers(0, 34, (5, 7)), np.ones((8, 8), int)).astype(np.uint8)
            ids[0, :34] = range(34)  # every value that the archive knows
            image = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
            folder = root / "leftImg8bit" / split / city
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{name}_{ending}.png")
            if kind:
                labels = root / kind / split / city
                labels.mkdir(parents=True, exist_ok=True)
                Image.fromarray(ids).save(labels / f"{name}_{kind}_labelIds.png")
                Image.fromarray(ids).save(labels / f"{name}_{kind}_instanceIds.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split, kind in (("train", "gtFine"), ("val", "gtFine"), ("test", ""),
                        ("train_extra", "gtCoarse")):  # fmt: skip
        draw(tmp_path / "city", split, kind, seed=len(split))
    return tmp_path / "city"


def config(tree: Path, **changes: object) -> DataConfig:
    return replace(DataConfig(name="cityscapes", root=str(tree)), **changes)  # type: ignore[arg-type]


def test_every_value_becomes_its_train_id_or_void(tree: Path) -> None:
    """Cityscapes' own table of labels: ids 7, 8, 11, … 33 are train ids 0, 1, 2, … 18."""
    train_id = {7: "road", 11: "building", 21: "vegetation", 26: "car", 33: "bicycle"}
    assert train_id.items() <= CITYSCAPES_LABELS.items()
    assert [CODES.index(code) for code in train_id] == [0, 2, 8, 13, 18] and len(CODES) == 19
    data = load(config(tree), "train")
    path = data.samples[0].y1
    assert path is not None
    stored = np.array(Image.open(path))
    mask = read_mask(path, len(data.classes), data.void, data.codes)
    for value in range(34):
        found = np.unique(mask[stored == value])
        assert found.tolist() == [CODES.index(value) if value in CODES else IGNORE]
    stored[:2, :3] = 99
    Image.fromarray(stored).save(path)
    with pytest.raises(InputError, match=r"labelIds\.png: label 99 \(6 pixels\)"):
        read_mask(path, 19, data.void, data.codes)


def test_splits_hold_the_frames_of_all_their_cities_and_coarse_labels_join_training(
    tree: Path,
) -> None:
    def names(split: str, **changes: object) -> list[str]:
        return [s.name for s in load(config(tree, **changes), split).samples]

    every = [f"{c}_{n:06d}_{19 + n:06d}" for c in ("aachen", "ulm", "bern") for n in range(2)]
    assert names("train") == every[:4] and names("train", coarse=True) == every
    assert names("val") == names("val", coarse=True) and len(names("val")) == 2
    assert "gtCoarse" in str(load(config(tree, coarse=True), "train").samples[-1].y1)
    assert all(s.y1 is None for s in load(config(tree), "test").samples)


def test_a_set_of_the_same_frames_is_the_new_domain(tree: Path, tmp_path: Path) -> None:
    """Foggy Cityscapes: other names, several strengths of one frame, no labels of its own."""
    foggy = tmp_path / "foggy"
    for beta in ("0.005", "0.02"):
        draw(foggy, "train", "", seed=3, ending=f"leftImg8bit_foggy_beta_{beta}")
    (foggy / "leftImg8bit").rename(foggy / "leftImg8bit_foggy")
    with pytest.raises(InputError, match=r"same frame; choose .*data\.variant"):
        load(config(tree, target=str(foggy)), "train")
    data = load(config(tree, target=str(foggy), variant="beta_0.02"), "train")
    assert data.paired and all("beta_0.02" in str(s.x2) for s in data.samples)
    assert all(s.y2 == s.y1 for s in data.samples)
    (foggy / "leftImg8bit_foggy").rename(tree / "leftImg8bit_foggy")  # as both archives unpack
    assert [s.x1 for s in load(config(tree), "train").samples] == [s.x1 for s in data.samples]
    with pytest.raises(InputError, match=r"data\.target is .*, as data\.root"):
        load(config(tree, target=str(tree)), "train")


def two_others(tree: Path) -> None:
    (tree / "leftImg8bit").rename(tree / "leftImg8bit_a")
    (tree / "leftImg8bit_b").mkdir()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda t: (t / "leftImg8bit").rename(t / "images"), r"one folder leftImg8bit\* is exp"),
        (two_others, "there: leftImg8bit_a, leftImg8bit_b"),
        (lambda t: [p.unlink() for p in (t / "gtCoarse").rglob("*.png")], "gtCoarse"),
        (
            lambda t: next((t / "gtFine/train/ulm").glob("*labelIds.png")).unlink(),
            "no file named 'ulm_",
        ),
    ],
)
def test_a_broken_tree_is_named(tree: Path, broken, message: str) -> None:  # type: ignore[no-untyped-def]
    broken(tree)
    with pytest.raises(InputError, match=message):
        load(config(tree, coarse=True), "train")


def test_from_the_archives_to_the_test_server(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A teacher with coarse labels, a twin, a student and its verdict, the upload."""
    data = config(tree, coarse=True, crop=[32, 40])
    train(teaching(tmp_path, data=data, steps=2))
    twin, upload = tmp_path / "twin", tmp_path / "upload"
    shift = ShiftConfig("photocopy", {"mask_radius": 5.0})
    make_distorted(DistortConfig(data=config(tree), shift=shift, out=str(twin), workers=1))
    for file in tree.rglob("*labelIds.png"):
        assert "gtCoarse" in str(file) or (twin / file.relative_to(tree)).is_file()
    paired = DataConfig(target=str(twin), coarse=False, explicit=["coarse"])
    student = adapt(adapting(tmp_path, tmp_path / "student", data=paired, steps=2))
    assert "agreement with the teacher on 2 held-out pairs" in capsys.readouterr().out
    predictions(PredictConfig("cpu", run=str(student), split="test", domain="d1", out=str(upload)))
    files = sorted(upload.glob("*.png"))
    assert [f.stem for f in files] == ["berlin_000000_000019", "berlin_000001_000020"]
    for file in files:
        with Image.open(file) as image:
            assert image.mode == "L" and image.size == (56, 40)
            assert set(np.unique(np.array(image))) <= {*CODES}, "label ids, not train ids"
