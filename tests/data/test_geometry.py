"""Images and masks of several sizes come to one geometry, in training and in scores alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from adapt.data import DataSet, Sample
from adapt.data.augment import centred
from adapt.data.images import IGNORE, write_png
from adapt.data.sampling import Batch, Decoder, Stream, batches, check_sizes
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, evaluate_networks
from adapt.evaluation.predict import predictions
from adapt.machine.runtime import runtime
from adapt.objective.distances import mean_distance
from adapt.settings.commands import PredictConfig
from adapt.settings.groups import DataConfig, NetworkConfig

OLD, NEW, LABEL = (24, 32), (48, 96), (12, 16)
"""Sizes of x1; of x2, whose rows are those of x1 and whose columns go on at both sides; of y1."""
SIZES = {"stretch": [24, 32], "crop": [24, 32], "pad": [24, 48]}


def shown(size: tuple[int, int], wider: bool = False) -> np.ndarray:
    """Rows and columns of a scene, 0..200 from the first edge of x1 to its last, as an image."""
    row, column = ((np.arange(side) + 0.5) / side for side in size)
    column = 1.5 * column - 0.25 if wider else column
    values = np.meshgrid(200 * column, 200 * row)
    return np.dstack([*values, np.zeros(size)]).clip(0, 255).astype(np.uint8)


def pair(folder: Path, fit: str) -> DataSet:
    """A pair of which x2 sees more at both sides, unless it is to be stretched; y1 has half the
    resolution of x1 and its rows; `valid` is x2's, and all of it is."""
    arrays = {
        "x1": shown(OLD), "x2": shown(NEW, wider=fit != "stretch"),
        "y1": shown(LABEL)[..., 1], "valid": np.full(NEW, 255, np.uint8),
    }  # fmt: skip
    for field, array in arrays.items():
        write_png(folder / f"{field}.png", array)
    sample = Sample("s", **{field: folder / f"{field}.png" for field in arrays})
    return DataSet("pairs", "train", tuple(f"row{i}" for i in range(201)), (), (sample,))


