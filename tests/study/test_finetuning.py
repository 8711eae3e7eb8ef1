"""Fine-tuning studies: the papers' settings, small runs from end to end, and the comparison."""

import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import image_trees
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from safetensors.torch import save_file

from adapt.cli.study import study as run_study
from adapt.data import DATASETS
from adapt.disk.files import read_json
from adapt.disk.runs import read_config
from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks.pretrained import head_of
from adapt.settings.groups import NetworkConfig
from adapt.settings.mapping import build
from adapt.settings.study import StudyConfig
from adapt.study.grid import FineTuning
from adapt.training.schedules import factor
from viz.report.comparison import PAPERS, cells, compare, for_report

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(p.stem for p in (ROOT / "configs/experiment").glob("li2018_*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def composer() -> Iterator[None]:
    ConfigStore.instance().store(name="study_schema", node=StudyConfig)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        yield


def made(name: str, *overrides: str) -> StudyConfig:
    composed = compose("study", [f"experiment={name}", *overrides])
    return build(StudyConfig, OmegaConf.to_container(composed, resolve=True))


def study(*overrides: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/study.py"), *overrides, "device=cpu"],
        cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", [e for e in EXPERIMENTS if "cityscapes" not in e and "sbd" not in e]
)
def test_image_experiments_have_the_papers_settings(name: str) -> None:
    config = made(name)
    assert config.network.name == "resnet101"
    assert name.removeprefix("li2018_").startswith(config.data.name.removesuffix("256"))
    assert (config.data.resize, config.data.crop, config.data.flip) == (
        [256, 256],
        [224, 224],
        True,
    )
    stage = config.supervised
    assert (stage.steps, config.batch, len(config.seeds), stage.start) == (9000, 64, 5, "imagenet")
    assert (stage.schedule.optimizer, stage.schedule.momentum) == ("sgd", 0.9)
    rates = [factor(step, 9000, stage.schedule) for step in range(9000)]
    assert rates[5999] == 1 and rates[6000] == pytest.approx(0.1) and set(rates) == {1, rates[-1]}
    assert {p.name for p in config.penalties.values()} == {"l2", "l2_sp"}
    assert {p.beta for p in config.penalties.values()} == {0.01}
    assert [p.crops for p in config.protocols.values()] == [1, 10]
    assert DATASETS[config.data.name].classification
    star = made(name, "data.resize=[256]", f"name={name}_star")
    assert star.data.resize == [256] and FineTuning(star).root.name == f"{name}_star"


SEGMENTATION = {
    "li2018_cityscapes_fcn": ("fcn8s_vgg16", 2, 800, "constant", "train", []),
    "li2018_cityscapes_resnet101": ("dilated_resnet101", 2, 800, "poly", "affine", []),
    "li2018_cityscapes_deeplab": ("deeplabv2_resnet101", 2, 800, "poly", "affine", []),
    "li2018_cityscapes_pspnet": ("pspnet_resnet101", 16, 624, "poly", "train", [0.5, 2.0]),
    "li2018_cityscapes_pspnet836": ("pspnet_resnet101", 8, 836, "poly", "train", [0.5, 2.0]),
    "li2018_sbd_pspnet": ("pspnet_resnet101", 16, 480, "poly", "train", [0.5, 2.0]),
}
"""Network, batch, crop, rate, batch norm and random scale: 000, section IV.B; 001, table 3."""


@pytest.mark.parametrize("name", [e for e in EXPERIMENTS if "cityscapes" in e or "sbd" in e])
def test_segmentation_experiments_have_the_papers_settings(name: str) -> None:
    config = made(name)
    network, batch, crop, schedule, bn, scale = SEGMENTATION[name]
    assert (config.network.name, config.batch, config.bn) == (network, batch, bn)
    assert (config.data.crop, config.data.scale) == ([crop, crop], scale)
    assert config.data.name == ("voc" if "sbd" in name else "cityscapes")
    assert (
        config.supervised.schedule.name == schedule and config.supervised.schedule.momentum == 0.9
    )
    for penalty in config.penalties.values():
        assert penalty.alpha in (1e-2, 1e-3, 1e-4) and penalty.beta in (1e-3, 1e-4)
    assert config.protocols["multiscale"].flip and len(config.protocols["multiscale"].scales) == 6
    windows = [p.window for p in config.protocols.values()]
    assert windows == ([[crop, crop]] * 2 if "pspnet" in name else [[], []])


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("fcn8s_vgg16", 0.1), ("dilated_resnet101", 0.1), ("deeplabv2_resnet101", 3.4),
        ("pspnet_resnet101", 37.5),
    ],
)  # fmt: skip
def test_the_share_of_new_parameters_is_the_papers(name: str, share: float) -> None:
    """000, section IV.D.4: FCN below 0.1 %, ResNet-101 0.1 %, DeepLab 3.4 %, PSPNet 37.5 %, of
    which 2.3 points are the auxiliary head that ours does not have."""
    config = NetworkConfig(name=name)
    with torch.device("meta"):
        parameters = {k: p.numel() for k, p in build_network(config, 19).named_parameters()}
    if name.startswith("pspnet"):
        new = {k for k in parameters if not k.startswith("backbone.")}
        found = 100 * sum(parameters[k] for k in new) / sum(parameters.values())
        assert found == pytest.approx(35.2, abs=0.1)
        auxiliary = 1024 * 256 * 9 + 2 * 256 + 257 * 19
        new_ones = sum(parameters[k] for k in new) + auxiliary
        found = 100 * new_ones / (sum(parameters.values()) + auxiliary)
        assert found == pytest.approx(share, abs=0.3)
        return
    head = head_of(config) & parameters.keys()
    found = 100 * sum(parameters[k] for k in head) / sum(parameters.values())
    assert found < share if name.startswith("fcn") else found == pytest.approx(share, abs=0.25)


