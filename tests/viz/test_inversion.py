"""Style inversion: its terms by hand, its fixed point, and what it must not touch."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adapt.errors import InputError
from adapt.machine.runtime import Runtime, native_bf16
from adapt.networks import build_network
from adapt.settings.groups import NetworkConfig
from adapt.settings.viz import InvertConfig
from viz.inversion.command import invert, invert_all, machine_of
from viz.inversion.descent import MOMENTUM
from viz.inversion.style import (
    NOISE,
    Matching,
    content_loss,
    gram,
    invert_image,
    style_loss,
    variation,
)

CONFIG = NetworkConfig(width=1 / 16, batch_norm=True)
TAPS = {"pool1": 1.0, "pool3": 2.0}


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


def test_gram_equals_a_plain_loop() -> None:
    maps = torch.randn(1, 3, 4, 5)
    flat = maps[0].numpy().reshape(3, 20)
    expected = [[sum(flat[i] * flat[j]) / 20 for j in range(3)] for i in range(3)]
    assert np.allclose(gram(maps).numpy(), expected, atol=1e-5)  # summation order in fp32


def test_gram_has_the_gradient_of_finite_differences() -> None:
    """Of a sum that is not symmetric in the matrix, in both memory formats."""
    weights = torch.randn(3, 3, dtype=torch.double)
    for memory in (torch.contiguous_format, torch.channels_last):
        maps = torch.randn(1, 3, 4, 5, dtype=torch.double).to(memory_format=memory)
        assert torch.autograd.gradcheck(lambda m: gram(m) * weights, maps.requires_grad_())


def plain_loss(net: nn.Module, target: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """What Matching promises, nothing shared or kept: TAPS, content, style and 0.1 tv."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CONFIG.mean, CONFIG.std))
    maps: dict[int, list[torch.Tensor]] = {}
    for x in (target, image):
        x = (x - mean) / std
        for number in (1, 2, 3):
            x = net.get_submodule(f"pool{number}")(net.get_submodule(f"conv{number}")(x))
            maps.setdefault(number, []).append(x)
    loss = 0.1 * (image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean())
    for number, weight in ((1, 1 / 3), (3, 2 / 3)):
        wanted, found = maps[number]
        a, b = (torch.einsum("nchw,ndhw->cd", m, m) / m[0, 0].numel() for m in (wanted, found))
        loss = loss + weight * ((found - wanted) ** 2).sum() / (2 * (wanted**2).sum())
        loss = loss + weight * ((b - a) ** 2).sum() / (a**2).sum()
    return loss


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_papers_mode_equals_a_plain_loop(
    net: nn.Module, image: np.ndarray, memory: torch.memory_format
) -> None:
    """20 steps of SGD with momentum by hand, autograd's own Gram gradient."""
    rate, steps = 0.0005 * image.shape[0] * image.shape[1], 20
    target = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(3))
    x, speed = (0.5 + NOISE * noise).clamp(0, 1), torch.zeros(target.shape)
    net.eval()
    losses = []
    for _ in range(steps):
        x = x.detach().requires_grad_()
        loss = plain_loss(net, target, x)
        (gradient,) = torch.autograd.grad(loss, x)
        losses.append(loss.item())
        speed = MOMENTUM * speed + gradient
        x = (x - rate * speed).clamp(0, 1)
    placed = deepcopy(net).to(memory_format=memory)
    found = invert_image(placed, CONFIG, image, TAPS, tv=0.1, optimizer="sgd", steps=steps, seed=3)
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
    target = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    loss = Matching(net, CONFIG, target, TAPS, {"content": 1.0, "style": 1.0, "tv": 0}, machine)
    assert {m.dtype for m in loss.maps(target).values()} == {torch.float32}
    assert all(v.dtype == torch.float32 for v, _ in loss.parts(target).values())


@pytest.mark.parametrize(
    ("given", "optimizer", "bf16"),
    [
        ("auto", "lbfgs", False),
        ("bf16", "lbfgs", True),
        ("auto", "adam", native_bf16(torch.device("cpu"))),
        ("fp32", "adam", False),
    ],
)
def test_precision_that_is_chosen(given: str, optimizer: str, bf16: bool) -> None:
    config = InvertConfig(device="cpu", precision=given, optimizer=optimizer)
    assert machine_of(config).bf16 == bf16


def test_terms_by_hand() -> None:
    found, wanted = torch.randn(2, 1, 3, 4, 5).unbind(0)
    relative = ((found - wanted) ** 2).sum() / (wanted**2).sum()
    assert torch.allclose(content_loss(found, wanted), relative / 2)
    assert float(style_loss(wanted, wanted)) == float(content_loss(wanted, wanted)) == 0
    mirrored = wanted.flip(-1)
    assert float(content_loss(mirrored, wanted)) > 0.1
    assert float(style_loss(mirrored, wanted)) < 1e-10  # position does not matter to style


def test_total_variation_of_a_ramp() -> None:
    ramp = torch.arange(5.0).expand(1, 3, 4, 5)
    assert float(variation(ramp)) == pytest.approx(1.0)
    assert float(variation(torch.ones(1, 3, 4, 5))) == 0