@pytest.mark.parametrize("fit", SIZES)
def test_what_stands_at_one_place_of_x1_stands_there_in_all_arrays(
    tmp_path: Path, fit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, config = pair(tmp_path, fit), DataConfig(resize=SIZES[fit], fit=fit, flip=False)
    fields = ["x1", "x2", "y1", "valid"]
    decode = Decoder(data, config, fields)
    check_sizes(data, config, fields)
    how = {"stretch": "stretched", "crop": "cut around the middle", "pad": "padded"}[fit]
    words = "sizes (H x W): x1 of 24x32, x2 of 48x96 are brought to"
    assert (line := capsys.readouterr().out).startswith(words) and how in line
    found = decode(data.samples[0])
    assert {a.shape[:2] for a in found.values()} == {tuple(SIZES[fit])}
    valid = found["valid"] == 1
    covered = np.zeros(valid.shape, bool)
    covered[:, 8:40] = True  # by x1, where it is padded
    assert np.array_equal(valid, covered if fit == "pad" else np.ones_like(valid))
    apart = np.abs(found["x1"].astype(int) - found["x2"])[valid]
    assert apart.max() <= 3
    assert np.abs(found["y"][valid].astype(int) - found["x1"][valid][:, 1]).max() <= 10
    assert (found["y"][~valid] == IGNORE).all() and (found["x1"][~valid] == 0).all()
    batch = Stream(data, config, fields, seed=0)[0]
    x1, x2, mask = (batch[key][None].float() for key in ("x1", "x2", "valid"))
    assert mean_distance(x2, x1, mask) < 9 < mean_distance(x2, x1) or fit != "pad"


@pytest.mark.parametrize("shape", [(7, 9), (4, 12), (10, 5), (6, 10)])
def test_centring_twice_puts_what_is_left_back_in_its_place(shape: tuple[int, int]) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(6, 10)
    back = centred(centred(array, shape, 99), array.shape, 99)
    assert back.shape == array.shape and ((back == array) | (back == 99)).all()
    assert (back == array).sum() == min(6, shape[0]) * min(10, shape[1])


# ---- scores


class Pixels(nn.Module):
    """Some function of each pixel and its neighbours, as logits at half the resolution."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def made(folder: Path, arrays: dict[str, np.ndarray]) -> Sample:
    for field, array in arrays.items():
        write_png(folder / f"{field}.png", array)
    return Sample(folder.name, **{field: folder / f"{field}.png" for field in arrays})


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_scores_are_those_of_images_and_labels_cut_or_padded_by_hand(
    tmp_path: Path, fit: str
) -> None:
    """x1 is 24x32 and x2 48x96 with labels of its own; the frame is square."""
    rng = np.random.default_rng(0)
    own, prepared = [], []
    for number in range(3):
        arrays = {
            "x1": rng.integers(0, 256, (*OLD, 3), dtype=np.uint8),
            "x2": rng.integers(0, 256, (*NEW, 3), dtype=np.uint8),
            "y1": rng.integers(0, 4, OLD).astype(np.uint8),
            "y2": rng.integers(0, 4, NEW).astype(np.uint8),
            "valid": rng.integers(0, 2, OLD).astype(np.uint8) * 255,
        }
        own.append(made(tmp_path / "own" / str(number), arrays))
        by_hand = {}
        for field, array in arrays.items():
            height, width = array.shape[:2]
            if fit == "crop":
                left = (width - height) // 2
                by_hand[field] = array[:, left : left + height]
            else:
                edge = (width - height) // 2
                fill = IGNORE if field in ("y1", "y2") else 0
                sides = [(edge, edge), (0, 0), (0, 0)][: array.ndim]
                by_hand[field] = np.pad(array, sides, constant_values=fill)
        if fit == "pad":  # what x2 does not show cannot be valid, at x1's resolution: rows 0..7
            seen = np.zeros((32, 32), bool)
            seen[8:24] = True
            by_hand["valid"] = np.where(seen, by_hand["valid"], 0).astype(np.uint8)
        prepared.append(made(tmp_path / "hand" / str(number), by_hand))
    data = DataSet("pairs", "val", tuple("abcd"), (), tuple(own))
    machine, nets = runtime("cpu", "fp32"), (Pixels(0).eval(), Pixels(1).eval())
    readings = [
        Reading(DataConfig(resize=[20, 20], fit=how), NetworkConfig(), 2, 0)
        for how in (fit, "stretch")
    ]
    for image in ("x1", "x2"):
        first, second = (
            evaluate_networks(machine, nets[0], reading, replace(data, samples=samples), image,
                              nets[1] if image == "x2" else None, loss=True)
            for reading, samples in zip(readings, (tuple(own), tuple(prepared)), strict=True)
        )  # fmt: skip
        assert first == second and first.truth is not None and first.loss is not None
        assert 0 < np.sum(first.confusion) <= 3 * 48 * 96


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_predictions_come_back_at_the_images_own_place(
    world: Path, tmp_path: Path, fit: str
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    by_hand = image[:, 20:60] if fit == "crop" else np.pad(image, [(20, 20), (0, 0), (0, 0)])
    found = {}
    for name, array, how in (("own", image, fit), ("hand", by_hand, "stretch")):
        write_png(tmp_path / name / "a.png", array)
        data = DataConfig(resize=[40, 40], fit=how, explicit=["fit"])
        config = PredictConfig(
            run=str(world / "teacher"), images=str(tmp_path / name), out=str(tmp_path / f"{name}_"),
            data=data, device="cpu", precision="fp32",
        )  # fmt: skip
        found[name] = cv2.imread(str(predictions(config) / "a.png"))[..., 0]
    if fit == "crop":
        assert np.array_equal(found["own"][:, 20:60], found["hand"])
        outside = np.delete(found["own"], np.s_[20:60], axis=1)
        assert len(np.unique(outside)) == 1 and outside.shape == (40, 40)
    else:
        assert np.array_equal(found["own"], found["hand"][20:60])


# ---- what is refused


REFUSED: dict[str, tuple[dict[str, Any], dict[str, tuple[int, int]], str]] = {
    "no size": ({}, {"x2": (48, 64)}, r"x2 .*x2.png \(48, 64\), .*; data.resize=\[24,32\]"),
    "no size, other shape": ({}, {"x2": (48, 48)}, "data.resize=.* or with data.fit=crop or pad"),
    "shorter side": ({"resize": [16], "crop": [8, 8]}, {"x2": (48, 48)}, "give data.resize=.*fit"),
    "a turned mask": ({"resize": [24, 32]}, {"y1": (32, 24)}, "y1 has the shape of no image"),
    "no frame": ({"fit": "pad"}, {}, r"data.fit=pad needs data.resize=\[height,width\]"),
    "batch": ({}, {"other": (24, 40)}, r"batch differ.*: s \(24, 32\), t \(24, 40\); give data.re"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_geometry_in_common_is_refused_by_name(tmp_path: Path, case: str) -> None:
    settings, sizes, words = REFUSED[case]
    fields = {"x1": OLD, "x2": OLD, "y1": OLD} | {k: v for k, v in sizes.items() if k != "other"}
    first = made(tmp_path / "s", {f: np.zeros(size, np.uint8) for f, size in fields.items()})
    other = dict.fromkeys(("x1", "x2", "y1"), sizes.get("other", fields["x1"]))
    second = made(tmp_path / "t", {f: np.zeros(size, np.uint8) for f, size in other.items()})
    data = DataSet("pairs", "train", ("a",), (), (first, second))
    with pytest.raises(InputError, match=words):  # from the headers, before a run
        check_sizes(data, DataConfig(**settings), [*fields], stacked=True)

    def read() -> list[Batch]:
        return list(batches(Stream(data, DataConfig(**settings), [*fields], 0), 2, 0, 1))

    with pytest.raises(InputError, match=words.split(": s")[0]):  # and as they are read
        read()


def test_a_label_of_x1s_shape_scores_x2(tmp_path: Path) -> None:
    """Only x2 and the label are read, and the label fits x1 alone."""
    arrays = {"x1": np.zeros(OLD, np.uint8), "x2": np.zeros(NEW, np.uint8),
              "y2": np.zeros(OLD, np.uint8)}  # fmt: skip
    sample = made(tmp_path / "s", arrays)
    data = DataSet("pairs", "val", ("a",), (), (sample,))
    decode = Decoder(data, DataConfig(resize=[24, 24], fit="crop"), ["x2", "y2"])
    assert {a.shape[:2] for a in decode(sample).values()} == {(24, 24)}
    with pytest.raises(InputError, match="sizes"):
        Decoder(data, DataConfig(resize=[24, 24]), ["x2", "y2"])(replace(sample, x1=sample.x2))
