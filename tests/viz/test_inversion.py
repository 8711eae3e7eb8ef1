"""Style inversion: its terms by hand, its fixed point, and what it must not touch."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adapt.errors import InputError
from adapt.machine.runtime import Runtime, native_bf16
from adapt.networks import build_network
from adapt.networks.layers import trace
from adapt.settings.groups import NetworkConfig
from adapt.settings.viz import InvertConfig
from viz.inversion.command import curves_chart, invert, invert_all, machine_of, weights_of
from viz.inversion.style import MOMENTUM, NOISE, Matching, gram, invert_image

CONFIG = NetworkConfig(width=1 / 16, batch_norm=True)
TAPS = {"pool1": 1.0, "pool3": 2.0}
STYLE = 1e4
"""Of the printed style, which is as small against the printed content."""
SLOW = 1e-5
"""Rate at which single precision does not part two ways of summing the printed objective."""
WEIGHTS = {"content": 1.0, "style": 1.0, "tv": 0.0}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    made = build_network(CONFIG, 3).train()
    with torch.no_grad():
        made(torch.randn(2, 3, 40, 40))
    return made


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)


def pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def test_gram_equals_a_plain_loop_and_has_its_gradient() -> None:
    """The gradient against finite differences, of a sum that is not symmetric in the matrix."""
    maps = torch.randn(1, 3, 4, 5)
    flat = maps[0].numpy().reshape(3, 20)
    expected = [[sum(flat[i] * flat[j]) / 20 for j in range(3)] for i in range(3)]
    assert np.allclose(gram(maps).numpy(), expected, atol=1e-5)  # summation order in fp32
    weights = torch.randn(3, 3, dtype=torch.double)
    for memory in (torch.contiguous_format, torch.channels_last):
        maps = maps.double().to(memory_format=memory)
        assert torch.autograd.gradcheck(lambda m: gram(m) * weights, maps.requires_grad_())


def plain_loss(
    net: nn.Module, target: torch.Tensor, image: torch.Tensor, kind: str
) -> torch.Tensor:
    """What Matching promises, nothing shared or kept: TAPS, content, style and 0.1 tv; or 003's
    and Gatys et al.'s printed sums without tv."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CONFIG.mean, CONFIG.std))
    maps: dict[int, list[torch.Tensor]] = {}
    for x in (target, image):
        x = (x - mean) / std
        for number in (1, 2, 3):
            x = net.get_submodule(f"pool{number}")(net.get_submodule(f"conv{number}")(x))
            maps.setdefault(number, []).append(x)
    loss = torch.zeros(())
    if kind == "paper":
        for number, weight in ((1, 1.0), (3, 2.0)):
            a, b = (m[0].flatten(1) for m in maps[number])
            channels, cells = a.shape
            loss = loss + weight * ((b - a) ** 2).sum() / 2
            style = ((b @ b.T - a @ a.T) ** 2).sum() / (4 * channels**2 * cells**2)
            loss = loss + weight * STYLE * style
        return loss
    loss = 0.1 * (image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean())
    for number, weight in ((1, 1 / 3), (3, 2 / 3)):
        wanted, found = maps[number]
        a, b = (torch.einsum("nchw,ndhw->cd", m, m) / m[0, 0].numel() for m in (wanted, found))
        loss = loss + weight * ((found - wanted) ** 2).sum() / (2 * (wanted**2).sum())
        loss = loss + weight * ((b - a) ** 2).sum() / (a**2).sum()
    return loss


