"""More classes than 8 bits tell apart: masks of 16 bits in memory and in files, void 65535."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from adapt.data.augment import PairedAugmentation
from adapt.data.images import index_type, read_indices, read_mask, voc_palette, void_of, write_png
from adapt.disk.files import read_mapping
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.metrics import confusion, per_class, scores_of, tally
from adapt.evaluation.predict import predictions
from adapt.networks.factory import permit
from adapt.objective.terms import cross_entropy
from adapt.settings.commands import EvaluateConfig, PredictConfig
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.settings.objective import KDConfig, ObjectiveConfig, SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.adapt import adapt
from adapt.training.train import train
from adapt.training.verdict import PICTURES, read_verdict
from viz.pictures import coloured, palette
from viz.report.records import record_of
from viz.report.verdict_section import verdicts_section

CLASSES, VOID = 300, 65_535
NET = """
from torch import nn

def many(classes):
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
    return nn.Sequential(body, nn.Conv2d(8, classes, 1))
"""
CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs with labels of 300 classes and some void, 255 being a class, and a network."""
    place = tmp_path_factory.mktemp("home")
    (place / "lots.py").write_text(NET)
    rng = np.random.default_rng(0)
    for number in range(8):
        label = np.kron(rng.integers(0, CLASSES, (4, 6)), np.ones((4, 4), int)).astype(np.uint16)
        label[:4, :4], label[-2:] = 255, VOID
        image = np.stack([label % 7 * 40, label // 7 % 7 * 40, label // 49 * 40], 2).astype(
            np.uint8
        )
        for folder, array in (("OLD", image), ("NEW", 255 - image), ("LABELS", label)):
            write_png(place / folder / f"{number}.png", array)
    return place


def test_void_is_the_largest_value_of_the_masks_type() -> None:
    for classes, kind, void in ((2, np.uint8, 255), (255, np.uint8, 255), (256, np.uint16, VOID),
                                (65_535, np.uint16, VOID)):  # fmt: skip
        assert (index_type(classes), void_of(classes)) == (kind, void)


def test_a_mask_file_of_16_bits_keeps_values_codes_and_void(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 299, VOID, 400]], np.uint16)
    write_png(tmp_path / "m.png", values)
    assert Image.open(tmp_path / "m.png").mode == "I;16"
    assert np.array_equal(read_indices(tmp_path / "m.png"), values)
    found = read_mask(tmp_path / "m.png", CLASSES, [400])
    assert found.dtype == np.uint16 and found.tolist() == [[0, 255, 256, 299, VOID, VOID]]
    with pytest.raises(
        InputError, match=r"label 400 \(1 pixels\) is out of range; .*void is \[65535"
    ):
        read_mask(tmp_path / "m.png", CLASSES)
    found = read_mask(tmp_path / "m.png", 3, [0, VOID, 299, 256], [400, 255, 7])
    assert found.dtype == np.uint8 and found.tolist() == [[255, 1, 255, 255, 255, 0]]


@pytest.mark.parametrize("classes", [CLASSES, 1001])
def test_counts_are_those_of_the_whole_matrix(classes: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 5, 255, 299, VOID], (20, 30)).astype(np.uint16)
    prediction = np.where(rng.random(truth.shape) < 0.5, truth, 299).clip(0, 299).astype(np.uint16)
    found = tally(truth, prediction, classes)
    assert np.array_equal(found, per_class(confusion(truth, prediction, classes)))
    assert found.shape == (3, classes) and found[1].sum() == (truth != VOID).sum()
    assert found[0, 255] == ((truth == 255) & (prediction == 255)).sum() > 0


def test_what_augmentation_uncovers_is_void_in_labels_of_either_type() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    config = DataConfig(rotate=45, crop=[24, 24], scale=[0.5, 1.5])
    for kind in (np.uint8, np.uint16):
        arrays = {
            "x1": image,
            "y": np.full((16, 16), 7, kind),
            "valid": np.ones((16, 16), np.uint8),
        }
        for seed in range(4):
            found = PairedAugmentation(config)(arrays, seed)
            assert found["y"].dtype == kind
            assert np.array_equal(found["y"], np.where(found["valid"], 7, np.iinfo(kind).max))


