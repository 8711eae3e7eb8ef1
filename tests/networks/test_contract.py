"""What every network goes through, ours and others': layers, taps, adaptation, saving, views."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm
from torchvision.models import resnet

import adapt
from adapt.analysis.activations import activations
from adapt.evaluation.protocol import predict
from adapt.machine.runtime import runtime
from adapt.networks import NETWORKS, SCALABLE, build_network
from adapt.networks.batchnorm import adapt_statistics, batch_norms
from adapt.networks.layers import auto_taps, check, trace
from adapt.networks.taps import LOGITS, forward, logits_of
from adapt.settings.groups import NetworkConfig
from adapt.settings.protocol import ProtocolConfig
from viz.inversion.style import invert_image

CLASSES = 4
Size = tuple[int, int]
MACHINE = runtime("cpu", "fp32")


class Plain(nn.Module):
    """Two stages and a head; what differs in its children is all that the next tests are about."""

    def __init__(self, norm: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.a = nn.Sequential(norm(nn.Conv2d(3, 8, 3, 2, 1)), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> object:
        return self.head(self.b(self.a(x)))


class TwoNames(Plain):
    """A module under two names, and a tensor in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.aux = self.b, nn.Conv2d(8, CLASSES, 1)
        self.aux.weight = self.head.weight

    def forward(self, x: Tensor) -> object:
        maps = self.encoder(self.a(x))
        return self.head(maps) + self.aux(maps)


class Writes(Plain):
    """It normalises its input where it stands, and its maps too."""

    def forward(self, x: Tensor) -> object:
        maps = self.b[0](self.a(x.mul_(0.5).add_(0.1)))
        return self.head(maps.mul_(2).relu_())


class Auxiliary(Plain):
    """It returns more in training."""

    def forward(self, x: Tensor) -> object:
        maps = self.a(x)
        logits = self.head(self.b(maps))
        return (logits, self.head(maps)) if self.training else {"logits": logits}


class OneLogit(Plain):
    """One logit for two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(8, 1, 1)


def hooked() -> nn.Module:
    """With a hook of the user's own that changes a map."""
    net = Plain()
    net.a.register_forward_hook(lambda module, inputs, output: output * 2)
    return net


