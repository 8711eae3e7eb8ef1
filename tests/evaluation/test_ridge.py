"""Ridge maps between the maps of two domains: the closed form, what they undo, where they stand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import adapting, refused
from torch import Tensor, nn

import adapt
from adapt.data import load
from adapt.disk.files import read_json
from adapt.disk.runs import read_config, read_data
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import Reading, batches_of, evaluate_networks
from adapt.evaluation.ridge import NOTHING, STRENGTH, Ridge, ridge
from adapt.evaluation.rows import rows_of
from adapt.machine.runtime import runtime
from adapt.networks.saved import load_model
from adapt.networks.taps import forward
from adapt.objective.distances import cells
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from adapt.training.train import train

SIZE = (12, 10)


@pytest.fixture
def net() -> nn.Module:
    """Nothing bends between the first layer and the next, so that a matrix can undo a matrix."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.Conv2d(3, 5, 3, 2, 1), nn.Tanh(), nn.Conv2d(5, 4, 1)
    )


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_maps_are_the_closed_form_over_valid_cells(net: nn.Module) -> None:
    """By numpy, at once over the cells of both batches."""
    mask = (images(4, 3)[:, 0] > -0.5).byte()
    batches = [
        (images(2, i), images(2, i) + images(2, 7) * 0.5, mask[2 * i : 2 * i + 2]) for i in (0, 1)
    ]
    weight, bias = adapt.ridge_maps(net, ["2"], batches)["2"]
    rows: list[list[np.ndarray]] = [[], []]
    for x1, x2, valid in batches:
        kept = cells(valid, (6, 5))[:, 0].bool()
        for found, x in zip(rows, (x2, x1), strict=True):
            maps = forward(net, x, ["2"])["2"].detach().movedim(1, -1)[kept]
            found.append(maps.double().numpy())
    x, y = (np.concatenate(part) for part in rows)
    centred = x - x.mean(0)
    gram = centred.T @ centred / len(x)
    strength = STRENGTH * np.trace(gram) / 5
    cross = centred.T @ (y - x) / len(x)
    wanted = np.eye(5) + np.linalg.solve(gram + strength * np.eye(5), cross).T
    assert np.allclose(weight, wanted, atol=1e-5)
    assert np.allclose(bias, y.mean(0) - wanted @ x.mean(0), atol=1e-5)


def test_equal_images_give_exactly_the_network_and_a_mixing_of_channels_is_undone(
    net: nn.Module,
) -> None:
    x1 = images(6, 0)
    same = adapt.ridge_maps(net, ["0", "2"], [(x1, x1)])
    assert all(torch.equal(w, torch.eye(len(b))) and not b.any() for w, b in same.values())
    scores = adapt.ridge_scores(net, same, [(x1, x1)])
    assert scores.keys() == {NOTHING, "0", "2"} and not any(v.any() for v in scores.values())
    mixing = torch.tensor([[1.0, 0.5, 0.0], [-0.3, 0.8, 0.2], [0.0, 0.4, -1.2]])
    pairs = [(x, torch.einsum("dc,bchw->bdhw", mixing, x) + 0.3) for x in (x1, images(6, 1))]
    scores = adapt.ridge_scores(net, adapt.ridge_maps(net, ["0", "2"], pairs), pairs)
    means = {name: values.mean() for name, values in scores.items()}
    assert means["0"] < 1e-4 * means[NOTHING] and means["0"] < means["2"] < means[NOTHING]
    nothing = torch.zeros(6, *SIZE)
    with pytest.raises(InputError, match="layer 0: no pair has a cell"):
        adapt.ridge_maps(net, ["0"], [(x1, x1, nothing)])