def test_cross_entropy_leaves_out_void_alone() -> None:
    logits = torch.randn(1, CLASSES, 2, 3)
    labels = torch.tensor([[[0, 255, VOID], [299, VOID, 7]]])
    wanted = nn.functional.cross_entropy(logits, labels.where(labels != VOID, -100))
    assert cross_entropy(logits, labels).item() == pytest.approx(wanted.item())


def test_colours_of_any_number_of_classes() -> None:
    many = np.array(voc_palette(1000)).reshape(-1, 3)
    assert len(np.unique(many, axis=0)) == 1000 and many[:256].ravel().tolist() == voc_palette()
    found = coloured(np.array([[0, 255, 299, VOID]], np.uint16), CLASSES)
    assert found.tolist() == [[*palette(CLASSES)[[0, 255, 299]].tolist(), [0, 0, 0]]]


def test_three_hundred_classes_from_training_to_masks(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What evaluate counts is what its masks' files hold, and the loss is theirs too."""
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    permit("lots:many")
    data = DataConfig("pairs", "OLD", labels="LABELS", classes=[f"k{i}" for i in range(CLASSES)],
                      parts={"a": 0.5, "val": 0.5}, rotate=20, crop=[12, 20])  # fmt: skip
    made = TrainConfig(
        run="teacher", start="none", data=data, network=NetworkConfig(factory="lots:many"), steps=2,
        objective=ObjectiveConfig(supervised=SupervisedConfig(1.0)), batch=2, log_every=1, **CPU,
    )  # fmt: skip
    train(made)
    student = replace(
        made, run="run", start="", teacher="teacher", data=DataConfig(target="NEW"), domain="d2",
        network=NetworkConfig(), objective=ObjectiveConfig(kd=KDConfig(1.0)),
    )  # fmt: skip
    adapt(student)
    found = read_mapping(evaluate(EvaluateConfig(run="run", split="val", loss=True, **CPU)))
    out = predictions(
        PredictConfig(run="run", split="val", out="masks", overlay=0.5, probabilities=True, **CPU)
    )
    total, costs = np.zeros((CLASSES, CLASSES + 1), np.int64), []
    masks = sorted(out.glob("*.png"))
    assert len(masks) == 4 and all(Image.open(mask).mode == "I;16" for mask in masks)
    for mask in masks:
        truth = read_mask(home / "LABELS" / mask.name, CLASSES)
        total += confusion(truth, read_mask(mask, CLASSES), CLASSES)
        chances = np.load(out / "probabilities" / f"{mask.stem}.npz")["probabilities"]
        y, x = np.nonzero(truth != VOID)
        costs.append(-np.log(chances[truth[y, x], y, x].astype(np.float64)))
    assert found["truth"]["miou"] == pytest.approx(scores_of(per_class(total)).miou)
    assert found["confusion"] is None, "10^5 cells and more are not written"
    assert found["loss"] == pytest.approx(np.concatenate(costs).mean(), rel=1e-3)
    assert found["void"] == pytest.approx(100 * 2 / 16)
    overlay = np.array(Image.open(out / "overlay" / masks[0].name), float)
    colours = np.array(voc_palette(CLASSES)).reshape(-1, 3)[read_indices(masks[0])]
    wanted = (np.array(Image.open(home / "NEW" / masks[0].name)) + colours) / 2
    assert np.abs(overlay - wanted).max() <= 1
    verdict = read_verdict(home / "run")
    assert verdict and len(verdict.classes) == CLASSES
    (section,) = verdicts_section([record_of(home / "run", home)], 4)
    assert section["notes"] == [] and len(section["pairs"]) == len(verdict.pictures) == 4
    kept = read_indices(home / "run" / PICTURES / verdict.pictures[0] / "teacher_x1.png")
    assert kept.max() > 255
