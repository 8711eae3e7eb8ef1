"""evaluate: its numbers against an independent count, its files, its refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import adapting, teaching

from adapt.data.segmentation import CAMVID_CLASSES
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.metrics import Scores, distortion
from adapt.evaluation.rows import read_image_scores, rows_of
from adapt.networks.saved import load_model
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.training.train import train


@pytest.fixture(scope="module")
def student(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(adapting(world, tmp_path_factory.mktemp("runs") / "student"))


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def logits_at_full_size(run: Path, image: Path) -> np.ndarray:
    """(C, H, W), which torch brings to the image's size, written out plainly."""
    model = load_model(run)
    pixels = np.array(Image.open(image).convert("RGB"), dtype=np.float32) / 255
    pixels = (pixels - np.float32(model.network.mean)) / np.float32(model.network.std)
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1))[None]
    with torch.no_grad():
        logits = model.net.eval()(tensor)
        full = torch.nn.functional.interpolate(logits, pixels.shape[:2], mode="bilinear")
    return full[0].numpy()


def mean_iou(truth: list[np.ndarray], found: list[np.ndarray]) -> float:
    t, f = np.concatenate([a.ravel() for a in truth]), np.concatenate([a.ravel() for a in found])
    t, f = t[t < 11], f[t < 11]
    both = [((t == c) & (f == c)).sum() for c in range(11)]
    either = [((t == c) | (f == c)).sum() for c in range(11)]
    return 100 * float(np.mean([b / e for b, e in zip(both, either, strict=True) if e]))


def test_figures_equal_an_independent_count(world: Path, student: Path) -> None:
    how = {"device": "cpu", "run": str(student), "precision": "fp32", "batch": 2}
    path = evaluate(EvaluateConfig(**how, loss=True))  # type: ignore[arg-type]
    found = read(path)
    names = [line.split()[0] for line in (world / "d2" / "val.txt").read_text().splitlines()]
    new = [logits_at_full_size(student, world / "d2" / name) for name in names]
    labels = [np.array(Image.open(world / "d2" / "valannot" / Path(n).name)) for n in names]
    assert found["images"] == 3
    wanted = mean_iou(labels, [logits.argmax(0) for logits in new])
    assert found["truth"]["miou"] == pytest.approx(wanted)
    each = [mean_iou([y], [logits.argmax(0)]) for y, logits in zip(labels, new, strict=True)]
    assert read_image_scores(path) == pytest.approx(
        dict(zip((Path(n).stem for n in names), each, strict=True)), abs=1e-4
    )
    files = [next((world / "d1" / "val").glob(f"{Path(n).stem}.*")) for n in names]
    old = [logits_at_full_size(world / "teacher", f).argmax(0) for f in files]
    wanted = mean_iou(old, [logits.argmax(0) for logits in new])
    assert found["agreement"]["miou"] == pytest.approx(wanted)
    lost = []
    for logits, label in zip(new, labels, strict=True):
        chance = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=0)
        rows, columns = np.nonzero(label < 11)
        lost.append(-np.log(chance[label[rows, columns], rows, columns]))
    assert found["loss"] == pytest.approx(np.concatenate(lost).mean(), rel=1e-4)
    assert read(evaluate(EvaluateConfig(**how)))["loss"] is None  # type: ignore[arg-type]


def test_labels_count_at_their_own_size(world: Path) -> None:
    """A smaller network input must not shrink the labels: the counted pixels stay the same."""
    path = evaluate(EvaluateConfig(device="cpu", teacher=str(world / "teacher")))
    assert path.name.startswith("metrics_camvid_d1_val")
    assert path.with_suffix(".csv").read_text().splitlines()[1].startswith("sky,")
    full = read(path)
    small = DataConfig(resize=[20, 28])
    shrunk = read(
        evaluate(EvaluateConfig(device="cpu", teacher=str(world / "teacher"), data=small))
    )
    assert np.sum(full["confusion"]) == np.sum(shrunk["confusion"])
    assert full["confusion"] != shrunk["confusion"]