@pytest.mark.parametrize(
    ("kind", "memory"),
    [("relative", torch.contiguous_format), ("relative", torch.channels_last),
     ("paper", torch.channels_last)],
)  # fmt: skip
def test_the_papers_mode_equals_a_plain_loop(
    net: nn.Module, image: np.ndarray, kind: str, memory: torch.memory_format
) -> None:
    """20 steps of SGD with momentum by hand, autograd's own Gram gradient."""
    rates = {"relative": 0.0005 * image.shape[0] * image.shape[1], "paper": SLOW}
    rate, steps, target = rates[kind], 20, pixels(image)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(3))
    x, speed = (0.5 + NOISE * noise).clamp(0, 1), torch.zeros(target.shape)
    net.eval()
    losses = []
    for _ in range(steps):
        x = x.detach().requires_grad_()
        loss = plain_loss(net, target, x, kind)
        (gradient,) = torch.autograd.grad(loss, x)
        losses.append(loss.item())
        speed = MOMENTUM * speed + gradient
        x = (x - rate * speed).clamp(0, 1)
    placed = deepcopy(net).to(memory_format=memory)
    given = {"tv": 0.1} if kind == "relative" else {
        "style": STYLE, "loss": kind, "lr": SLOW}  # fmt: skip
    found = invert_image(placed, CONFIG, image, TAPS, optimizer="sgd", steps=steps, seed=3, **given)
    assert losses[-1] < 0.9 * losses[0]
    assert [c["loss"] for c in found.curve[:-1]] == pytest.approx(losses, rel=1e-4)
    expected = (x[0] * 255).round().detach().permute(1, 2, 0).numpy()
    difference = np.abs(found.image - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # at the edges of rounding


def test_bf16_comes_near_and_computes_losses_in_fp32(net: nn.Module, image: np.ndarray) -> None:
    settings = {"optimizer": "adam", "steps": 30, "seed": 1}
    exact = invert_image(net, CONFIG, image, TAPS, **settings)
    machine = Runtime(torch.device("cpu"), bf16=True)
    found = invert_image(net, CONFIG, image, TAPS, machine=machine, **settings)
    assert not np.array_equal(found.image, exact.image)
    assert found.curve[-1]["loss"] == pytest.approx(exact.curve[-1]["loss"], rel=0.1)
    loss = Matching(net, CONFIG, pixels(image), TAPS, WEIGHTS, machine)
    assert {m.dtype for m in loss.maps(pixels(image)).values()} == {torch.float32}
    assert all(v.dtype == torch.float32 for v, _ in loss.parts(pixels(image)).values())


def test_precision_that_is_chosen() -> None:
    chosen = {("auto", "lbfgs"): False, ("auto", "adam"): native_bf16(torch.device("cpu")),
              ("bf16", "lbfgs"): True, ("fp32", "adam"): False}  # fmt: skip
    for (given, optimizer), bf16 in chosen.items():
        config = InvertConfig(device="cpu", precision=given, optimizer=optimizer)
        assert machine_of(config).bf16 == bf16


def test_image_itself_is_the_fixed_point(net: nn.Module, image: np.ndarray) -> None:
    loss = Matching(net.eval(), CONFIG, pixels(image), TAPS, WEIGHTS)
    value, gradient = loss.gradient(pixels(image))
    assert value == 0 and torch.equal(gradient, torch.zeros_like(pixels(image)))


@pytest.mark.parametrize(("optimizer", "tv"), [("sgd", 0.0), ("adam", 0.5), ("lbfgs", 0.0)])
def test_every_optimiser_gets_nearer_and_leaves_the_network_alone(
    net: nn.Module, image: np.ndarray, optimizer: str, tv: float
) -> None:
    """In both memory formats: without a total variation no gradient brings the image's along."""
    for memory in (torch.contiguous_format, torch.channels_last):
        placed = deepcopy(net).to(memory_format=memory).train()
        before = {k: v.clone() for k, v in placed.state_dict().items()}
        found = invert_image(placed, CONFIG, image, TAPS, optimizer=optimizer, tv=tv, steps=30)
        assert found.curve[-1]["loss"] < 0.6 * found.curve[0]["loss"]
        assert found.image.shape == image.shape and found.image.dtype == np.uint8
        assert all(torch.equal(v, before[k]) for k, v in placed.state_dict().items())
        assert placed.training and all(p.grad is None for p in placed.parameters())
    assert set(found.curve[0]) - {"tv"} == {
        "step", "loss", "content/pool1", "content/pool3", "style/pool1", "style/pool3",
    }  # fmt: skip


def test_teachers_maps_of_an_image_are_met_by_its_partner(
    net: nn.Module, image: np.ndarray
) -> None:
    """The new domain swaps red and blue, and the student is the teacher with swapped inputs: its
    maps of the swapped image are the teacher's of the image."""
    config = NetworkConfig(width=1 / 16, batch_norm=True, mean=[0.5] * 3, std=[0.2] * 3)
    student = deepcopy(net).eval()
    first = next(m for m in student.modules() if isinstance(m, nn.Conv2d))
    first.weight.data = first.weight.data.flip(1)
    x1 = pixels(image)
    met = Matching(student, config, x1, TAPS, WEIGHTS, wanted=deepcopy(net).eval())
    assert met(x1.flip(1)).item() < 1e-9 < 1e-3 < met(x1).item()
    own = Matching(student, config, x1, TAPS, WEIGHTS)
    assert own(x1).item() < 1e-9 < 1e-3 < own(x1.flip(1)).item()


def test_nothing_after_the_deepest_layer_and_no_term_of_weight_0_is_computed(
    net: nn.Module, image: np.ndarray
) -> None:
    ran: list[str] = []
    hooks = [
        net.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name in ("conv4", "fc6", "conv3")
    ]
    found = invert_image(net, CONFIG, image, TAPS, style=0.0, tv=0.5, steps=1, optimizer="adam")
    for hook in hooks:
        hook.remove()
    assert set(ran) == {"conv3"}
    assert set(found.curve[0]) == {"step", "loss", "content/pool1", "content/pool3", "tv"}


def test_wrong_settings_are_named(net: nn.Module, image: np.ndarray) -> None:
    wrong: list[tuple[dict, str]] = [
        ({"taps": {"pool9": 1.0}}, "pool9.*pool5"),
        ({"taps": {}}, "an inversion needs a layer"),
        ({"taps": {"pool1": 0.0}}, "above 0"),
        ({"content": 0.0, "style": 0.0}, "content 0, style 0"),
        ({"optimizer": "rmsprop"}, "sgd, adam, lbfgs"),
        ({"lr": 0.1}, "lr=0"),
    ]
    for settings, message in wrong:
        with pytest.raises(InputError, match=message):
            invert_image(net, CONFIG, image, **({"taps": TAPS, "steps": 1} | settings))


@pytest.mark.parametrize(
    ("given", "taps"),
    [
        ("", dict.fromkeys(["pool1", "pool2", "pool3", "pool4", "pool5"], 1.0)),
        ("auto", dict.fromkeys(["conv1", "conv2", "conv3", "fc7.2"], 1.0)),
        (["pool2", "fc6.0"], {"pool2": 1.0, "fc6.0": 1.0}),
        ({"pool2": 3.0}, {"pool2": 3.0}),
    ],
)
def test_layers_are_given_as_for_a_training(
    net: nn.Module, given: object, taps: dict[str, float]
) -> None:
    assert weights_of(InvertConfig(taps=given).taps, trace(net, (32, 32))) == taps


def test_of_a_network_without_the_papers_layers_auto_chooses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    assert weights_of("", trace(net, (32, 32))) == {"1": 1.0, "3": 1.0}
    assert "taps=auto takes 1, 3" in capsys.readouterr().out
    for pairs in ("pairs", {"pool1": "layer1"}):
        with pytest.raises(InputError, match="an inversion has no pairs"):
            InvertConfig(taps=pairs)


def test_command_writes_pictures_curves_and_montage(world: Path, tmp_path: Path) -> None:
    picture, teacher = sorted((world / "d1" / "val").iterdir())[0], world / "teacher"
    given = {"device": "cpu", "run": str(teacher), "steps": 2}
    out = invert(InvertConfig(image=str(picture), out=str(tmp_path / "a"), **given))
    names = {p.name for p in out.iterdir()}
    assert names == {"original.png", "network.png", "curves.json", "curves.png", "montage.png"}
    both, b = {"teacher": teacher, "student": teacher}, tmp_path / "b"
    invert_all(both, picture, b, InvertConfig(device="cpu", steps=2))
    assert (b / "teacher.png").read_bytes() == (b / "student.png").read_bytes()
    with pytest.raises(InputError, match="maps=teacher needs a run with a teacher; there is netw"):
        invert(InvertConfig(image=str(picture), maps="teacher", out=str(tmp_path / "c"), **given))
    with pytest.raises(InputError, match=r"maps: 'theirs' is not known\. .*own, teacher"):
        InvertConfig(maps="theirs")
    with pytest.raises(InputError, match=r"optimizer=sgd tv=0\.05: give optimizer=sgd tv=0"):
        InvertConfig(loss="paper", optimizer="sgd")
    with pytest.raises(InputError, match="needs run=DIR and image=FILE"):
        invert(InvertConfig(**given))
    with pytest.raises(InputError, match="cannot name a network"):
        invert_all({"../x": teacher}, picture, tmp_path / "c", InvertConfig(device="cpu", steps=1))
    assert not (tmp_path / "c").exists()


def test_curves_have_one_legend_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on the lines of the last network."""
    monkeypatch.setattr("viz.inversion.command.png", lambda figure: figure)
    curve = [{"step": n, "loss": 2.0, "content/a": 1.0, "style/a": 1.0} for n in range(2)]
    figure: Any = curves_chart({"teacher": curve, "student": curve}, "unit")
    assert all(axis.get_legend() is None for axis in figure.axes)
    (legend,) = figure.legends
    assert [x.get_text() for x in legend.get_texts()] == ["content/a", "style/a", "loss"]
