"""scripts/analyse.py: its numbers are those of evaluate, the weights files and the networks."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SUPERVISED, adapting, edit_record, teaching, weights

from adapt.analysis.activations import activations
from adapt.analysis.analyse import analyse, networks_of
from adapt.analysis.drift import drift_of_pairs
from adapt.analysis.fisher import fisher
from adapt.data import load
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.disk.files import read_json, sha256
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import Reading, batches_of
from adapt.machine.runtime import runtime
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import load_model, save_model, started_from
from adapt.settings.commands import AnalyseConfig, EvaluateConfig, FisherConfig
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.training.train import train


@pytest.fixture(scope="module")
def student(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(adapting(world, tmp_path_factory.mktemp("analysed") / "student"))


def config(tested: Path, out: Path, **changes: object) -> AnalyseConfig:
    made = AnalyseConfig(run=str(tested), out=str(out), device="cpu", precision="fp32")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_every_analysis_is_written_and_printed(
    world: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fisher(
        FisherConfig(run=str(world / "teacher"), out=str(tmp_path / "f.safetensors"), device="cpu")
    )
    analyse(AnalyseConfig(run=str(student), fisher=str(file), device="cpu"))
    printed = capsys.readouterr().out
    names = ("fisher", "weights", "activations", "source")
    assert {p.name for p in (student / "analysis").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("json", "csv")
    }
    for name in names:
        assert f"{name}:\n" in printed
    layers = [row["layer"] for row in read_json(student / "analysis/fisher.json")["layers"]]
    assert layers[0] == "conv1.0" and layers[-1] == "classifier", "in the network's order"
    with (student / "analysis/activations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    made = read_json(student / "analysis/activations.json")["layers"]
    assert len(rows) == sum(layer["units"] for layer in made)
    assert (made[0]["layer"], made[-1]["layer"]) == ("conv1.2", "classifier")


def test_drops_and_distances_are_those_of_evaluations_and_of_weights(
    world: Path, student: Path, tmp_path: Path
) -> None:
    analyse(config(student, tmp_path, analyses=["source", "weights"]))
    found = read_json(tmp_path / "source.json")["scores"]
    common = {"domain": "d1", "device": "cpu", "precision": "fp32"}
    before, after = (
        read_json(evaluate(EvaluateConfig(run=str(run), **common)))["truth"]  # type: ignore[arg-type]
        for run in (world / "teacher", student)
    )
    assert found.keys() == {"miou", "class_accuracy", "pixel_accuracy"}
    for key, values in found.items():
        assert values["before"] == before[key] and values["after"] == after[key]
        assert values["drop"] == pytest.approx(before[key] - after[key])
    content = read_json(tmp_path / "weights.json")
    w, w0 = weights(student), weights(world / "teacher")
    for row in content["layers"][:-1]:
        names = [f"{row['layer']}.{kind}" for kind in ("weight", "bias")]
        squares = sum(float((w[n] - w0[n]).double().square().sum()) for n in names if n in w)
        assert row["distance"] == pytest.approx(squares**0.5, rel=1e-6)
    assert content["layers"][0]["distance"] > 0, "conv1 was trained"
    assert not content["left_out"]


@pytest.mark.parametrize(
    ("domain", "folders"), [("d1", ("d1", "d1")), ("", ("d2", "d2")), ("pairs", ("d1", "d2"))]
)
def test_each_network_sees_the_images_of_the_domain(
    world: Path, student: Path, tmp_path: Path, domain: str, folders: tuple[str, str]
) -> None:
    changes = {"analyses": ["activations"], "layers": ["pool3", "classifier"], "domain": domain}
    analyse(config(student, tmp_path, batch=2, **changes))
    before, after = load_model(world / "teacher"), load_model(student)
    shown = [
        torch.stack([tensor(read_image(p)) for p in sorted((world / f / "val").iterdir())])
        for f in folders
    ]
    images = [as_input(x, after.network) for x in shown]
    wanted = activations(before.net, after.net, ["pool3", "classifier"], [(images[0], images[1])])
    found = read_json(tmp_path / "activations.json")
    assert found["made"]["images"] == 3
    for row, units in zip(found["layers"], wanted, strict=True):
        assert row["layer"] == units.layer and row["silent"] == np.isnan(units.r2).sum()
        assert row["r2"]["med"] == pytest.approx(float(np.nanmedian(units.r2)), abs=1e-4)


def test_cells_count_where_both_images_show_something(
    world: Path, tmp_path: Path, shifted: str
) -> None:
    """As drift has it; x2 is black where the warp has nothing to show."""
    data = DataConfig(target=str(world / "d2"), transforms=shifted)
    run = train(adapting(world, tmp_path / "run", steps=0, data=data))
    layers = ["pool3", "pool5"]
    out = analyse(config(run, tmp_path / "out", domain="pairs", analyses=["activations"],
                         layers=layers))  # fmt: skip
    model, settings, machine = load_model(run), read_data(run), runtime("cpu", "fp32")
    reading = Reading(settings, model.network, 4, 0)
    pairs = batches_of(machine, reading, load(settings, "val"), "drift", "x1", "x2")
    wanted = drift_of_pairs(machine.place(model.net), layers, pairs)
    found = [layer["distance"] for layer in read_json(out / "activations.json")["layers"]]
    assert found == pytest.approx([layer.distance for layer in wanted], rel=1e-5)


def test_a_network_with_a_new_head_gets_its_old_one_back(
    world: Path, tmp_path: Path, voc_tree: Callable[..., Path]
) -> None:
    """From VOC's 21 classes to CamVid's: scores on VOC are those of a run whose weights are the
    trained ones, but for the classifier."""
    voc = DataConfig("voc", str(voc_tree(tmp_path / "voc")), train_split="train", crop=[32, 40])
    source = train(teaching(world, run=str(tmp_path / "source"), data=voc))
    start = f"backbone:{source / 'model.safetensors'}"
    tuned = train(teaching(world, run=str(tmp_path / "tuned"), start=start))
    analyse(config(tuned, tmp_path / "out"))
    assert started_from(start) == started_from(f"backbone:{source}") == str(source)
    before = load_model(source)
    head = {k: v for k, v in weights(source).items() if k.startswith("classifier.")}
    wanted = weights(tuned) | head
    grafted = networks_of(config(tuned, tmp_path / "out")).grafted()
    assert all(torch.equal(v, wanted[k]) for k, v in grafted.net.state_dict().items())
    assert grafted.classes == before.classes
    before.net.load_state_dict(wanted)
    shutil.copytree(source, tmp_path / "grafted")
    save_model(tmp_path / "grafted", before.net, before.network, before.classes)
    own = sha256(tmp_path / "grafted/model.safetensors")
    edit_record(tmp_path / "grafted/summary.json", model=own)
    found = read_json(tmp_path / "out/source.json")["scores"]
    common = {"domain": "d1", "device": "cpu", "precision": "fp32"}
    for name, run in (("before", source), ("after", tmp_path / "grafted")):
        truth = read_json(evaluate(EvaluateConfig(run=str(run), **common)))["truth"]  # type: ignore[arg-type]
        assert {k: v[name] for k, v in found.items()} == {k: truth[k] for k in found}
    layers = [row["layer"] for row in read_json(tmp_path / "out/activations.json")["layers"]]
    assert layers[-1] == "fc7.2"
    assert read_json(tmp_path / "out/weights.json")["left_out"] == sorted(head)
    with pytest.raises(InputError, match="classifier belongs to the head, which is new"):
        analyse(config(tuned, tmp_path / "out", layers=["pool3", "classifier"]))


def test_a_network_beside_itself(world: Path, tmp_path: Path) -> None:
    run = world / "teacher"
    analyse(config(run, tmp_path, teacher=str(run)))
    assert all(r["distance"] == 0 for r in read_json(tmp_path / "weights.json")["layers"])
    source = read_json(tmp_path / "source.json")
    assert source["agreement_miou"] == 100
    assert all(values["drop"] == 0 for values in source["scores"].values())
    for layer in read_json(tmp_path / "activations.json")["layers"]:
        assert layer["identity"]["whislo"] == 1 or not layer["identity"]["n"]


def test_wrong_input_is_named_and_nothing_written(
    world: Path, student: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    wide = train(
        teaching(world, run=str(scratch / "wide"), steps=0, start="none", objective=SUPERVISED,
                 network=NetworkConfig(width=1 / 16, batch_norm=True))
    )  # fmt: skip
    out = tmp_path / "out"
    for changes, message in (
        ({"run": str(wide)}, "was not trained from the network of a run; give teacher=RUN"),
        ({"teacher": str(wide)}, "have different architectures"),
        ({"layers": ["pool9"]}, "pool9"),
        ({"split": "tset"}, "tset"),
        ({"fisher": str(student / "model.safetensors")}, "not a Fisher file"),
    ):
        with pytest.raises(InputError, match=message):
            analyse(config(student, out, **changes))
        assert not out.exists()
    for changes, message in (
        ({"analyses": ["weihgts"]}, "Did you mean 'weights'"),
        ({"analyses": ["fisher"]}, "analyses=fisher needs fisher=FILE"),
        ({"run": ""}, "give run=DIR, or fisher=FILE"),
        ({"domain": "d3"}, r"Choices: '' \(empty\), d1, d2, pairs"),
    ):
        with pytest.raises(InputError, match=message):
            config(student, out, **changes)
