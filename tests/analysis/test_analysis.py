"""The analyses of a training against numpy, closed forms and matplotlib's own box-plots."""

import math

import numpy as np
import pytest
import torch
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from torch import Tensor, nn

from adapt.analysis.activations import Moments, activations
from adapt.analysis.weights import box, drops, fisher_boxes, weight_distances
from adapt.errors import InputError
from adapt.networks.taps import LOGITS


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_boxes_are_those_that_matplotlib_draws(count: int) -> None:
    values = np.random.default_rng(count).standard_t(2, count)
    found = box(np.append(values, [np.nan, np.inf]), "conv1")
    (wanted,) = boxplot_stats(values)
    assert found["label"] == "conv1" and found["n"] == count
    for key in ("mean", "whislo", "q1", "med", "q3", "whishi"):
        assert found[key] == pytest.approx(wanted[key], abs=1e-12)
    assert found["outliers"] == len(wanted["fliers"])
    nothing = box(np.array([np.nan]), "x")
    assert nothing["n"] == 0 and math.isnan(nothing["med"])
    Figure().subplots().bxp([found, nothing])


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def collected(*pairs: tuple[Tensor, Tensor]) -> Moments:
    moments = Moments()
    for a, b in pairs:
        moments.add(a, b)
    return moments


@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["", "far from 0"])
def test_moments_are_numpys_however_the_images_are_cut(offset: float) -> None:
    a = maps(7, 3, 4, 5) * torch.tensor([1.0, 0.1, 3.0]).view(3, 1, 1) + offset
    b = 0.5 * a + maps(7, 3, 4, 5, seed=1) + 2
    x, y = (t.double().transpose(0, 1).flatten(1).numpy() for t in (a, b))
    fitted = [np.corrcoef(p, q)[0, 1] ** 2 for p, q in zip(x, y, strict=True)]
    same = 1 - ((y - x) ** 2).mean(1) / y.var(1)
    cuts = ([7], [1] * 7, [2, 4, 1])
    for sizes in cuts:
        found = collected(*zip(a.split(sizes), b.split(sizes), strict=True)).r2()
        np.testing.assert_allclose(found[0], fitted, rtol=1e-7)
        np.testing.assert_allclose(found[1], same, rtol=1e-7)
        distance = collected(*zip(a.split(sizes), b.split(sizes), strict=True)).distance()
        assert distance == pytest.approx(((y - x) ** 2).sum() / (x**2).sum(), rel=1e-7)
    flat = collected((a[:, :, 0, 0], b[:, :, 0, 0])).r2()  # of a classifier: no cells
    assert np.array_equal(flat, collected((a[:, :, :1, :1], b[:, :, :1, :1])).r2())


def test_constant_units() -> None:
    moving, still = maps(2, 1, 9, 9), torch.full((2, 1, 9, 9), 0.1)
    a = torch.cat([moving, still, still, moving], 1)
    b = torch.cat([moving, still, moving, 0 * still], 1)
    fitted, same = collected((a[:1], b[:1]), (a[1:], b[1:])).r2()
    assert fitted[0] == 1 and same[0] == 1
    assert np.isnan(fitted[[1, 3]]).all() and np.isnan(same[[1, 3]]).all()
    assert fitted[2] == 0 and same[2] < 0, "a constant explains nothing"


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    net(maps(4, 3, 8, 8, seed=seed) * 2 + 1)
    return net


LAYERS = ["0", "2", LOGITS]


