"""What labels mean, and that no evaluation replaces another."""

import json
from dataclasses import replace
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image
from tiny import teaching

from adapt.data import load
from adapt.data.sampling import Decoder
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.training.train import train


@pytest.fixture
def labelled(tmp_path: Path) -> DataConfig:
    """One image whose label has the values 0 to 3."""
    for folder, pixels in (
        ("images", np.zeros((8, 8, 3), np.uint8)),
        ("labels", np.arange(64, dtype=np.uint8).reshape(8, 8) % 4),
    ):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    root, labels = (str(tmp_path / folder) for folder in ("images", "labels"))
    return DataConfig("pairs", root, labels=labels, classes=["a", "b", "c"])


def test_void_and_codes_say_what_label_values_mean(labelled: DataConfig) -> None:
    data = load(replace(labelled, void=[0], codes=[3, 1, 2]), "train")
    found = Decoder(data, labelled, ["x1", "y1"])(data.samples[0])["y"]
    assert np.array_equal(
        found, np.array([255, 1, 2, 0], np.uint8)[np.arange(64).reshape(8, 8) % 4]
    )
    for wrong, words in (
        ({"void": [0]}, r"data\.void is \[0\].*each value means one thing; classes have 0\.\.2"),
        ({"codes": [1, 2]}, r"data\.codes has 2 values, the data 3 classes: a, b, c"),
        ({"codes": [1, 1, 2]}, "each value means one thing"),
        ({"void": [256]}, r"data\.void is 256; it must lie in \[0, 255\]"),
    ):
        with pytest.raises(InputError, match=words):
            load(replace(labelled, **wrong), "train")


def test_numbered_classes_match_names_and_evaluations_stay(world: Path, tmp_path: Path) -> None:
    pairs = DataConfig("pairs", str(world / "d1" / "val"), parts={"train": 0.5, "val": 0.5})
    source = str(world / "teacher" / "model.safetensors")
    config = teaching(world, run=str(tmp_path / "run"), data=pairs, start=source, steps=0)
    run = str(train(config))
    labels = str(world / "d1" / "valannot")
    classes = [f"name {i}" for i in range(11)]
    given = EvaluateConfig(
        run=run,
        device="cpu",
        split="train",
        data=DataConfig(
            "pairs", str(world / "d1" / "val"), labels=labels, classes=classes, void=[11]
        ),
    )
    first = evaluate(given)
    found = json.loads(first.read_text())
    assert found["classes"] == classes and found["truth"] and found["images"] == 2
    content = first.read_bytes()
    assert evaluate(given) == first, "the same again"
    other = evaluate(replace(given, data=replace(given.data, resize=[24, 32])))
    assert other.name == f"{first.stem}_2.json" and first.read_bytes() == content
    with pytest.raises(InputError, match="knows the classes class 0"):
        evaluate(replace(given, data=replace(given.data, classes=classes[:9])))


@pytest.mark.system
def test_a_weights_file_is_evaluated_directly(world: Path, tmp_path: Path) -> None:
    weights, run = world / "teacher" / "model.safetensors", str(world / "teacher")
    given = ("data=camvid", f"data.root={world / 'd1'}", "device=cpu", "precision=fp32")
    network = ("network.width=0.03125", "network.batch_norm=true")
    commands.run("evaluate.py", f"run={weights}", *network, *given, cwd=tmp_path)
    (found,) = tmp_path.glob("runs/model-*/metrics_camvid_d1_val.json")
    wanted = evaluate(EvaluateConfig(run=run, device="cpu", precision="fp32"))
    assert json.loads(found.read_text())["truth"] == json.loads(wanted.read_text())["truth"]
    said = commands.run("evaluate.py", f"run={run}", "network.width=0.5", cwd=tmp_path, status=2)
    assert "network differs from the one in" in said.stderr
