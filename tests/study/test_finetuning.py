"""Fine-tuning studies: the papers' settings, small runs from end to end, and the comparison."""

import csv
import json
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import image_trees
import pytest
import torch
from commands import experiment, run
from safetensors.torch import save_file

from adapt.cli.study import study as run_study
from adapt.data import DATASETS
from adapt.disk.files import read_json
from adapt.disk.runs import read_config
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.rows import images_path, read_image_scores
from adapt.networks import build_network
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import AlsoConfig, NetworkConfig
from adapt.settings.viz import ReportConfig
from adapt.study.fine_tuning import FineTuning
from adapt.training.schedules import factor
from viz.report.comparison import PAPERS, cells, compare, for_report
from viz.report.page import report

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(p.stem for p in (ROOT / "configs/experiment").glob("li2018_*.yaml"))
LIGHT = "shufflenet_v2_x0_5"
"""0.3 million weights, where resnet18 has 11."""


SEGMENTATION = {
    "li2018_cityscapes_fcn": ("fcn8s_vgg16", 2, 800, "constant", "train", []),
    "li2018_cityscapes_resnet101": ("dilated_resnet101", 2, 800, "poly", "affine", []),
    "li2018_cityscapes_deeplab": ("deeplabv2_resnet101", 2, 800, "poly", "affine", []),
    "li2018_cityscapes_pspnet": ("pspnet_resnet101", 16, 624, "poly", "train", [0.5, 2.0]),
    "li2018_cityscapes_pspnet836": ("pspnet_resnet101", 8, 836, "poly", "train", [0.5, 2.0]),
    "li2018_context_encnet": ("encnet_resnet50", 16, 480, "poly", "train", [0.5, 2.0]),
    "li2018_sbd_pspnet": ("pspnet_resnet101", 16, 480, "poly", "train", [0.5, 2.0]),
}
"""Network, batch, crop, rate, batch norm and random scale: 000, section IV.B; 001, table 3."""


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_the_papers_settings(name: str) -> None:
    config = experiment(name)
    stage, protocols = config.supervised, list(config.protocols.values())
    assert (stage.start, stage.schedule.optimizer, stage.schedule.momentum) == (
        "imagenet", "sgd", 0.9,
    )  # fmt: skip
    assert {p.name for p in config.penalties.values()} == {"l2", "l2_sp"}
    if DATASETS[config.data.name].classification:
        assert (config.network.name, config.batch, len(config.seeds)) == ("resnet101", 64, 5)
        assert (config.data.resize, config.data.crop) == ([256, 256], [224, 224])
        rates = [factor(step, 9000, stage.schedule) for step in range(stage.steps)]
        assert rates[5999] == 1 and rates[6000] == pytest.approx(0.1) and len(set(rates)) == 2
        assert {p.beta for p in config.penalties.values()} == {0.01}
        assert [p.crops for p in protocols] == [1, 10]
        return
    network, batch, crop, schedule, bn, scale = SEGMENTATION[name]
    assert (config.network.name, config.batch, config.bn) == (network, batch, bn)
    assert (config.data.crop, config.data.scale) == ([crop, crop], scale)
    assert stage.schedule.name == schedule
    for penalty in config.penalties.values():
        assert penalty.alpha in (1e-2, 1e-3, 1e-4) and penalty.beta in (1e-3, 1e-4)
    assert protocols[1].flip and len(protocols[1].scales) == 6
    assert config.network.auxiliary == (0.4 if "pspnet" in name else 0)
    windows = [[crop, crop]] * 2 if "pspnet" in name or "encnet" in name else [[], []]
    assert [p.window for p in protocols] == windows


def test_trainings_differ_in_penalty_and_seed_only(tmp_path: Path) -> None:
    config = experiment("li2018_dogs120", f"runs={tmp_path}", "seeds=[0,7]")
    planned = FineTuning(config)
    first = planned.tuning(0, "l2")
    for seed in config.seeds:
        for name, penalty in config.penalties.items():
            training = planned.tuning(seed, name)
            assert training.penalty.name == name
            run = str(tmp_path / f"seed{seed}" / name)
            assert training == replace(first, run=run, seed=seed, penalty=penalty)
    names = [cell.name.split(" on ")[0] for cell in planned.cells()]
    assert names[:3] == ["train seed0/l2", "evaluate seed0/l2", "evaluate seed0/l2"]
    assert len(names) == 2 * 2 * 3