def test_activations_are_those_of_each_layer_in_eval_mode() -> None:
    before, after = small(0), small(1)
    after[1].eval()
    x, y = maps(6, 3, 8, 8), maps(6, 3, 8, 8, seed=5)
    state = {k: v.clone() for k, v in after.state_dict().items()}
    found = activations(before, after, LAYERS, zip(x.split(4), y.split(4), strict=True))
    assert [units.layer for units in found] == LAYERS
    assert after.training and not after[1].training and before[1].training
    assert all(torch.equal(v, state[k]) for k, v in after.state_dict().items())
    before.eval(), after.eval()
    for units, depth in zip(found, (1, 3, 4), strict=True):
        with torch.no_grad():
            a, b = (net[:depth](z).transpose(0, 1).flatten(1).double().numpy()
                    for net, z in ((before, x), (after, y)))  # fmt: skip
        wanted = [np.corrcoef(p, q)[0, 1] ** 2 for p, q in zip(a, b, strict=True)]
        np.testing.assert_allclose(units.r2, wanted, atol=1e-6)
        np.testing.assert_allclose(
            units.identity, 1 - ((b - a) ** 2).mean(1) / b.var(1), rtol=1e-4, atol=1e-6
        )


def test_units_that_are_silent_are_counted_and_other_shapes_refused() -> None:
    before, after, x = small(), small(), maps(2, 3, 8, 8)
    with torch.no_grad():
        after[3].weight[1] = 0
    same, silent = activations(before, after, ["2", LOGITS], [(x, x)])
    assert (same.r2 == 1).all() and (same.identity == 1).all() and same.as_dict()["silent"] == 0
    made = silent.as_dict()
    assert (made["units"], made["silent"], made["r2"]["n"]) == (2, 1, 1)
    assert made["r2"]["med"] == 1
    other = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match=r"maps of \(2, 2, 8, 8\) before and \(2, 3, 8, 8\)"):
        activations(before, other, [LOGITS], [(x, x)])


def test_distances_of_weights() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))
    start = {k: v.clone() for k, v in net.state_dict().items()}
    start |= {"0.weight": torch.tensor([[3.0, 0.0]]), "0.bias": torch.tensor([4.0]),
              "2.weight": torch.zeros(2, 2)}  # fmt: skip
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0, 2.0]]))
        net[0].bias.fill_(3.0)
        net[1].bias += 2
        net[1].running_mean += 9
        start["1.weight"] = torch.zeros(1)
        start["1.bias"] = torch.zeros(1)
    rows, left_out = weight_distances(net, start)
    first, norm, last, every = rows
    assert (first["layer"], first["type"], first["parameters"]) == ("0", "Linear", 3)
    assert first["distance"] == pytest.approx(5**0.5)
    assert first["relative"] == pytest.approx(5**0.5 / 5)
    assert first["rms"] == pytest.approx((5 / 3) ** 0.5) and first["largest"] == 2
    assert norm["distance"] == pytest.approx(5**0.5) and math.isnan(norm["relative"])
    assert last["parameters"] == 1 and last["distance"] == 0
    assert every["layer"] == "(all)" and every["parameters"] == 6
    assert every["distance"] == pytest.approx(10**0.5)
    assert left_out == ["2.weight"]


def test_fisher_boxes_are_of_logarithms_by_layer() -> None:
    values = {
        "b.weight": torch.tensor([[1e-3, 1e-2], [1e-1, 0.0]]),
        "b.bias": torch.tensor([1.0]),
        "a.weight": torch.zeros(2),
    }
    b, a = fisher_boxes(values)
    assert (b["layer"], b["parameters"], b["zero"]) == ("b", 5, 1)
    assert [b["log10"][k] for k in ("whislo", "med", "whishi")] == pytest.approx([-3, -1.5, 0])
    assert b["mean"] == pytest.approx(1.111 / 5) and b["share"] == pytest.approx(1)
    assert (a["layer"], a["zero"], a["log10"]["n"], a["share"]) == ("a", 2, 0, 0)


def test_drops_are_in_points_and_in_percent_of_before() -> None:
    found = drops({"miou": 50.0, "class_accuracy": 0.0}, {"miou": 40.0, "class_accuracy": 1.0})
    assert found["miou"] == {"before": 50, "after": 40, "drop": 10, "relative": 20}
    assert found["class_accuracy"]["drop"] == -1 and math.isnan(found["class_accuracy"]["relative"])
