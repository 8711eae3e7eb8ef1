"""Cityscapes' layout, from its folders to predictions for its test server."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt.data import load
from adapt.data.cityscapes import CITYSCAPES, CODES, LABELS, VOID
from adapt.data.images import IGNORE, read_mask
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

ROOT = Path(__file__).resolve().parents[2]
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


def test_the_nineteen_train_ids_are_the_data_sets() -> None:
    """Cityscapes' own table of labels: ids 7, 8, 11, … 33 are train ids 0, 1, 2, … 18."""
    assert len(CITYSCAPES.classes) == 19
    assert [LABELS[i] for i in (7, 11, 21, 24, 26, 33)] == [
        "road", "building", "vegetation", "person", "car", "bicycle"
    ]  # fmt: skip
    assert CODES[13] == 26 and CITYSCAPES.classes[13] == "car"
    assert {*CODES} | {*VOID} == set(range(34)) and not {*CODES} & {*VOID}
    assert {29, 30} <= {*VOID}, "caravan and trailer are not scored"


def test_every_value_becomes_its_train_id_or_void(tree: Path) -> None:
    data = load(config(tree), "train")
    sample = data.samples[0]
    assert sample.y1 is not None
    stored = np.array(Image.open(sample.y1))
    mask = read_mask(sample.y1, len(data.classes), data.void, data.codes)
    for value in range(34):
        found = np.unique(mask[stored == value])
        assert found.tolist() == [CODES.index(value) if value in CODES else IGNORE]


def test_a_value_that_cityscapes_does_not_know_is_named(tree: Path) -> None:
    path = next((tree / "gtFine").rglob("*labelIds.png"))
    mask = np.array(Image.open(path))
    mask[:2, :3] = 99
    Image.fromarray(mask).save(path)
    with pytest.raises(InputError, match=r"labelIds\.png: label 99 \(6 pixels\)"):
        read_mask(path, 19, VOID, CODES)


def test_splits_hold_the_frames_of_all_their_cities(tree: Path) -> None:
    names = [s.name for s in load(config(tree), "train").samples]
    assert names == [f"{c}_{n:06d}_{19 + n:06d}" for c in ("aachen", "ulm") for n in range(2)]
    assert len(load(config(tree), "val").samples) == 2
    test = load(config(tree), "test")
    assert not test.labelled and all(s.y1 is None for s in test.samples)


def test_coarse_labels_join_the_training_list_only(tree: Path) -> None:
    data = load(config(tree, coarse=True), "train")
    assert [s.name.split("_")[0] for s in data.samples] == ["aachen"] * 2 + ["ulm"] * 2 + [
        "bern"
    ] * 2
    assert data.labelled and "gtCoarse" in str(data.samples[-1].y1)
    assert len(load(config(tree, coarse=True), "val").samples) == 2
    for path in sorted((tree / "gtCoarse").rglob("*.png")):
        path.unlink()
    with pytest.raises(InputError, match=r"gtCoarse"):
        load(config(tree, coarse=True), "train")


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


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda t: (t / "leftImg8bit").rename(t / "images"), r"one folder leftImg8bit\* is exp"),
        (lambda t: (t / "leftImg8bit_foggy").mkdir(), "leftImg8bit, leftImg8bit_foggy"),
        (
            lambda t: next((t / "gtFine/train/ulm").glob("*labelIds.png")).unlink(),
            "no file named 'ulm_",
        ),
    ],
)
def test_a_broken_tree_is_named(tree: Path, broken, message: str) -> None:  # type: ignore[no-untyped-def]
    broken(tree)
    with pytest.raises(InputError, match=message):
        load(config(tree), "train")


def run(*command: str, cwd: Path) -> str:
    script, *overrides = command
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *overrides],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.system
def test_from_the_archives_to_the_test_server(tree: Path, tmp_path: Path) -> None:
    """The commands: a teacher with coarse labels, a twin, a student, its scores, the upload."""
    data = ["data=cityscapes", f"data.root={tree}"]
    small = ["network.width=0.03125", "data.crop=[32,40]", "steps=2", "batch=2", "device=cpu"]
    run("train.py", *data, "data.coarse=true", *small, "run=teacher", cwd=tmp_path)
    run("make_distorted_voc.py", *data, "shift=photocopy", "out=twin", "workers=1", cwd=tmp_path)
    for file in tree.rglob("*labelIds.png"):
        assert "gtCoarse" in str(file) or (tmp_path / "twin" / file.relative_to(tree)).is_file()
    said = run(
        "adapt.py", "teacher=teacher", "data.target=twin", "data.coarse=false", "objective=pool3",
        "run=student", "steps=2", "batch=2", cwd=tmp_path,
    )  # fmt: skip
    assert "agreement with the teacher on 2 held-out pairs" in said
    assert "miou" in run("evaluate.py", "run=student", cwd=tmp_path)
    run("predict.py", "run=student", "split=test", "domain=d1", "out=upload", cwd=tmp_path)
    files = sorted((tmp_path / "upload").glob("*.png"))
    assert [f.stem for f in files] == ["berlin_000000_000019", "berlin_000001_000020"]
    for file in files:
        with Image.open(file) as image:
            assert image.mode == "L" and image.size == (56, 40)
            assert set(np.unique(np.array(image))) <= {*CODES}, "label ids, not train ids"