def test_a_map_is_put_after_a_layer_and_taken_back(net: nn.Module) -> None:
    x, weight, bias = images(2, 0), torch.randn(5, 5), torch.randn(5)
    before = net(x)
    with adapt.insert_map(net, "2", weight, bias):
        maps = torch.tanh(net.get_submodule("1")(net.get_submodule("0")(x)))
        wanted = torch.einsum("dc,bchw->bdhw", weight, maps) + bias[:, None, None]
        assert torch.allclose(net(x), net.get_submodule("3")(wanted), atol=1e-5)
    assert torch.equal(net(x), before)


def test_layers_as_good_as_the_best_are_within_a_standard_error() -> None:
    noise = np.array([0.1, -0.1, 0.1, -0.1])
    scores = {NOTHING: noise + 2, "a": noise + 1, "b": 1.02 - noise, "c": noise + 1.001}
    found = Ridge(dict.fromkeys("abc"), scores, 9)  # type: ignore[arg-type]
    assert found.best == "a" and found.as_good == ["a", "b"]
    assert "9 pairs; KL(old || new) on 4 others: none 2, a 1, b 1.02, c 1; smallest" in str(found)


# With a run


def test_evaluate_and_taps_take_the_layer_of_the_smallest_score(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, data = world / "teacher", DataConfig(target=str(world / "d2"))
    model, settings = load_model(teacher), inherit_data(data, read_data(teacher))
    machine = runtime("cpu", "fp32")
    reading = Reading(settings, model.network, 2, 0)
    found = ridge(machine, machine.place(model.net), reading, load(settings, "train"))
    assert (found.pairs, len(found.scores[NOTHING]), list(found.maps)[-1]) == (4, 2, "fc7.2")
    capsys.readouterr()
    how = {"domain": "d2", "data": data, "device": "cpu", "batch": 2, "precision": "fp32"}
    path = evaluate(EvaluateConfig(teacher=str(teacher), ridge=True, **how))
    assert path.stem.endswith("_ridge") and str(found) in capsys.readouterr().out
    assert read_json(path)["ridge"] == found.best
    assert [row.method for row in rows_of(teacher) if row.metrics == str(path)] == ["ridge"]
    old = machine.place(load_model(teacher).net).eval()
    adapt.insert_map(model.net, found.best, *found.maps[found.best])
    held_out = load(settings, "val")
    wanted = evaluate_networks(machine, model.net, reading, held_out, "x2", old)
    assert read_json(path)["agreement"]["miou"] == wanted.agreement.miou  # type: ignore[union-attr]

    train(adapting(world, tmp_path / "run", taps="pairs", steps=1))
    said = capsys.readouterr().out
    recorded = read_config(tmp_path / "run")["objective"]
    assert "KL(old || new) on 2 others: none " in said and "taps=pairs takes {" in said
    assert list(recorded["regression"]["taps"]) == found.as_good and recorded["name"] == "pairs"


def test_a_map_is_fitted_on_images_as_they_are_scored(world: Path) -> None:
    data = inherit_data(DataConfig(target=str(world / "d2")), read_data(world / "teacher"))
    machine, network = runtime("cpu", "fp32"), load_model(world / "teacher").network
    plain = Reading(data, network, 6, 0)
    restyled = replace(plain, restyle=np.invert)
    (x1, x2, _), (same, inverted, _) = (
        next(batches_of(machine, reading, load(data, "train"), "x", "x1", "x2"))
        for reading in (plain, restyled)
    )
    assert torch.equal(x1, same)
    sums = x2 + inverted  # of v and 255 - v, normalised
    assert torch.allclose(sums, sums.mean((0, 2, 3), keepdim=True).expand_as(sums), atol=1e-4)


def test_what_has_no_ridge_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out adabn=true"):
        EvaluateConfig(teacher="x", ridge=True, adabn=True)
    with pytest.raises(InputError, match="for a teacher on the new domain"):
        evaluate(EvaluateConfig(run=str(world / "teacher"), domain="d1", ridge=True))
    few = DataConfig(target=str(world / "d2"), parts={"few": 0.3}, part="few")
    refused(
        adapting(world, tmp_path / "run", data=few, taps="pairs"), "ridge needs pairs .* are 2$"
    )