def test_image_itself_is_the_fixed_point(net: nn.Module, image: np.ndarray) -> None:
    target = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    loss = Matching(net.eval(), CONFIG, target, TAPS, {"content": 1.0, "style": 1.0, "tv": 0.0})
    value, gradient = loss.gradient(target)
    assert value == 0 and torch.equal(gradient, torch.zeros_like(target))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_every_optimiser_gets_nearer_and_leaves_the_network_alone(
    net: nn.Module, image: np.ndarray, optimizer: str
) -> None:
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = invert_image(net, CONFIG, image, TAPS, optimizer=optimizer, steps=30)
    assert found.curve[-1]["loss"] < 0.6 * found.curve[0]["loss"]
    assert found.image.shape == image.shape and found.image.dtype == np.uint8
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and all(p.grad is None for p in net.parameters())
    assert set(found.curve[0]) == {
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
    x1 = torch.tensor(image.transpose(2, 0, 1)[None]).float() / 255
    weights = {"content": 1.0, "style": 1.0, "tv": 0.0}
    met = Matching(student, config, x1, TAPS, weights, wanted=deepcopy(net).eval())
    assert met(x1.flip(1)).item() < 1e-9 < 1e-3 < met(x1).item()
    own = Matching(student, config, x1, TAPS, weights)
    assert own(x1).item() < 1e-9 < 1e-3 < own(x1.flip(1)).item()


def test_seed_decides_the_noise(net: nn.Module, image: np.ndarray) -> None:
    a, b, c = (invert_image(net, CONFIG, image, TAPS, steps=2, seed=s).image for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_nothing_behind_the_deepest_layer_runs(net: nn.Module, image: np.ndarray) -> None:
    ran: list[str] = []
    hooks = [
        net.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name in ("conv4", "fc6", "conv3")
    ]
    invert_image(net, CONFIG, image, TAPS, steps=1)
    for hook in hooks:
        hook.remove()
    assert set(ran) == {"conv3"}


def test_weights_of_terms_switch_them_off(net: nn.Module, image: np.ndarray) -> None:
    found = invert_image(net, CONFIG, image, TAPS, style=0.0, tv=0.5, steps=1, optimizer="adam")
    assert set(found.curve[0]) == {"step", "loss", "content/pool1", "content/pool3", "tv"}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "sgd"])
def test_every_optimizer_does_without_total_variation(
    net: nn.Module, image: np.ndarray, optimizer: str, memory: torch.memory_format
) -> None:
    """Whose gradient would bring the image's memory format along."""
    placed = deepcopy(net).to(memory_format=memory)
    found = invert_image(placed, CONFIG, image, TAPS, tv=0.0, optimizer=optimizer, steps=4)
    assert found.curve[-1]["loss"] < found.curve[0]["loss"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"taps": {"pool9": 1.0}}, "pool9.*pool5"),
        ({"taps": {}}, "an inversion needs a layer"),
        ({"taps": {"pool1": 0.0}}, "above 0"),
        ({"content": 0.0, "style": 0.0}, "content 0, style 0"),
        ({"optimizer": "rmsprop"}, "sgd, adam, lbfgs"),
        ({"lr": 0.1}, "lr=0"),
    ],
)
def test_wrong_settings_are_named(
    net: nn.Module, image: np.ndarray, settings: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        invert_image(net, CONFIG, image, **({"taps": TAPS, "steps": 1} | settings))


def test_command_writes_pictures_curves_and_montage(world: Path, tmp_path: Path) -> None:
    picture = sorted((world / "d1" / "val").iterdir())[0]
    teacher = world / "teacher"
    out = invert(
        InvertConfig(
            device="cpu", run=str(teacher), image=str(picture), out=str(tmp_path / "a"), steps=2
        )
    )
    names = {p.name for p in out.iterdir()}
    assert names == {"original.png", "network.png", "curves.json", "curves.png", "montage.png"}
    both = {"teacher": teacher, "student": teacher}
    invert_all(both, picture, tmp_path / "b", InvertConfig(device="cpu", steps=2))
    assert (tmp_path / "b" / "teacher.png").read_bytes() == (
        tmp_path / "b" / "student.png"
    ).read_bytes()
    with pytest.raises(
        InputError, match="maps=teacher needs a run with a teacher; there is network"
    ):
        lone = InvertConfig(run=str(world / "teacher"), image=str(picture), maps="teacher")
        invert(replace(lone, out=str(tmp_path / "lone"), device="cpu"))
    with pytest.raises(InputError, match=r"maps: 'theirs' is not known\. .*own, teacher"):
        InvertConfig(maps="theirs")
    with pytest.raises(InputError, match="needs run=DIR and image=FILE"):
        invert(InvertConfig(device="cpu", run=str(teacher)))
    with pytest.raises(InputError, match="cannot name a network"):
        invert_all({"../x": teacher}, picture, tmp_path / "c", InvertConfig(device="cpu", steps=1))
