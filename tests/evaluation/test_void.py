"""A network whose last output is void: where it is the highest nothing is predicted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import edit_record, teaching

import adapt
from adapt.data import load
from adapt.data.images import read_image, read_mask
from adapt.data.sampling import tensor
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import Reading, evaluate_networks
from adapt.evaluation.predict import predictions
from adapt.export.parity import Case, compare
from adapt.machine.runtime import runtime
from adapt.networks import build_network
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import load_complete, load_model, save_model
from adapt.networks.taps import upsample
from adapt.settings.commands import EvaluateConfig, PredictConfig
from adapt.settings.groups import NetworkConfig
from adapt.training.train import train


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven classes and void, which wins at about half of the pixels."""
    network = NetworkConfig(width=1 / 32, batch_norm=True, void=True)
    folder = str(tmp_path_factory.mktemp("void") / "run")
    run = train(teaching(world, run=folder, network=network, steps=1))
    model = load_model(run)
    assert model.net.classifier.bias.shape == (12,) and len(model.classes) == 11
    maps = torch.cat([logits(run, sample.x1) for sample in load(read_data(run), "val").samples])
    model.net.classifier.bias.data[11] += (maps[:, :11].amax(1) - maps[:, 11]).median()
    save_model(run, model.net, model.network, model.classes)
    edit_record(run / "summary.json", model=None)
    return run


def logits(run: Path, image: Path) -> torch.Tensor:
    """(1, 12, H, W)"""
    model, pixels = load_model(run), read_image(image)
    with torch.no_grad():
        found = model.net.eval()(as_input(tensor(pixels)[None], model.network))
    return upsample(found, pixels.shape[:2])


def test_void_counts_as_wrong_where_there_is_a_label(run: Path) -> None:
    data = load(read_data(run), "val")
    hits, true, said, void = (np.zeros(12, np.int64) for _ in range(4))
    for sample in data.samples:
        label = read_mask(sample.y1, 11, data.void)
        found = logits(run, sample.x1).argmax(1)[0].numpy()
        void[0] += (found == 11).sum()
        for k in range(11):
            hits[k] += ((label == k) & (found == k)).sum()
            true[k] += (label == k).sum()
            said[k] += ((label != 255) & (found == k)).sum()
    path = evaluate(EvaluateConfig(run=str(run), device="cpu", precision="fp32"))
    record = json.loads(path.read_text())
    with np.errstate(invalid="ignore"):
        iou = (100 * hits / (true + said - hits))[:11]
    assert np.allclose(record["truth"]["iou"], iou, equal_nan=True) and void[0] > 0
    assert record["truth"]["miou"] == pytest.approx(np.nanmean(iou))
    matrix = np.array(record["confusion"])
    items = [(read_image(s.x1), read_mask(s.y1, 11, data.void)) for s in data.samples]
    again = adapt.evaluate(load_model(run).net, items, void=True, device="cpu", precision="fp32")
    assert again.miou == pytest.approx(record["truth"]["miou"], abs=0.1)
    assert matrix.shape == (11, 12) and matrix[:, 11].sum() > 0 and matrix.sum() == true.sum()


def test_a_teachers_void_is_no_truth_and_a_mask_has_it_as_void(run: Path, tmp_path: Path) -> None:
    model, data = load_model(run), load(read_data(run), "val")
    reading = Reading(replace(read_data(run), crop=[]), model.network, 2, 0)
    machine = runtime("cpu", "fp32")
    nets = machine.place(model.net), machine.place(load_model(run).net.eval())
    found = evaluate_networks(machine, nets[0], reading, data, "x1", nets[1])
    assert found.agreement is not None and found.agreement.miou == 100.0
    for probabilities in (False, True):
        out = tmp_path / str(probabilities)
        predictions(PredictConfig(run=str(run), out=str(out), probabilities=probabilities,
                                  overlay=0.5, device="cpu", precision="fp32"))  # fmt: skip
        for sample in data.samples:
            mask = np.array(Image.open(out / f"{sample.name}.png"))
            wanted = logits(run, sample.x1).argmax(1)[0].numpy()
            # Ties apart: its convolutions add in another order.
            assert (mask == np.where(wanted == 11, 255, wanted)).mean() > 0.95
            assert 11 not in mask and 255 in mask


def test_an_export_is_scored_as_evaluate_scores_it() -> None:
    """Of three outputs at three pixels the last is void and wins at the last pixel."""
    logits = 4 * torch.eye(3).reshape(1, 3, 1, 3)
    case = Case("x", np.zeros((1, 3, 1, 3), np.uint8), (1, 3), np.array([[0, 1, 0]]))
    found = compare([case], [logits], [(logits, logits.argmax(1).byte())], void=True)
    assert found["passed"] and found["miou"] == 75.0 and found["agreement_miou"] == 100.0


def test_a_file_for_one_output_more_is_refused_with_the_setting_for_void(tmp_path: Path) -> None:
    network = NetworkConfig(width=1 / 32)
    torch.save(build_network(network, 4).state_dict(), tmp_path / "w.pth")
    given = (str(tmp_path / "w.pth"), ("a", "b", "c"), "teacher", (32, 32))
    with pytest.raises(InputError, match=r"has 4 outputs.* network\.void=true is for a last"):
        load_complete(given[0], network, *given[1:])
    assert len(load_complete(given[0], replace(network, void=True), *given[1:]).classes) == 3


def test_void_needs_an_output_for_each_class() -> None:
    with pytest.raises(InputError, match=r"network\.void is for networks with an output for each"):
        NetworkConfig(void=True, one_logit=True)