def test_trainings_differ_in_penalty_and_seed_only(tmp_path: Path) -> None:
    config = made("li2018_dogs120", f"runs={tmp_path}", "seeds=[0,7]")
    planned = FineTuning(config)
    trainings = {
        (seed, name): planned.tuning(seed, name, penalty)
        for seed in config.seeds
        for name, penalty in config.penalties.items()
    }
    first = trainings[0, "l2"]
    for (seed, name), training in trainings.items():
        assert (training.seed, training.penalty.name) == (seed, name)
        assert training.run == str(tmp_path / f"seed{seed}" / name)
        same = ("data", "network", "start", "steps", "batch", "schedule", "bn", "objective")
        assert all(getattr(training, f) == getattr(first, f) for f in same)
    names = [cell.name.split(" on ")[0] for cell in planned.cells()]
    assert names[:3] == ["train seed0/l2", "evaluate seed0/l2", "evaluate seed0/l2"]
    assert len(names) == 2 * 2 * 3


@pytest.fixture(scope="module")
def indoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """experiment=li2018_indoor67 on a small tree, from a stand-in for a Places checkpoint."""
    home = tmp_path_factory.mktemp("indoor")
    image_trees.indoor67(home / "photos")
    torch.manual_seed(0)
    places = build_network(NetworkConfig(name="resnet18"), 365)
    torch.save({"state_dict": places.state_dict(), "arch": "resnet18"}, home / "places.pth.tar")
    study(*SMALL, cwd=home)
    return home


SMALL = [
    "experiment=li2018_indoor67", "data.root=photos", "supervised.start=backbone:places.pth.tar",
    "network.name=resnet18", "data.resize=[40]", "data.crop=[32,32]", "batch=6", "seeds=[0,1]",
    "supervised.steps=6", "runs=runs", "penalties.l2_sp.alpha=0.01",
]  # fmt: skip


def test_the_comparison_has_means_and_deviations_over_seeds(indoor: Path) -> None:
    found = read_json(indoor / "runs/comparison.json")
    rows = {(r["penalty"], r["protocol"]): r for r in found["rows"]}
    assert rows.keys() == {(p, c) for p in ("l2", "l2_sp") for c in ("centre", "ten_crops")}
    for (penalty, protocol), row in rows.items():
        ending = "" if protocol == "centre" else "_crops10"
        metrics = [
            read_json(indoor / f"runs/seed{s}/{penalty}/metrics_indoor67_d1_test{ending}.json")
            for s in (0, 1)
        ]
        values = [m["truth"]["top1"] for m in metrics]
        score = row["scores"]["top1"]
        assert score["mean"] == pytest.approx(statistics.mean(values))
        assert score["std"] == pytest.approx(statistics.stdev(values)) and score["n"] == 2
        each = [m["truth"]["accuracy"] for m in metrics]
        wanted = [statistics.mean(pair) for pair in zip(*each, strict=True)]
        assert found["columns"][f"{penalty} {protocol}"] == pytest.approx(wanted)
    table = list(csv.DictReader((indoor / "runs/comparison_classes.csv").open()))
    assert [r["class"] for r in table] == ["airport_inside", "bakery", "kitchen"]
    assert float(table[1]["l2 centre"]) == pytest.approx(found["columns"]["l2 centre"][1], abs=0.01)


