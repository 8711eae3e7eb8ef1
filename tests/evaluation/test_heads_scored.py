"""A run of several heads is one run: scores, masks, export, Fisher information, report of each."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SUPERVISED, teaching

from adapt.data.scenes import write_scenes
from adapt.disk.files import read_mapping
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.evaluation.rows import rows_of
from adapt.export import export
from adapt.export.onnx_graph import Deployed, outputs_of
from adapt.networks.saved import load_model
from adapt.networks.taps import of_task
from adapt.penalties.fisher import fisher_of
from adapt.settings.commands import EvaluateConfig, ExportConfig, PredictConfig
from adapt.settings.groups import AlsoConfig, DataConfig, ScheduleConfig
from adapt.settings.viz import ReportConfig
from adapt.training.train import train
from viz.report.page import report

MOVABLE = {"background": [0, 1, 3, 4, 5, 7], "pole": [2], "sign": [6], "car": [8, 9, 10]}
CPU = {"device": "cpu", "precision": "fp32"}
TASKS = ("semantic", "movable")


@pytest.fixture(scope="module")
def root(tmp_path_factory, camvid_tree) -> Path:
    """Two finished runs: `both`, on both maps of CamVid, and `two`, on CamVid and scenes."""
    root = tmp_path_factory.mktemp("heads")
    data = DataConfig(name="camvid", root=str(camvid_tree(root / "d1")), crop=[32, 40])
    write_scenes(root / "scenes", train=4, val=2, seed=0, size=(48, 64))
    both = replace(data, tasks={"semantic": {}, "movable": MOVABLE})
    schedule = ScheduleConfig(lr=0.1)
    train(
        teaching(root, run=str(root / "both"), data=both, steps=6, eval_every=3, schedule=schedule)
    )
    also = AlsoConfig(name="scenes", root=str(root / "scenes"))
    named = replace(data, tasks={"semantic": {}})
    train(teaching(root, run=str(root / "two"), data=named, also=also, steps=1))
    return root


def test_each_head_is_scored_on_its_map_as_its_masks_say(root: Path, tmp_path: Path) -> None:
    first = evaluate(EvaluateConfig(run=str(root / "both"), loss=True, **CPU))
    assert first == root / "both" / "metrics_camvid_d1_val_semantic.json"
    out = predictions(PredictConfig(run=str(root / "both"), out=str(tmp_path / "out"), **CPU))
    table = np.full((2, 256), 255)
    table[0, :11] = range(11)
    for label, values in enumerate(MOVABLE.values()):
        table[1, values] = label
    for task, meaning, count in zip(TASKS, table, (11, 4), strict=True):
        matrix = np.zeros((count, count), int)
        for file in sorted((out / task).glob("*.png")):
            truth = meaning[np.asarray(Image.open(root / "d1" / "valannot" / file.name))]
            kept = truth < count
            np.add.at(matrix, (truth[kept], np.asarray(Image.open(file))[kept]), 1)
        found = read_mapping(root / "both" / f"metrics_camvid_d1_val_{task}.json")
        assert np.array_equal(np.array(found["confusion"])[:, :count], matrix)
        assert (len(found["classes"]), found["task"]) == (count, task)
        assert found["loss"] > 0
    assert [row.method for row in rows_of(root / "both")] == [f"teacher ({t})" for t in TASKS[::-1]]


def test_heads_of_two_data_sets_are_scored_on_their_own(root: Path) -> None:
    evaluate(EvaluateConfig(run=str(root / "two"), **CPU))
    found = {p.name: read_mapping(p)["images"] for p in (root / "two").glob("metrics_*.json")}
    expected = {"metrics_camvid_d1_val_semantic.json": 3, "metrics_scenes_d1_val_scenes.json": 2}
    assert found == expected
    scenes = DataConfig(name="scenes", root=str(root / "scenes"))
    alone = evaluate(EvaluateConfig(run=str(root / "two"), data=scenes, split="train", **CPU))
    assert alone.name == "metrics_scenes_d1_train_scenes.json"
    other = replace(scenes, name="voc", train_split="train")
    with pytest.raises(InputError, match=r"two has scenes, semantic, voc voc; give both the same"):
        evaluate(EvaluateConfig(run=str(root / "two"), data=other, **CPU))


def test_an_exported_network_returns_the_mapping(root: Path, tmp_path: Path) -> None:
    """In a process of its own each head gives the run's logits, as parity.json says; and here."""
    out, run = tmp_path / "out", root / "both"
    export(ExportConfig(run=str(run), out=str(out), images=1, formats=["safetensors"]))
    formats = read_mapping(out / "parity.json")["formats"]
    assert [*formats] == [f"safetensors, {task}" for task in TASKS]
    assert all(found["passed"] and found["miou"] > 0 for found in formats.values())
    model, images = load_model(run), torch.randint(0, 256, (1, 3, 32, 40), dtype=torch.uint8)
    sys.path.insert(0, str(out))
    try:
        found = import_module("modeling").Segmenter.from_pretrained(str(out))(images)
    finally:
        sys.path.remove(str(out))
        for name in ("modeling", "network", "heads"):
            sys.modules.pop(name, None)
    deployed = Deployed(model.net.eval(), model.network)(images)
    assert outputs_of(TASKS) == [f"{x}_{t}" for t in TASKS for x in ("logits", "classes")]
    for task, logits in zip(TASKS, deployed[::2], strict=True):
        assert torch.allclose(found[task], logits, atol=1e-6)


def test_the_fisher_information_of_heads_is_that_of_both_label_maps(root: Path) -> None:
    """The first head's own parameters have what they would have alone, the other's not 0."""
    model = load_model(root / "both")
    images = [("a", torch.randn(1, 3, 32, 40))]
    joint, alone = fisher_of(model.net, images), fisher_of(of_task(model.net, TASKS[0]), images)
    weight = "classifier.semantic.weight"
    assert torch.allclose(joint[weight], alone[f"net.{weight}"], rtol=1e-4)
    assert joint["classifier.movable.weight"].sum() > 0
    assert (joint["fc7.0.weight"] != alone["net.fc7.0.weight"]).any()


def test_the_report_has_scores_classes_and_curves_of_each_head(root: Path, tmp_path: Path) -> None:
    evaluate(EvaluateConfig(run=str(root / "both"), **CPU))
    out = tmp_path / "report.html"
    report(ReportConfig(runs=str(root / "both"), out=str(out)))
    html = out.read_text()
    for text in ("teacher (semantic)", "teacher (movable)", "IoU on D1", "pavement", "background"):
        assert text in html
    assert "background" in (root / "both" / "per_class.csv").read_text()


def test_a_run_of_one_head_is_not_scored_on_several_maps(root: Path) -> None:
    plain = teaching(root, steps=0, objective=SUPERVISED)
    train(plain)
    both = DataConfig(tasks={"semantic": {}, "movable": MOVABLE})
    with pytest.raises(InputError, match="has one head, camvid movable, semantic"):
        evaluate(EvaluateConfig(run=plain.run, data=both, **CPU))
