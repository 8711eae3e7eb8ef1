"""Distances against plain numpy, and where their gradients go."""

import numpy as np
import pytest
import torch
from torch import Tensor

from adapt.config import ObjectiveConfig, RegressionConfig, SupervisedConfig
from adapt.errors import InputError
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.objectives import DISTANCES, Objective
from adapt.taps import LOGITS, forward


def by_hand(name: str, s: np.ndarray, t: np.ndarray, valid: np.ndarray) -> float:
    """Loops over images and cells; valid (B, h, w) at the maps' own size."""
    sums, sizes, energies = [], [], []
    for b in range(len(s)):
        cells = [(s[b, :, y, x], t[b, :, y, x]) for y, x in np.argwhere(valid[b])]
        sums.append(sum(((a - c) ** 2).sum() for a, c in cells))
        energies.append(sum((c**2).sum() for _, c in cells))
        sizes.append(sum(a.size for a, _ in cells))
    if name == "sum":
        return float(np.mean(sums))
    if name == "mean":
        return float(np.sum(sums) / np.sum(sizes))
    return float(np.mean([d / e for d, e in zip(sums, energies, strict=True)]))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", DISTANCES)
def test_distances_equal_a_plain_loop(name: str, masked: bool) -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 3, 5, 4, 6))
    valid = rng.random((3, 4, 6)) > 0.4 if masked else np.ones((3, 4, 6), bool)
    pixels = torch.from_numpy(valid.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8))
    found = DISTANCES[name](torch.from_numpy(s), torch.from_numpy(t), pixels if masked else None)
    assert float(found) == pytest.approx(by_hand(name, s, t, valid), rel=1e-9)


@pytest.mark.parametrize("name", DISTANCES)
def test_identical_maps_give_zero_with_a_finite_gradient(name: str) -> None:
    t = torch.rand(2, 3, 4, 4)
    s = t.clone().requires_grad_()
    loss = DISTANCES[name](s, t)
    loss.backward()
    assert loss.item() == 0 and s.grad is not None and torch.equal(s.grad, torch.zeros_like(t))


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_valid_or_dead_teacher_is_finite(name: str) -> None:
    s = torch.rand(2, 3, 4, 4, requires_grad=True)
    nothing = torch.zeros(2, 32, 32, dtype=torch.uint8)
    loss = DISTANCES[name](s, torch.rand(2, 3, 4, 4), nothing)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(s.grad).all()


def test_relative_distance_ignores_scale_and_sum_grows_with_size() -> None:
    s, t = torch.rand(2, 2, 3, 4, 4).unbind(0)
    assert torch.allclose(DISTANCES["relative"](9 * s, 9 * t), DISTANCES["relative"](s, t))
    wide = [torch.cat([m, m], dim=3) for m in (s, t)]
    assert torch.allclose(DISTANCES["sum"](*wide), 2 * DISTANCES["sum"](s, t))
    assert torch.allclose(DISTANCES["mean"](*wide), DISTANCES["mean"](s, t))


def regression(**taps: float) -> Objective:
    return Objective(ObjectiveConfig("x", RegressionConfig(2.0, dict(taps))))


def test_loss_is_the_weighted_sum_of_its_layers() -> None:
    maps = {n: torch.rand(2, 3, 4, 4) for n in ("pool1", "pool5")}
    other = {n: torch.rand(2, 3, 4, 4) for n in maps}
    loss, parts = regression(pool1=0.25, pool5=1.0)(maps, other, {})
    raw = {k: DISTANCES["relative"](maps[k], other[k]) for k in maps}
    assert torch.allclose(loss, 2 * (0.25 * raw["pool1"] + raw["pool5"]))
    assert {k: (float(v), w) for k, (v, w) in parts.items()} == {
        "regression/pool1": (float(raw["pool1"]), 0.5),
        "regression/pool5": (float(raw["pool5"]), 2.0),
    }


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_gradient_of_a_layer_reaches_the_layers_up_to_it_only(depth: int) -> None:
    torch.manual_seed(0)
    net, tap = DeepLabVGG16(3, width=1 / 32, batch_norm=True), f"pool{depth}"
    maps = forward(net, torch.randn(2, 3, 32, 32), [tap])
    target = {tap: torch.rand_like(maps[tap])}
    regression(**{tap: 1.0})(maps, target, {})[0].backward()
    for name, parameter in net.named_parameters():
        up_to = name.startswith("conv") and int(name[4]) <= depth
        assert (parameter.grad is not None) == up_to, name


def supervised() -> Objective:
    return Objective(ObjectiveConfig("s", supervised=SupervisedConfig(1.0)))


def test_cross_entropy_is_the_mean_over_valid_pixels() -> None:
    logits, labels = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8), dtype=torch.uint8)
    labels[0, :5] = 255
    loss, _ = supervised()({LOGITS: logits}, {}, {"y": labels})
    logs = torch.log_softmax(logits, 1).permute(0, 2, 3, 1)
    picked = [
        -logs[i, y, x, int(labels[i, y, x])] for i, y, x in np.argwhere(labels.numpy() != 255)
    ]
    assert torch.allclose(loss, torch.stack(picked).mean())


def test_all_void_crop_gives_zero_and_a_finite_gradient() -> None:
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    void = torch.full((1, 16, 16), 255, dtype=torch.uint8)
    loss, _ = supervised()({LOGITS: logits}, {}, {"y": void})
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


def needs(objective: Objective) -> tuple[frozenset[str], frozenset[str], bool]:
    return objective.student, objective.teacher, objective.labels


def test_terms_ask_for_what_they_need_and_no_more() -> None:
    assert needs(regression(pool3=1.0)) == ({"pool3"}, {"pool3"}, False)
    assert needs(supervised()) == ({LOGITS}, frozenset(), True)
    both = ObjectiveConfig("b", RegressionConfig(1.0, {"pool3": 1.0}), SupervisedConfig(1.0))
    assert needs(Objective(both)) == ({"pool3", LOGITS}, {"pool3"}, True)


def test_wrong_objectives_are_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'relative'"):
        Objective(ObjectiveConfig("x", RegressionConfig(1.0, {"a": 1.0}, "relativ")))
    with pytest.raises(InputError, match="taps is empty"):
        RegressionConfig(1.0)
    with pytest.raises(InputError, match=r"taps\.pool1 is -1"):
        RegressionConfig(1.0, {"pool1": -1.0})


def test_mixed_precision_maps_are_compared_in_fp32() -> None:
    maps: dict[str, Tensor] = {"pool1": torch.rand(1, 2, 4, 4).bfloat16()}
    loss, _ = regression(pool1=1.0)(maps, {"pool1": torch.rand(1, 2, 4, 4).bfloat16()}, {})
    assert loss.dtype == torch.float32