def test_the_papers_figures_stand_beside_and_are_told_apart(indoor: Path) -> None:
    found = read_json(indoor / "runs/comparison.json")
    paper = {(r["penalty"], r["protocol"]): r["paper"] for r in found["rows"]}
    assert (paper["l2", "centre"]["mean"], paper["l2_sp", "centre"]["mean"]) == (79.6, 84.2)
    assert paper["l2", "ten_crops"] is None, "the starred figures are of another training"
    assert not any(r["same_counts"] for r in found["rows"])
    for row in found["rows"]:
        assert row["counts"] == {"train": 12, "evaluated": 6, "classes": 3}
        assert row["start"] == "backbone:places.pth.tar"
    shown = cells(
        next(r for r in found["rows"] if (r["penalty"], r["protocol"]) == ("l2", "centre"))
    )
    assert shown[-1] == "79.6 ± 0.5 (Table 2, from Places 365), other data"
    html = (indoor / "runs/report.html").read_text()
    assert "Fine-tuning" in html and "comparable only if" in html and "top-1" in html
    assert "airport_inside" in html and for_report(indoor) is None


def test_it_goes_on_where_it_was_stopped(
    indoor: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (indoor / "runs/seed1/l2_sp/metrics_indoor67_d1_test_crops10.json").unlink()
    monkeypatch.chdir(indoor)
    run_study(made("li2018_indoor67", *SMALL[1:], "device=cpu"))
    done = [line for line in capsys.readouterr().out.splitlines() if "] done" in line]
    assert len(done) == 1 and "[12/12]" in done[0]
    penalty = read_config(indoor / "runs/seed1/l2_sp")["penalty"]
    assert (penalty["name"], penalty["alpha"], penalty["beta"]) == ("l2_sp", 0.01, 0.01)
    gone = made("li2018_indoor67", *SMALL[1:], "supervised.start=backbone:no.pth", "runs=gone")
    with pytest.raises(InputError, match=r"^no\.pth: no such file"):
        run_study(gone)
    assert not (indoor / "gone").exists()


def test_equal_counts_make_the_papers_figure_comparable(
    indoor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = read_json(PAPERS)
    for data in papers["data"]:
        if "li2018_indoor67" in data["experiments"]:
            data |= {"train": 12, "evaluated": 6, "classes": 3}
    (tmp_path / "papers.json").write_text(json.dumps(papers))
    monkeypatch.setattr("viz.report.comparison.PAPERS", tmp_path / "papers.json")
    config = made("li2018_indoor67", f"runs={indoor / 'runs'}")
    assert all(row["same_counts"] for row in compare(FineTuning(config))["rows"])


def test_a_segmentation_study_from_a_body_to_its_class_table(
    tmp_path: Path, voc_tree: Callable[..., Path]
) -> None:
    """FCN at width 1/32 on VOC's layout, as the header of li2018_sbd_pspnet says it."""
    voc_tree(tmp_path / "voc")
    config = NetworkConfig(name="fcn8s_vgg16", width=1 / 32)
    save_file(build_network(config, 81).state_dict(), tmp_path / "coco.safetensors")
    study(
        "experiment=li2018_sbd_pspnet", "network=fcn8s_vgg16", "network.width=0.03125",
        "supervised.schedule.name=constant", "supervised.start=backbone:coco.safetensors",
        "data.root=voc", "data.train_split=train", "data.crop=[32,32]", "supervised.steps=2",
        "batch=2", "protocols.whole.window=[32,32]", "protocols.multiscale.window=[32,32]",
        "protocols.multiscale.scales=[1.0,1.25]", "runs=runs", cwd=tmp_path,
    )  # fmt: skip
    found = read_json(tmp_path / "runs/comparison.json")
    assert {(r["penalty"], r["protocol"], r["paper"]["mean"]) for r in found["rows"]} == {
        ("l2", "whole", 77.5), ("l2_sp", "whole", 78.5), ("l2", "multiscale", 78.3),
        ("l2_sp", "multiscale", 79.9),
    }  # fmt: skip
    assert len(found["classes"]) == 21 and all(len(c) == 21 for c in found["columns"].values())
    metrics = read_json(next((tmp_path / "runs/seed0/l2").glob("metrics_*flip.json")))
    assert found["columns"]["l2 multiscale"] == metrics["truth"]["iou"]


def test_the_papers_class_table_is_consistent_and_lies_beside_ours() -> None:
    """000, tables II and III: the mean over the printed classes is the printed mIoU."""
    papers = read_json(PAPERS)
    tables = [f for f in papers["figures"] if "per_class" in f]
    assert len(tables) == 18
    for figure in tables:
        assert len(figure["per_class"]) == 19
        assert statistics.mean(figure["per_class"]) == pytest.approx(figure["mean"], abs=0.06)
    named = {
        f["experiment"].removesuffix("_star").removesuffix("_coco").removesuffix("_extra")
        for f in papers["figures"]
    }
    assert named == set(EXPERIMENTS)
    assert {f["paper"] for f in papers["figures"]} == papers["papers"].keys()
    splits = {(made(e).split, e) for e in EXPERIMENTS}
    for figure in papers["figures"]:
        if figure["experiment"] in EXPERIMENTS and figure["split"] not in ("test", "source"):
            assert (figure["split"], figure["experiment"]) in splits
            assert figure["protocol"] in made(figure["experiment"]).protocols
