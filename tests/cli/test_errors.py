"""What is refused, in calls that no other test makes: one row a message."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import POOL3, SUPERVISED, adapting, edit_record, teaching
from torch import nn

from adapt.cli.study import study
from adapt.data import load
from adapt.data.classification import classes_in, entries
from adapt.data.files import Lookup
from adapt.data.images import image_header
from adapt.data.index import write_index
from adapt.data.parts import cut
from adapt.data.segmentation import frames, label_tables
from adapt.data.tiff import read_tiff
from adapt.disk.runs import open_run
from adapt.disk.tensors import read_metadata
from adapt.errors import InputError, Stopped
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import views
from adapt.evaluation.protocol import predict, whole_logits
from adapt.export import export, refuse_sizes
from adapt.export.onnx_graph import onnx_bytes
from adapt.machine.runtime import runtime
from adapt.networks import build_network
from adapt.networks.factory import permit
from adapt.networks.pretrained import enum_of
from adapt.networks.saved import load_complete, load_model, numbered, save_model
from adapt.objective.terms import regression
from adapt.settings.commands import CalibrateConfig, DistortConfig, EvaluateConfig, ExportConfig
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    ScheduleConfig,
    ShiftConfig,
)
from adapt.settings.mapping import build
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.settings.viz import InvertConfig, ReportConfig
from adapt.shift.calibrate import calibrate
from adapt.shift.distort import make_distorted
from adapt.study.cells import check_study
from adapt.training.freezing import freeze_first
from adapt.training.train import train
from viz.inversion.command import check_names
from viz.inversion.style import invert_image

STUDIES: dict[str, tuple[dict[str, Any], str]] = {
    "a candidate that its filter refuses": (
        {"shifts": {"old": ShiftConfig("photocopy", candidates=[{"black": 7}])}},
        r"shifts\.old: shift\.parameters of photocopy: black must"),
    "a folder of no name": ({"shifts": {"a/b": ShiftConfig()}}, "shifts: 'a/b' cannot"),
    "an objective without terms": ({"objectives": {"x": ObjectiveConfig("x")}}, "objective 'x'"),
    "seeds that repeat": ({"seeds": [1, 1]}, r"seeds is \[1, 1\]"),
    "a split of no name": ({"selection": "tset"}, r"tset\.txt: no such list"),
    "a machine that is not there": ({"device": "cuda:77"}, "device: 'cuda:77'"),
}  # fmt: skip
Refusal = Callable[[Path, Path], object]
"""(the world of conftest.py, a folder for this test) -> raises."""
NETWORK = NetworkConfig(width=1 / 32, batch_norm=True)


class Skips(nn.Module):
    """A layer that the forward pass leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


