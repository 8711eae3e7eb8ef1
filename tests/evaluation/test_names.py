"""What labels mean, and that no evaluation replaces another."""

import json
from dataclasses import replace
from pathlib import Path

import commands
import cv2
import numpy as np
import pytest
from PIL import Image
from tiny import teaching

from adapt.data import load
from adapt.data.images import read_image, voc_palette
from adapt.data.sampling import Decoder
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.settings.commands import EvaluateConfig, PredictConfig
from adapt.settings.groups import DataConfig, NetworkConfig
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
        ({"void": [65536]}, r"data\.void is 65536; it must lie in \[0, 65535\]"),
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
    with pytest.raises(InputError, match=r"run has 11 classes: .*; pairs has 9 classes: name 0"):
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


def test_predictions_of_a_list_and_a_video_need_no_training_data(
    world: Path, tmp_path: Path
) -> None:
    """Overlays blend the image with the classes' colours; probabilities add up to 1."""
    frames = [read_image(p) for p in sorted((world / "d1" / "val").iterdir())]
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 5, (56, 40))
    for place, frame in enumerate(frames):
        video.write(frame[..., ::-1])
        Image.fromarray(frame).save(tmp_path / f"{place}.png")
    video.release()
    (tmp_path / "list.txt").write_text("0.png\n2.png\n")
    network = NetworkConfig(width=1 / 32, batch_norm=True)
    data = DataConfig(classes=[f"name {i}" for i in range(11)])
    given = PredictConfig(
        run=str(world / "teacher" / "model.safetensors"), network=network, data=data, device="cpu",
        images=str(tmp_path / "v.avi"), out=str(tmp_path / "video"), overlay=0.25,
        probabilities=True, precision="fp32",
    )  # fmt: skip
    out = predictions(given)
    listed = replace(given, images=str(tmp_path / "list.txt"), out=str(tmp_path / "listed"))
    predictions(replace(listed, overlay=0.0, probabilities=False))
    names = [f"frame_{i:06d}.png" for i in range(3)]
    assert sorted(p.name for p in out.glob("*.png")) == names
    mask = np.array(Image.open(out / names[2]))
    assert np.array_equal(mask, np.array(Image.open(tmp_path / "listed" / "2.png")))
    chances = np.load(out / "probabilities" / "frame_000002.npz")["probabilities"]
    assert chances.shape == (11, 40, 56) and chances.dtype == np.float16
    assert np.array_equal(chances.astype(np.float32).sum(0).round(2), np.ones((40, 56)))
    assert (chances.argmax(0) == mask).mean() > 0.99
    colours = np.array(voc_palette()).reshape(-1, 3)[mask]
    wanted = 0.75 * frames[2] + 0.25 * colours
    assert np.abs(read_image(out / "overlay" / names[2]) - wanted).max() <= 0.5
    (tmp_path / "list.txt").write_text("../0.png\n")
    with pytest.raises(InputError, match="leads out of"):
        predictions(replace(listed, out=str(tmp_path / "other")))