def test_shares_and_frozen_layers_come_after_the_penalties(tmp_path: Path) -> None:
    """And what all start from comes before them, with its Fisher information and its analyses."""
    rate = "settings.l2.schedule.lr=0.3"
    config = experiment("camvid_transfer", f"runs={tmp_path}", "seeds=[3]", "shares=[0.25]", rate)
    planned = FineTuning(config)
    runs = {Path(t.run).name: t for t in planned.tunings(3)}
    names = list(config.penalties)
    frozen = [f"{name}_freeze_{k}" for k in (2, 4, 7, 10, 13) for name in ("l2", "l2_sp")]
    assert list(runs) == [*names, *(f"{n}_share_0.25" for n in names), *frozen]
    assert runs["l2_freeze_7"] == replace(
        runs["l2"], run=str(tmp_path / "seed3/l2_freeze_7"), freeze="7"
    )
    rates = {name: training.schedule.lr for name, training in runs.items()}
    assert {n for n, rate in rates.items() if rate == 0.3} == {
        n for n in runs if "l2_sp" not in n and "l2" in n
    }
    assert {rate for rate in rates.values() if rate != 0.3} == {config.supervised.schedule.lr}
    quarter = runs["l2_sp_share_0.25"]
    assert quarter.data == replace(runs["l2_sp"].data, share=0.25)
    assert {t.start for t in runs.values()} == {
        f"backbone:{tmp_path}/pretraining/model.safetensors"
    }
    fisher = str(tmp_path / "fisher.safetensors")
    assert runs["l2_sp_fisher"].penalty.fisher == runs["gl_sp_fisher"].penalty.fisher == fisher
    cells = [cell.name for cell in planned.cells()]
    assert cells[:3] == ["train pretraining", "fisher pretraining", "train seed3/none"]
    assert len(cells) == 2 + 4 * len(runs) and "analyse seed3/none" in cells
    joint = FineTuning(replace(config, also=AlsoConfig(name="scenes", root="scenes")))
    assert next(joint.tunings(3)).also.name == "scenes"
    assert not joint.pretraining(tmp_path).also.name


def test_a_source_task_is_learnt_and_what_is_kept_of_it_is_told(
    world: Path, tmp_path: Path, voc_tree: Callable[..., Path]
) -> None:
    """001's Table 5 by one command: its column is that of the analyses."""
    config = experiment(
        "camvid_transfer", f"data.root={world / 'd1'}", f"runs={tmp_path / 'runs'}", "device=cpu",
        "data.parts={fit: 0.75, tune: 0.25}", "data.resize=[48,64]", "data.crop=[32,40]",
        "network.width=0.03125", "pretraining.data.name=voc",
        "pretraining.data.train_split=train", "pretraining.data.crop=[32,40]",
        f"pretraining.data.root={voc_tree(tmp_path / 'voc')}", "pretraining.steps=2",
        "supervised.steps=2", "batch=2", "seeds=[0]", "freezes=[]", "freezes_of=[]",
        "fisher_images=2", "~penalties.l1_sp", "~penalties.gl_sp", "~penalties.gl_sp_fisher",
        "~penalties.l2_sp", "~penalties.none",
    )  # fmt: skip
    run_study(config)
    rows = {row["penalty"]: row for row in read_json(tmp_path / "runs/comparison.json")["rows"]}
    assert rows.keys() == {"l2", "l2_sp_fisher"}
    for name, row in rows.items():
        analysis = tmp_path / f"runs/seed0/{name}/analysis"
        lost = read_json(analysis / "source.json")["scores"]["miou"]["drop"]
        assert row["source_drop"]["mean"] == pytest.approx(lost)
        assert {p.stem for p in analysis.glob("*.json")} == set(config.analyses)
    html = (tmp_path / "runs/report.html").read_text()
    assert "lost on source" in html and "Box-plots of log Fisher information" in html