def test_no_figures_replace_those_of_other_samples(
    world: Path, tmp_path: Path, shifted: str
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(world / "teacher", teacher, ignore=shutil.ignore_patterns("metrics_camvid*"))
    target = str(world / "d2")
    d1 = [{"split": "hold", "data": DataConfig(parts={"hold": 0.5}, parts_seed=n)} for n in (0, 3)]
    d2 = [{"domain": "d2", "data": DataConfig(target=target, transforms=t)} for t in ("", shifted)]
    d2 += [{"domain": "d2", "adabn": True, "data": DataConfig(target=target), "batch": n}
           for n in (2, 3)]  # fmt: skip
    paths = [
        evaluate(EvaluateConfig(**{"device": "cpu", "teacher": str(teacher)} | given))
        for given in (*d1, *d2)
    ]
    assert len({*paths}) == 6


def test_adabn_can_be_kept_as_a_run(world: Path, tmp_path: Path) -> None:
    how = {"device": "cpu", "precision": "fp32", "batch": 2}
    data = DataConfig(target=str(world / "d2"))
    kept = train(adapting(world, tmp_path / "adabn", adabn=True, steps=0, **how))
    score = EvaluateConfig(run=str(kept), data=data, domain="d2", **how)
    treated = replace(score, run="", teacher=str(world / "teacher"), adabn=True)
    found, wanted = (read(evaluate(one)) for one in (score, treated))
    assert found["confusion"] == wanted["confusion"]
    assert found["agreement"] == wanted["agreement"]
    with pytest.raises(InputError, match="adabn=true takes the statistics of new images"):
        train(teaching(world, run=str(tmp_path / "d1"), adabn=True, steps=0))


def test_distortion_is_that_of_images_read_alike(world: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(world / "teacher", teacher, ignore=shutil.ignore_patterns("metrics_camvid*"))
    how = {"device": "cpu", "teacher": str(teacher)}
    for resize in ([16, 20], []):
        evaluate(EvaluateConfig(**how, data=DataConfig(resize=resize), domain="d1"))
    path = evaluate(EvaluateConfig(**how, data=DataConfig(target=str(world / "d2")), domain="d2"))
    small, clean, new = (
        Scores(found["miou"], found["class_accuracy"], 0, (), ())
        for p in ("metrics_camvid_d1_val.json", "metrics_camvid_d1_val_2.json", path.name)
        for found in (read(teacher / p)["truth"],)
    )
    (row,) = (row for row in rows_of(teacher) if row.shift)
    assert row.distortion == pytest.approx(distortion(clean, new))
    assert distortion(clean, new) != distortion(small, new)
    record = teacher / "metrics_camvid_d1_val_2.json"  # a teacher that finds nothing
    nothing = read(record)
    nothing["truth"] |= {"miou": 0.0, "class_accuracy": 0.0}
    record.write_text(json.dumps(nothing))
    assert {row.distortion for row in rows_of(teacher)} == {None}


def test_of_pairs_with_a_few_labels_those_are_scored(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if they were alone; all count in the agreement."""
    for folder in ("d1", "d2"):
        shutil.copytree(world / folder, tmp_path / folder)
    names = [line.split() for line in (world / "d2/val.txt").read_text().splitlines()]
    rows = [f"d1/{x},d2/{x},{f'd1/{y}' if n != 1 else ''}\n" for n, (x, y) in enumerate(names)]
    found = []
    for number, kept in enumerate((rows, [rows[0], rows[2]])):
        (tmp_path / f"{number}.csv").write_text("".join(["x1,x2,y1\n", *kept]))
        data = DataConfig(
            name="pairs", pairs=str(tmp_path / f"{number}.csv"), classes=list(CAMVID_CLASSES),
            void=[11], parts={"val": 1.0},
        )  # fmt: skip
        how = {"teacher": str(world / "teacher"), "domain": "d2", "loss": True, "device": "cpu"}
        found.append(read(evaluate(EvaluateConfig(data=data, **how))))  # type: ignore[arg-type]
    some, alone = found
    assert "only 2 of 3 samples of pairs have labels" in capsys.readouterr().out
    assert some["truth"] == alone["truth"] and some["loss"] == pytest.approx(alone["loss"])
    assert (some["images"], alone["images"]) == (3, 2) and some["agreement"] != alone["agreement"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "give run=DIR"),
        ({"run": "nowhere"}, "run: no such run folder: nowhere"),
        ({"split": "tset"}, "tset.txt: no such list .beside it: train.txt, val.txt"),
        ({"domain": "d2"}, "data.target"),
        ({"device": "cuda:7"}, "GPUs are there"),
        ({"teacher": "any", "domain": "d1"}, "teacher= says whose prediction"),
        ({"adabn": True, "batch": 1, "data": DataConfig(resize=[8, 8])}, "adabn=true, batch=1: "),
    ],
)
def test_wrong_settings_are_named(world: Path, config: dict, message: str) -> None:
    run = {} if not config else {"run": str(world / "teacher")}
    with pytest.raises(InputError, match=message):
        evaluate(EvaluateConfig(**{"device": "cpu"} | run | config))
