"""experiment=thesis_e1 to thesis_e8: the thesis's settings, field by field, and small runs of them
on trees of the real layouts, from files of the shapes of ImageNet's weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from archives import make_archives
from commands import experiment
from torchvision import models
from trees import d3, lip

from adapt.cli.study import study
from adapt.data import load
from adapt.disk.files import read_json
from adapt.networks.sunet import SUNetClassifier
from adapt.study.fine_tuning import FineTuning
from adapt.training.schedules import factor

EXPERIMENTS = [f"thesis_e{number}" for number in range(1, 9)]
D1, D2 = 10_582, 28_280
"""Images of VOC and SBD without VOC's val, and of LIP's training list (tables 3.1 and 3.2)."""
SMALL = (
    "device=cpu", "batch=2", "data.crop=[33,33]", "supervised.steps=2", "supervised.eval_every=0",
    "runs=runs", "report=none",
)  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_the_theses_settings(name: str) -> None:
    """Section 6.1, tables 6.1 and 6.2."""
    config, number = experiment(name), int(name[-1])
    first, pretrained, both = number < 3, number % 2 == 0, number > 6
    stage, schedule, data = config.supervised, config.supervised.schedule, config.data
    assert (data.crop, data.scale, data.rotate, data.flip) == ([512, 512], [0.5, 2.0], 10.0, True)
    assert (config.batch, config.seeds, config.bn) == (10, [0], "train")
    assert (config.network.mean, config.network.std) == (
        [0.485, 0.456, 0.406], [0.229, 0.224, 0.225],
    )  # fmt: skip
    assert config.network.name == ("fcn32s_resnet18" if first else "sunet64")
    assert config.network.width == 1
    assert data.name == ("lip" if number in (5, 6) else "voc")
    assert data.share == (0.5 if first else 1) and not data.train_split
    assert [*data.tasks, *config.also.tasks] == (["semantic", "parts"] if both else [])
    assert config.also.name == ("lip" if both else "")
    images = {"lip": D2, "voc": D1}[data.name] * data.share + D2 * both
    epochs = (100 if first else 90) if pretrained else 300
    assert stage.steps * config.batch == pytest.approx(epochs * images, abs=10 * config.batch)
    assert stage.eval_every == images // config.batch and config.loss
    assert (config.split, config.selection) == ("val", "train")
    assert (schedule.optimizer, schedule.momentum, schedule.warmup) == ("sgd", 0.9, 0)
    shares = [factor(step, 300, schedule) for step in (0, 100, 150, 200)]
    assert shares == pytest.approx([1, 0.75, 0.5, 0.25]), "equation 6.3, of the first rate"
    rates = [schedule.lr * k for k in (schedule.shared_multiplier, schedule.new_multiplier)]
    rate = 5e-3 if first else 2e-3
    assert rates == pytest.approx([rate / 10 if pretrained else rate, rate])
    assert schedule.asynchronous == (10 if both else 0) and schedule.weight_decay == 0
    decays = {p.alpha if p.name == "l2" else 0 for p in config.penalties.values()}
    assert decays == ({0, 1e-4, 5e-4, 1e-3} if first else {5e-4})
    for penalty in config.penalties.values():
        assert penalty.alpha == penalty.beta and penalty.name in ("none", "l2")
        assert penalty.kinds == "all" or penalty.name == "none"
    start = {True: "imagenet" if first else "backbone:data/sunet64_imagenet.pth", False: "none"}
    assert stage.start == start[pretrained]


def test_the_first_series_runs_from_imagenet_on_vocs_and_sbds_layout(
    voc_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the decays; half of the six images; the body starts as the file says."""
    make_archives(tmp_path, voc_tree)
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", "https://example.org/resnet18.pth")
    torch.save(models.resnet18().state_dict(), cache / "resnet18.pth")
    study(experiment(
        "thesis_e2", "data.root=VOCdevkit/VOC2012", "data.sbd=benchmark_RELEASE/dataset",
        "~penalties.none", "~penalties.l2_1em4", "~penalties.l2_1em3", *SMALL,
    ))  # fmt: skip
    run = Path("runs/seed0/l2_5em4")
    summary = read_json(run / "summary.json")
    assert summary["samples"] == 3, "half of VOC's four and SBD's two"
    assert summary["parameters"]["shared"] == 11_176_512
    scores = [read_json(p) for p in sorted(run.glob("metrics_*.json"))]
    assert [s["split"] for s in scores] == ["train", "val"]
    assert all(s["loss"] > 0 and len(s["classes"]) == 21 for s in scores)


def imagenet() -> None:
    """A file of the shapes of SUNet's ImageNet weights, at width 1/8."""
    Path("data").mkdir()
    torch.save(SUNetClassifier(1000, 0.125).state_dict(), "data/sunet64_imagenet.pth")


def test_both_tasks_are_trained_together_on_two_data_sets_and_on_one(
    voc_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E8 as it stands, and on D3 as the header of base/thesis_second says it."""
    voc_tree(tmp_path / "voc", train=3, val=1)
    lip(tmp_path / "lip")
    d3(tmp_path / "both")
    monkeypatch.chdir(tmp_path)
    imagenet()
    small = ("network.width=0.125", *SMALL)
    two = experiment(
        "thesis_e8",
        "data.root=voc",
        "data.train_split=train",
        "also.root=lip",
        "supervised.schedule.asynchronous=2",
        *small,
    )
    one = experiment(
        "thesis_e8", "data=d3", "data.root=both", "data.sbd=sbd", "+data.tasks.parts={}",
        "also.name=", "supervised.schedule.asynchronous=0", "name=thesis_e8_d3", *small[:-2],
        "runs=d3", "report=none",
    )  # fmt: skip
    assert set(load(one.data, "train").tasks) == {"semantic", "parts"}
    for config in (two, one):
        study(config)
        run = FineTuning(config).root / "seed0/l2"
        for task, classes in (("semantic", 21), ("parts", 7 if config is one else 20)):
            (found,) = run.glob(f"metrics_*_val*{task}.json")
            assert len(read_json(found)["truth"]["iou"]) == classes
        assert all(cell.result.is_file() for cell in FineTuning(config).cells()), "none is redone"
        compared = read_json(FineTuning(config).root / "comparison.json")
        assert [row["label"] for row in compared["rows"]] == ["l2 parts", "l2 semantic"]
        assert compared["classes"][0] == "parts: background"
        assert len(compared["columns"]["l2"]) == len(compared["classes"])