OWN: dict[str, tuple[Callable[[], nn.Module], Size]] = {
    "own two names": (TwoNames, (32, 48)),
    "own writes": (Writes, (32, 48)),
    "own auxiliary": (Auxiliary, (32, 48)),
    "own one logit": (OneLogit, (32, 48)),
    "own hook": (hooked, (32, 48)),
    "own weight norm": (partial(Plain, parametrizations.weight_norm), (32, 48)),
    "own old weight norm": (partial(Plain, weight_norm), (32, 48)),
    "own spectral norm": (partial(Plain, parametrizations.spectral_norm), (32, 48)),
    "own compiled": (lambda: torch.compile(Plain()), (32, 48)),
}
FOREIGN: dict[str, tuple[Callable[[], nn.Module], Size]] = {
    "transformers segformer": (partial(foreign.segformer, CLASSES), (64, 96)),
    "transformers upernet": (partial(foreign.upernet, CLASSES), (64, 96)),
    "timm vit": (partial(foreign.vit, CLASSES, dynamic_img_size=True), (64, 96)),
    "timm vit of one size": (partial(foreign.vit, CLASSES, img_size=(64, 96)), (64, 96)),
    "timm dinov2": (partial(foreign.dinov2, CLASSES), (56, 84)),
    "timm swin": (partial(foreign.swin, CLASSES), (64, 96)),
    "timm convnext": (partial(foreign.convnext, CLASSES), (64, 96)),
    "smp unet": (partial(foreign.smp, CLASSES, name="Unet"), (64, 96)),
    "smp deeplabv3+": (partial(foreign.smp, CLASSES, name="DeepLabV3Plus"), (64, 96)),
    "smp fpn": (partial(foreign.smp, CLASSES, name="FPN"), (64, 96)),
    "smp segformer": (
        partial(foreign.smp, CLASSES, name="Segformer", encoder="mit_b0"), (64, 96)
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNets of one block a stage, whatever their name says."""
    whole = resnet._resnet
    monkeypatch.setattr(
        resnet, "_resnet", lambda block, layers, *rest, **k: whole(block, [1] * 4, *rest, **k)
    )


def narrowed(make: Callable[..., None], counts: int) -> Callable[..., None]:
    """A layer's constructor that takes an eighth of its channels, where these are many."""

    def made(layer: nn.Module, *given: Any, **named: Any) -> None:
        make(layer, *(n // 8 if n >= 64 else n for n in given[:counts]), *given[counts:], **named)

    return made


def ours(name: str) -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        if name in ("pspnet_resnet50", "deeplabv3_resnet50", "fcn_resnet50"):  # wide heads
            patch.setattr(nn.Conv2d, "__init__", narrowed(nn.Conv2d.__init__, 2))
            patch.setattr(nn.BatchNorm2d, "__init__", narrowed(nn.BatchNorm2d.__init__, 1))
        # sunet64: torch 2.15 writes beyond its memory in the backward pass of 1x1 convolutions of
        # stride 2 with fewer than 8 channels, channels last, on processors with AVX2 alone.
        width = 1 / 8 if name == "sunet64" else 1 / 32 if name in SCALABLE else 1.0
        return build_network(NetworkConfig(name, width=width), CLASSES)


TWINS = {n for n in NETWORKS if n.replace("101", "50") in NETWORKS.keys() - {n}}
"""Networks that are another one with more blocks a stage."""
EVERY = {n: (partial(ours, n), (32, 48)) for n in NETWORKS if n not in TWINS} | OWN | FOREIGN


def pairs(count: int, size: Size) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    old = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)]
    return [(image, 255 - image // 2) for image in old]


@pytest.mark.parametrize("name", EVERY)
def test_a_network_is_adapted_saved_and_looked_at(name: str, tmp_path: Path) -> None:
    if library := foreign.LIBRARIES.get(name.split()[0]):
        pytest.importorskip(library)
    make, size = EVERY[name]
    torch.manual_seed(0)
    net = make()
    if batch_norms(net):  # as after a training, so that maps have a scale
        adapt_statistics(getattr(net, "_orig_mod", net), [torch.randn(4, 3, *size)])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    both = pairs(6, size)
    result = adapt.fit(
        net, both[:4], held_out=both[4:], steps=2, batch=2, device="cpu", run=tmp_path / "run",
        lr=1e-4, settings={"objective.kd.weight": 1, "precision": "fp32", "loggers": []},
    )  # fmt: skip
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert result.verdict is not None
    (line,) = result.history
    assert line["step"] == 2 and np.isfinite(line["loss"])
    regressed = [v["raw"] for k, v in line["parts"].items() if k.startswith("regression/")]
    assert regressed and min(regressed) > 0
    student = result.student
    images = torch.from_numpy(np.stack([x1 for x1, _ in both[:2]])).movedim(-1, 1)
    again = adapt.load(tmp_path / "run", make).student
    config, normalised = NetworkConfig(), torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = logits_of(student(normalised.clone()))
        assert torch.equal(logits, logits_of(again(normalised.clone())))
        layers = trace(student, size)
        taps = auto_taps(layers)
        assert taps
        check(layers, [*taps, LOGITS])
        maps = forward(student, normalised, [*taps, LOGITS])
        assert torch.equal(maps[LOGITS], logits)
    by_name = {layer.name: layer for layer in layers}
    assert all(maps[tap].shape[1:] == by_name[tap].map for tap in taps)
    one, two = (
        predict(MACHINE, student, config, images, size, ProtocolConfig(scales=s), 2, True)
        for s in ([1.0], [1.0, 1.0])
    )
    assert np.array_equal(one, two), "a view depends on the one before"
    (same, *_) = activations(student, again, list(taps), [(normalised, normalised)])
    assert same.distance == 0
    found = invert_image(student, config, both[0][0], taps, steps=2, optimizer="adam")
    assert len(found.curve) == 3 and found.curve[-1]["loss"] != found.curve[0]["loss"]
