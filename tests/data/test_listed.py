"""PASCAL Context, PASCAL-Person-Part and LIP, and VOC's test: small trees of the real layouts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scans import report
from tiny import teaching
from trees import LISTED, d3, images

from adapt.data import DATASETS, load, splits_of
from adapt.data.files import say_once
from adapt.data.images import read_mask
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.settings.commands import DistortConfig, EvaluateConfig, PredictConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train

SIZES = {
    "context": (4998, 5105, 60), "person_part": (1716, 1817, 7), "lip": (28280, 5000, 20),
}  # fmt: skip
"""Names of the published lists of train and val (the thesis's table 3.1; Mottaghi et al. 2014), and
classes with the background."""


@pytest.mark.parametrize("name", LISTED)
def test_lists_pair_images_with_masks_and_other_sizes_than_the_published_are_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say_once.cache_clear()
    LISTED[name](tmp_path)
    config = DataConfig(name, str(tmp_path))
    assert splits_of(config) == ["train", "val"]
    train, val, classes = SIZES[name]
    for split, size, count in (("train", train, 3), ("val", val, 2)):
        data = load(config, split)
        assert len(data.classes) == len(set(data.classes)) == classes and len(data.samples) == count
        assert f"has {count} names, the published list {size}" in capsys.readouterr().out
        for sample in data.samples:
            assert sample.x1.stem == sample.y1.stem == sample.name
            found = read_mask(sample.y1, classes, data.void, data.codes)
            assert np.array_equal(found, np.array(Image.open(sample.y1))), "values are indices"
    DATASETS[name].write_list(tmp_path, "val", list(data.samples[1:]))
    assert load(config, "val").samples == data.samples[1:]
    sample.y1.rename(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match="1 file is missing"):
        load(config, "val")


def test_d3_has_both_masks_of_what_both_lists_of_a_split_have(tmp_path: Path) -> None:
    """As the thesis's table 3.2; either map alone is a data set with one."""
    root = tmp_path / "VOC2012"
    sbd = d3(root)
    config = DataConfig("d3", str(root), sbd=str(sbd))
    found = {split: load(config, split) for split in ("train", "val")}
    assert {k: [s.name for s in v.samples] for k, v in found.items()} == {
        "train": ["2008_1", "2009_3"], "val": ["2008_4", "2010_5"],
    }  # fmt: skip
    assert {k: len(task.classes) for k, task in found["train"].tasks.items()} == {
        "semantic": 21, "parts": 7,
    }  # fmt: skip
    for sample in found["train"].samples:
        assert sample.maps["y1_semantic"] == sbd / "cls" / f"{sample.name}.mat"
        assert sample.maps["y1_parts"] == root / "ImageSets/Person/gt" / f"{sample.name}.png"
    alone = load(replace(config, tasks={"parts": {}}), "train")
    assert alone.classes == DATASETS["person_part"].classes and alone.task == "parts"
    with pytest.raises(InputError, match="d3 has the label maps semantic, parts; a twin has"):
        make_distorted(DistortConfig(config, ShiftConfig(), str(tmp_path / "twin")))
    half = root / "ImageSets/Person/gt/2008_1.png"
    half.write_bytes(half.read_bytes()[:100])
    findings = report(tmp_path / "scan.json", config)["findings"]
    assert [f["file"] for f in findings if f["kind"] == "unreadable"] == [str(half)]
    (sbd / "cls/2008_1.mat").rename(tmp_path / "out.mat")
    with pytest.raises(InputError, match="no file named '2008_1'"):
        load(config, "train")
    (sbd / "cls/2008_1.mat").symlink_to(tmp_path / "out.mat")
    with pytest.raises(InputError, match="1 file lies outside"):
        load(config, "train")
    with pytest.raises(InputError, match=r"data=d3 needs data\.sbd=DIR"):
        load(replace(config, sbd=""), "train")


def test_vocs_test_has_no_masks_and_its_predictions_are_vocs(
    voc_tree: Callable[..., Path], tmp_path: Path
) -> None:
    """Palette PNGs of the images' size and names, as the test server wants them."""
    root = voc_tree(tmp_path / "voc", train=2, val=1)
    images(root / "JPEGImages", "2008_000006.jpg", "2008_000011.jpg", size=(30, 20))
    (root / "ImageSets/Segmentation/test.txt").write_text("2008_000006\n2008_000011\n")
    config = DataConfig("voc", str(root), train_split="train")
    assert splits_of(config) == ["train", "val", "test"]
    data = load(config, "test")
    assert [s.name for s in data.samples] == ["2008_000006", "2008_000011"]
    assert not data.labelled and load(config, "val").labelled
    run, upload = train(teaching(tmp_path, data=config, steps=1)), tmp_path / "upload"
    predictions(PredictConfig("cpu", run=str(run), split="test", out=str(upload)))
    for sample in data.samples:
        with Image.open(upload / f"{sample.name}.png") as image:
            assert image.mode == "P" and image.size == (30, 20)
            assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
            assert np.array(image).max() < 21
    with pytest.raises(InputError, match=r"test.* no labels"):
        evaluate(EvaluateConfig("cpu", run=str(run), split="test"))