def test_classifiers_come_from_a_source_whose_images_are_here(tmp_path: Path) -> None:
    """001's Tables 2 and 5 from ImageNet, docs/seeds.md's item 77, on small trees; the source's
    scores before are those of its own network."""
    image_trees.indoor67(tmp_path / "photos")
    image_trees.folders(tmp_path / "source")
    torch.save(build_network(NetworkConfig(name=LIGHT), 3).state_dict(), tmp_path / "w.pth")
    run_study(experiment(
        "li2018_indoor67", f"data.root={tmp_path / 'photos'}", f"network.name={LIGHT}",
        "data.resize=[40,40]", "data.crop=[32,32]", "batch=6", "seeds=[0]", "supervised.steps=2",
        f"runs={tmp_path / 'runs'}", "device=cpu", "~penalties.l2", "~penalties.l2_sp",
        "~protocols.ten_crops", "+data@pretraining.data=folders",
        f"pretraining.data.root={tmp_path / 'source'}",
        "pretraining.data.resize=[40,40]", "pretraining.data.crop=[32,32]",
        f"pretraining.start={tmp_path / 'w.pth'}", "pretraining.steps=0", "fisher_images=2",
        "+penalty@penalties.l2_sp_fisher=l2_sp_fisher", "analyses=[source]",
    ))  # fmt: skip
    found = read_json(tmp_path / "runs/seed0/l2_sp_fisher/analysis/source.json")
    own = EvaluateConfig(run=str(tmp_path / "runs/pretraining"), device="cpu")
    assert found["scores"]["top1"]["before"] == read_json(evaluate(own))["truth"]["top1"]
    assert 0 <= found["agreement_top1"] <= 100
    assert "Old domain before and after" in (tmp_path / "runs/report.html").read_text()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("camvid_transfer", "moved=true", "moved is set, but a study of fine-tuning, which has"),
        ("camvid_chain", "loss=true", "loss is set, but a study of adaptation, which has shifts"),
        ("camvid_transfer", "~pretraining", "penalties.l2_sp_fisher needs Fisher information of"),
        ("camvid_transfer", "freezes_of=[l3]", "freezes_of: 'l3' is not known"),
    ],
)
def test_what_a_study_would_not_use_is_refused(name: str, given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FineTuning(experiment(name, given))


@pytest.fixture(scope="module")
def indoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """experiment=li2018_indoor67 on a small tree, from a stand-in for a Places checkpoint."""
    home = tmp_path_factory.mktemp("indoor")
    image_trees.indoor67(home / "photos")
    torch.manual_seed(0)
    places = build_network(NetworkConfig(name=LIGHT), 365)
    torch.save({"state_dict": places.state_dict(), "arch": LIGHT}, home / "places.pth.tar")
    run("study.py", *SMALL, "device=cpu", cwd=home)
    return home


SMALL = [
    "experiment=li2018_indoor67", "data.root=photos", "supervised.start=backbone:places.pth.tar",
    f"network.name={LIGHT}", "data.resize=[40]", "data.crop=[32,32]", "batch=6", "seeds=[0,1]",
    "supervised.steps=6", "runs=runs", "penalties.l2_sp.alpha=0.01",
]  # fmt: skip


def test_the_comparison_has_means_deviations_and_the_papers_figures(indoor: Path) -> None:
    """Over seeds; figures of other data are told apart."""
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
        pairs = zip(*(m["truth"]["accuracy"] for m in metrics), strict=True)
        wanted = [statistics.mean(pair) for pair in pairs]
        assert found["columns"][f"{penalty} {protocol}"] == pytest.approx(wanted)
        assert row["counts"] == {"train": 12, "evaluated": 6, "classes": 3}
        assert not row["same_counts"]
        assert row["start"] == "backbone:places.pth.tar"
    table = list(csv.DictReader((indoor / "runs/comparison_classes.csv").open()))
    assert [r["class"] for r in table] == ["airport_inside", "bakery", "kitchen"]
    assert float(table[1]["l2 centre"]) == pytest.approx(found["columns"]["l2 centre"][1], abs=0.01)
    paper = {key: row["paper"] for key, row in rows.items()}
    assert (paper["l2", "centre"]["mean"], paper["l2_sp", "centre"]["mean"]) == (79.6, 84.2)
    assert paper["l2", "ten_crops"] is None, "the starred figures are of another training"
    printed = cells(rows["l2", "centre"])[6]
    assert printed == "79.6 ± 0.5 (Table 2, from Places 365), other data"
    html = (indoor / "runs/report.html").read_text()
    assert "Fine-tuning" in html and "comparable only if" in html and "top-1" in html
    assert "airport_inside" in html and for_report(indoor) is None


def test_it_goes_on_where_it_was_stopped(
    indoor: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (indoor / "runs/seed1/l2_sp/metrics_indoor67_d1_test_crops10.json").unlink()
    monkeypatch.chdir(indoor)
    run_study(experiment("li2018_indoor67", *SMALL[1:], "device=cpu"))
    done = [line for line in capsys.readouterr().out.splitlines() if "] done" in line]
    assert len(done) == 1 and "[12/12]" in done[0]
    penalty = read_config(indoor / "runs/seed1/l2_sp")["penalty"]
    assert (penalty["name"], penalty["alpha"], penalty["beta"]) == ("l2_sp", 0.01, 0.01)
    gone = experiment(
        "li2018_indoor67", *SMALL[1:], "supervised.start=backbone:no.pth", "runs=gone"
    )
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
    config = experiment("li2018_indoor67", f"runs={indoor / 'runs'}")
    assert all(row["same_counts"] for row in compare(FineTuning(config))["rows"])


def test_a_segmentation_study_from_a_body_to_its_class_table(
    tmp_path: Path, voc_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FCN at width 1/32 on VOC's layout, as the header of li2018_sbd_pspnet says it."""
    voc_tree(tmp_path / "voc")
    config = NetworkConfig(name="fcn8s_vgg16", width=1 / 32)
    save_file(build_network(config, 81).state_dict(), tmp_path / "coco.safetensors")
    monkeypatch.chdir(tmp_path)
    run_study(experiment(
        "li2018_sbd_pspnet", "network=fcn8s_vgg16", "network.width=0.03125", "network.auxiliary=0",
        "device=cpu",
        "supervised.schedule.name=constant", "supervised.start=backbone:coco.safetensors",
        "data.root=voc", "data.train_split=train", "data.crop=[32,32]", "supervised.steps=2",
        "batch=2", "protocols.whole.window=[32,32]", "protocols.multiscale.window=[32,32]",
        "protocols.multiscale.scales=[1.0,1.25]", "runs=runs",
    ))  # fmt: skip
    found = read_json(tmp_path / "runs/comparison.json")
    assert {(r["penalty"], r["protocol"], r["paper"]["mean"]) for r in found["rows"]} == {
        ("l2", "whole", 77.5), ("l2_sp", "whole", 78.5), ("l2", "multiscale", 78.3),
        ("l2_sp", "multiscale", 79.9),
    }  # fmt: skip
    assert len(found["classes"]) == 21 and all(len(c) == 21 for c in found["columns"].values())
    metrics = read_json(next((tmp_path / "runs/seed0/l2").glob("metrics_*flip.json")))
    assert found["columns"]["l2 multiscale"] == metrics["truth"]["iou"]
    html = (tmp_path / "runs/report.html").read_text()
    each = {
        name: read_image_scores(tmp_path / "runs" / at) for name, at in found["compared"].items()
    }
    for image, score in each["l2"].items():
        assert f"<h4>{image}</h4>" in html and f"<figcaption>l2: {score:.1f}</figcaption>" in html
    images_path(tmp_path / "runs" / found["compared"]["l2_sp"]).unlink()
    html = report(ReportConfig(runs="runs")).read_text()
    assert "No error panels: " in html and "no such file; evaluate the run again" in html


def test_the_papers_figures_are_consistent_and_belong_to_the_experiments() -> None:
    """000, tables II and III: the mean over the printed classes is the printed mIoU."""
    papers = read_json(PAPERS)
    tables = [f for f in papers["figures"] if "per_class" in f]
    assert len(tables) == 18
    for figure in tables:
        assert len(figure["per_class"]) == 19
        assert statistics.mean(figure["per_class"]) == pytest.approx(figure["mean"], abs=0.06)
    configs = {name: experiment(name) for name in EXPERIMENTS}
    assert {f["paper"] for f in papers["figures"]} == papers["papers"].keys()
    assert {
        re.sub("_(star|coco|extra|101)$", "", f["experiment"]) for f in papers["figures"]
    } == set(EXPERIMENTS)
    for figure in papers["figures"]:
        if figure["experiment"] in configs and figure["split"] not in ("test", "source"):
            config = configs[figure["experiment"]]
            assert figure["split"] == config.split and figure["protocol"] in config.protocols
