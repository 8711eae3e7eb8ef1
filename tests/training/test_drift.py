"""How far layers move: against analyse's distances, and what a run records of it."""

from pathlib import Path

import pytest
import torch
from tiny import adapting

from adapt.analysis.weights import weight_distances
from adapt.disk.runs import read_metrics
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.saved import load_model
from adapt.training.drift import Drift
from adapt.training.train import train


def test_is_what_the_analysis_finds_and_owns_its_start_point() -> None:
    torch.manual_seed(0)
    net = DeepLabVGG16(5, width=1 / 32, batch_norm=True)
    start_point = {k: v.clone() for k, v in net.state_dict().items()}
    drift = Drift(net, start_point)
    assert set(drift.relative().values()) == {0.0}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.rand_like(parameter)
    before = drift.relative()
    rows, _ = weight_distances(net, start_point)
    expected = {row["layer"]: row["relative"] for row in rows if row["layer"] != "(all)"}
    assert before == pytest.approx(expected, rel=1e-5)
    for tensor in start_point.values():
        tensor.zero_()
    assert drift.relative() == before


def test_a_run_records_every_layer_and_ends_with_the_finished_weights(
    world: Path, tmp_path: Path
) -> None:
    run = train(adapting(world, tmp_path / "s", steps=5, drift_every=2))
    lines = [line for line in read_metrics(run) if "distances" in line]
    assert [line["step"] for line in lines] == [2, 4, 5]
    teacher = load_model(world / "teacher").net.state_dict()
    rows, _ = weight_distances(load_model(run).net, teacher)
    last = {row["layer"]: row["relative"] for row in rows if row["layer"] != "(all)"}
    assert lines[-1]["distances"] == pytest.approx(last, rel=1e-4)
    assert any(value > 0 for value in last.values())
    none = train(adapting(world, tmp_path / "n", steps=2, drift_every=0))
    assert not [line for line in read_metrics(none) if "distances" in line]