class Broken(nn.Module):
    """Logits that are not finite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float("nan")


class Whole(nn.Module):
    """One label an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def text(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def photo(path: Path, colour: tuple[int, int, int] = (1, 2, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), colour).save(path)
    return path


def unlabelled(world: Path, place: Path) -> None:
    for side in ("old", "new"):
        photo(place / side / "a.png")
    data = DataConfig("pairs", str(place / "old"), str(place / "new"), classes=["a"], crop=[8, 8])
    train(teaching(world, run=str(place / "run"), data=data))


def unscored(world: Path, place: Path) -> None:
    photo(place / "old" / "a.png")
    data = DataConfig("pairs", str(place / "old"), parts={"val": 1.0})
    calibrate(CalibrateConfig(
        teacher=str(world / "teacher"), data=data, out=str(place / "c.json"),
        shift=ShiftConfig("photocopy", candidates=[{"black": 0.1}]), device="cpu",
    ))  # fmt: skip


def other_outputs(world: Path, place: Path) -> None:
    """A network of its own that ignores how many classes there are."""
    text(place / "own_of_two.py", "from torch import nn\nmake = lambda: nn.Conv2d(3, 2, 1)")
    save_file(nn.Conv2d(3, 2, 1).state_dict(), place / "w.safetensors")
    config = NetworkConfig(factory="own_of_two:make")
    permit(config.factory)
    load_complete(str(place / "w.safetensors"), config, ("a", "b", "c"), "start", (64, 64))


def not_the_classes(world: Path, place: Path) -> None:
    classes = [f"class {i}" for i in range(3)]
    data = DataConfig("pairs", str(world / "d1/train"), str(world / "d2/train"), classes=classes)
    train(adapting(world, place / "run", data=data))


def evaluated_on_others(world: Path, place: Path) -> None:
    photo(place / "old" / "a.png")
    data = DataConfig("pairs", str(place / "old"), classes=["a", "b"])
    evaluate(EvaluateConfig(run=str(world / "teacher"), data=data, split="train", device="cpu"))


def other_outputs_in_training(world: Path, place: Path) -> None:
    text(place / "own_of_four.py", "from torch import nn\nmake = lambda: nn.Conv2d(3, 4, 1)")
    permit("own_of_four:make")
    network = NetworkConfig(factory="own_of_four:make")
    train(teaching(world, run=str(place / "run"), network=network))


def of_five(place: Path) -> Path:
    """A run's folder with a network for five classes."""
    save_model(place / "five", build_network(NETWORK, 5), NETWORK, numbered(5))
    return place / "five"


def start_and_teacher(world: Path, place: Path) -> None:
    data = DataConfig("pairs", str(world / "d1/train"), str(world / "d2/train"), crop=[32, 32])
    start = str(of_five(place) / "model.safetensors")
    train(adapting(world, place / "run", data=data, start=start))


def agreement_with_others(world: Path, place: Path) -> None:
    data = DataConfig(target=str(world / "d2"))
    given = {"run": str(world / "teacher"), "teacher": str(of_five(place)), "domain": "d2"}
    evaluate(EvaluateConfig(**given, data=data, device="cpu"))


def of_one_class(world: Path, place: Path) -> None:
    save_model(place / "one", build_network(NETWORK, 1), NETWORK, ("class 0",))
    load_model(place / "one")


def described(**changes: object) -> Refusal:
    def call(world: Path, place: Path) -> None:
        edit_record(of_five(place) / "model.json", **changes)
        load_model(place / "five")

    return call


class Branches(nn.Module):
    """What it computes depends on the values that it sees, which no graph can hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.mean().item() > 0.1234 else x[:, :1]


def heavy() -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(2**15, 2**15)


REFUSED: dict[str, tuple[Refusal, str]] = {
    "calibrate without teacher": (lambda w, p: CalibrateConfig(), "teacher is empty"),
    "calibrate without labels": (unscored, "split 'val' of .*old has no labels"),
    "ten crops of no size": (
        lambda w, p: views(np.zeros((8, 8, 3), np.uint8), [], 10), r"protocol\.crops=10 needs"),
    "nowhere to write the twin": (lambda w, p: DistortConfig(), "out is empty"),
    "nothing to distort": (
        lambda w, p: make_distorted(DistortConfig(DataConfig("camvid"), out=str(p / "o"))),
        r"data\.root is empty"),
    "nothing to invert": (
        lambda w, p: InvertConfig(content=0.0, style=0.0), "content and style are both 0"),
    "two means": (lambda w, p: NetworkConfig(mean=[0.1, 0.2]), r"network\.mean is \[0\.1, 0\.2\]"),
    "a part of no list": (lambda w, p: cut([], {"a": 0.5}, 0, "b"), r"data\.part: 'b'.*all, a"),
    "a part without a name": (
        lambda w, p: DataConfig(parts={"": 0.5}), r"data\.parts: '' cannot name a part"),
    "more pixels than an image may have": (
        lambda w, p: DataConfig(crop=[10**6, 10**6]), r"data\.crop is \[1000000, 1000000\]"),
    "a warm-up that never ends": (
        lambda w, p: TrainConfig(steps=5, schedule=ScheduleConfig(warmup=6)),
        r"schedule\.warmup is 6, steps 5"),
    "no update": (
        lambda w, p: TrainConfig(steps=5, batch=2, schedule=ScheduleConfig(asynchronous=11)),
        r"asynchronous is 11, but 5 steps of 2 see 10 images"),
    "labels where none are read": (
        lambda w, p: load(DataConfig("camvid", str(w / "d1"), labels="l"), "train"),
        r"data\.labels is for data=pairs only; data is camvid"),
    "labels that a twin does not read": (
        lambda w, p: make_distorted(DistortConfig(
            DataConfig("camvid", str(w / "d1"), sbd="s"), out=str(p / "o"))),
        r"data\.sbd is for data=voc, d3 only"),
    "no class folders": (lambda w, p: classes_in(folder(p / "empty")), "empty: no folders inside"),
    "no frames": (
        lambda w, p: frames(folder(p / "city"), Lookup(), "_rain"), "that end in '_rain'"),
    "no list of dogs": (
        lambda w, p: entries(p / "train_list.mat"), r"train_list\.mat: no such list"),
    "no rows": (lambda w, p: write_index(p / "pairs.csv", [], (), "ACDC"), "no pairs of ACDC"),
    "files elsewhere": (
        lambda w, p: write_index(folder(p / "l") / "pairs.csv", [{"x1": p / "a.png"}], (), "ACDC"),
        r"a\.png lies outside .*--out"),
    "no labels of VOC": (
        lambda w, p: label_tables(DataConfig("voc"), p, Lookup()),
        "no SegmentationClass folder in"),
    "other classes": (evaluated_on_others, "teacher has 11 classes: .*; pairs has 2 classes: a, b"),
    "export of another resize": (
        lambda w, p: export(ExportConfig(
            str(w / "teacher"), out=str(p / "e"), formats=["safetensors"],
            data=DataConfig(resize=[32]),
        )),
        r"data\.resize=\[32\]"),
    "an ONNX graph of another size": (
        lambda w, p: refuse_sizes([(8, 8)], None, [8, 16]),
        r"model.onnx takes 8x16 only, but images are 8x8; give data\.resize=\[8, 16\]"),
    "a file of 2 GiB": (
        lambda w, p: onnx_bytes(heavy(), NETWORK, [8, 8], {}), r"4295098368 bytes; .*safetensors"),
    "a network with branches": (
        lambda w, p: onnx_bytes(Branches(), NETWORK, [], {}),
        r"Branches cannot be translated \(.*\); size=\[H,W\], .*; formats=\[safetensors\] does"),
    "a layer that never runs": (
        lambda w, p: freeze_first(Skips(), "unused", (8, 8)), "freeze=unused"),
    "no image": (lambda w, p: image_header(p / "no.png"), r"no\.png: no such image"),
    "no TIFF": (lambda w, p: read_tiff(p / "no.tif"), r"no\.tif: no such image"),
    "outputs that are not the data's": (
        other_outputs, r"start: .*w\.safetensors has 2 outputs; the data has 3 classes: a, b, c"),
    "outputs that are not the data's, without a start": (
        other_outputs_in_training, "network has 4 outputs; the data has 11 classes: sky, building"),
    "a start of other classes than the teacher": (
        start_and_teacher, "has 5 classes: class 0, .*; teacher: .* has 11 classes: sky, "),
    "a teacher of other classes than the run": (
        agreement_with_others, "teacher: .*five has 5 classes: .*teacher has 11 classes: sky"),
    "a description of another format": (
        described(format=7), r"model\.json: .*format 7; this is 2"),
    "a description without classes": (described(classes=None), r"model\.json: it has no classes"),
    "one class": (of_one_class, r"model\.json: one class.*one logit is two classes"),
    "no such enum": (
        lambda w, p: enum_of("ResNet50_Weights.BEST", NetworkConfig()), "ResNet50_Weights.BEST"),
    "no taps": (lambda w, p: regression(RegressionConfig(1.0)), r"taps is empty: name layers"),
    "a classifier for pixels": (
        lambda w, p: predict(
            runtime("cpu", "fp32"), Whole(), NETWORK, torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
            (8, 8)),
        r"network: its logits are \(1, 3\)"),
    "the loss of a classifier for pixels": (
        lambda w, p: whole_logits(
            runtime("cpu", "fp32"), Whole(), NETWORK, torch.zeros(1, 3, 8, 8, dtype=torch.uint8)),
        r"network: its logits are \(1, 3\)"),
    "no folder for the run": (lambda w, p: open_run(Path(), {}).__enter__(), "run is empty"),
    "no seed at all": (lambda w, p: StudyConfig(seeds=[]), "seeds is empty"),
    "nowhere to report": (lambda w, p: ReportConfig(out=""), "out is ''"),
    "a NUL": (lambda w, p: build(ReportConfig, {"runs": "a\0b"}), r"runs is 'a\\x00b'"),
    "labels of the old domain for a regression": (
        lambda w, p: train(adapting(
            w, p / "r", domain="d1", objective=replace(POOL3, supervised=SUPERVISED.supervised),
        )),
        "domain is d1; a supervised term"),
    "no new domain": (
        lambda w, p: train(adapting(w, p / "r", data=DataConfig())), r"data\.target is empty"),
    "no labels": (unlabelled, "data: pairs in .*old has unlabelled images"),
    "classes that are not the start's": (
        not_the_classes, "teacher has 11 classes: sky, .*; the data has 3 classes: class 0"),
    "no metadata": (lambda w, p: read_metadata(p / "no.safetensors"), "no such file"),
    "metadata of nothing": (
        lambda w, p: read_metadata(text(p / "f.safetensors", "text")), "not a readable"),
    "no names": (lambda w, p: check_names({}), "no networks given"),
    "nothing to compare": (
        lambda w, p: invert_image(
            Whole(), NETWORK, np.zeros((8, 8, 3), np.uint8), {}, content=1.0, style=1.0, tv=0.0,
            optimizer="adam", lr=0.1, steps=1, seed=0),
        r"taps is \{\}"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_words(
    name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is wrong and where; and nothing has been written by then."""
    monkeypatch.syspath_prepend(str(tmp_path))
    call, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        call(world, tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert not made & {"run", "o", "e", "c.json", "pairs.csv"}


def test_an_inversion_that_diverges_names_step_and_terms() -> None:
    with pytest.raises(Stopped, match=r"inversion, step \d+: .*content/0 is not finite"):
        invert_image(
            nn.Sequential(Broken()), NETWORK, np.zeros((8, 8, 3), np.uint8), {"0": 1.0},
            content=1.0, style=0.0, tv=0.0, optimizer="sgd", lr=1e30, steps=5, seed=0,
        )  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_refused_before_its_first_cell(name: str, world: Path, tmp_path: Path) -> None:
    changes, words = STUDIES[name]
    right = StudyConfig(
        runs=str(tmp_path / "study"), data=DataConfig("camvid", str(world / "d1")),
        shifts={"photocopy": ShiftConfig()}, objectives={"pool3": POOL3}, device="cpu",
    )  # fmt: skip
    check_study(right)
    with pytest.raises(InputError, match=words):
        study(replace(right, **changes))
    assert not (tmp_path / "study").exists()
