"""Predictions as files: what evaluate scores, restartable, never mixed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt.data import load
from adapt.data.images import read_mask, void_beside
from adapt.data.warp import COLUMNS
from adapt.disk.files import read_json
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.metrics import confusion, per_class, scores_of
from adapt.evaluation.predict import MANIFEST, predictions
from adapt.settings.commands import EvaluateConfig, PredictConfig
from adapt.settings.groups import DataConfig
from adapt.settings.protocol import ProtocolConfig


def config(world: Path, out: Path, **changes: object) -> PredictConfig:
    made = PredictConfig(
        run=str(world / "teacher"), out=str(out), device="cpu", precision="fp32", domain="d1"
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [ProtocolConfig(), ProtocolConfig(flip=True)], ids=str)
def test_scoring_the_files_gives_evaluates_scores(
    world: Path, tmp_path: Path, protocol: ProtocolConfig
) -> None:
    out = predictions(config(world, tmp_path / "out", protocol=protocol))
    data = load(DataConfig(name="camvid", root=str(world / "d1")), "val")
    total = np.zeros((11, 12), np.int64)
    for sample in data.samples:
        assert sample.y1 is not None
        truth = read_mask(sample.y1, 11, data.void)
        found = np.array(Image.open(out / f"{sample.name}.png"))
        total += confusion(truth, found, 11)
    how = {"device": "cpu", "precision": "fp32", "protocol": protocol}
    recorded = evaluate(EvaluateConfig(teacher=str(world / "teacher"), domain="d1", **how))
    assert scores_of(per_class(total)).miou == pytest.approx(read_json(recorded)["truth"]["miou"])


def test_a_folder_of_images_is_predicted_at_each_images_size(world: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 56)), ("b.jpg", (33, 47)), ("c.png", (64, 20))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(photos / name)
    out = predictions(config(world, tmp_path / "out", images=str(photos)))
    found = {p.stem: Image.open(p) for p in out.glob("*.png")}
    assert {name: image.size for name, image in found.items()} == {
        "a": (56, 40), "b": (47, 33), "c": (20, 64),
    }  # fmt: skip
    assert all(image.mode == "P" for image in found.values())


def test_an_interrupted_call_goes_on_and_another_run_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predictions(config(world, tmp_path / "out"))
    files = sorted(out.glob("*.png"))
    kept = {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in files}
    files[1].unlink()
    predictions(config(world, tmp_path / "out"))
    assert "3 predictions of" in capsys.readouterr().out
    assert {f.name: f.read_bytes() for f in out.glob("*.png")} == {
        n: content for n, (content, _) in kept.items()
    }
    assert files[0].stat().st_mtime_ns == kept[files[0].name][1], "left alone"
    with pytest.raises(InputError, match=r"holds other predictions .*split: 'val' -> 'train'"):
        predictions(config(world, tmp_path / "out", split="train"))
    assert (out / MANIFEST).is_file()


def test_predictions_of_other_images_are_not_taken_for_these(world: Path, tmp_path: Path) -> None:
    for folder, split in (("a", "val"), ("b", "train")):
        image = next((world / "d1" / split).iterdir())
        (tmp_path / folder).mkdir()
        shutil.copyfile(image, tmp_path / folder / "frame.png")
    given = config(world, tmp_path / "out", images=str(tmp_path / "a"))
    predictions(given)
    with pytest.raises(InputError, match=r"holds other predictions .*from: "):
        predictions(replace(given, images=str(tmp_path / "b")))
    with pytest.raises(InputError, match=r"holds other predictions .*resize: "):
        predictions(replace(given, data=DataConfig(resize=[16, 24])))


def test_void_is_no_class_where_masks_are_of_0_and_255() -> None:
    assert void_beside(np.array([0, 255])) == 254 and void_beside(np.arange(2)) == 255


def test_parts_predict_the_same_bytes(world: Path, tmp_path: Path) -> None:
    """In the batches of one call; a part that did nothing is named."""
    given = config(world, tmp_path / "one", split="train", batch=2, probabilities=True)
    one = predictions(given)
    parts = replace(given, out=str(tmp_path / "parts"))
    for number in (3, 0, 1):
        predictions(replace(parts, part=f"{number}/4"))
    with pytest.raises(InputError, match=r"parts/parts lacks part=2/4"):
        predictions(replace(parts, part="all/4"))
    predictions(replace(parts, part="2/4"))
    out = predictions(replace(parts, part="all/4"))
    made, wanted = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (out, one)
    )
    records = {p: made.pop(p) for p in [*made] if p.parts[0] == "parts"}
    assert made == wanted and len(records) == 4
    with pytest.raises(InputError, match="is a video, which is read in one call"):
        predictions(replace(parts, images="a.mp4", part="1/2"))


def test_masks_lie_on_the_files_as_they_stand(world: Path, tmp_path: Path) -> None:
    """Also where training and evaluation warp x2."""
    target = DataConfig(target=str(world / "d2"), transforms=str(tmp_path / "shifts.csv"))
    names = [f"val/val_{n:03d}.png" for n in range(3)]
    shift = [1.0, 0, 14, 0, 1, 0, 0, 0, 1]
    rows = [[name, name, 1, *shift, 1.0] for name in names]
    (tmp_path / "shifts.csv").write_text(csv_of([COLUMNS, *rows]))
    given = config(world, tmp_path / "moved", domain="d2", data=target)
    plain = replace(given, out=str(tmp_path / "plain"), data=replace(target, transforms=""))
    contents = [
        {p.name: p.read_bytes() for p in predictions(one).glob("*.png")} for one in (given, plain)
    ]
    assert contents[0] == contents[1]


def test_a_folder_with_other_things_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="holds no predictions"):
        predictions(config(world, tmp_path))
    with pytest.raises(InputError, match=r"predict needs run=DIR and out=DIR"):
        PredictConfig(run="x")
