"""What `taps=auto` takes, and maps in what a module returns, on networks of known structure."""

import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks.layers import auto_taps, check, trace
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig

SIZE = (64, 96)
STORY = Path(__file__).resolve().parents[2] / "docs/own_network"


class Encoder(nn.Module):
    """Returns several maps, as timm's and segmentation_models_pytorch's encoders do; `tokens` has
    a map only in what the encoder returns, as a transformer of tokens has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True))
        self.stage = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.tokens = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> OrderedDict[str, object]:
        first = self.stem(x)
        second = self.stage(first)
        tokens = self.tokens(second.flatten(2).transpose(1, 2))
        third = tokens.transpose(1, 2).reshape(second.shape)
        return OrderedDict(maps=[first, second], last=third)


class Gathered(nn.Module):
    """A decoder with dropout on an encoder of several maps, beside a pyramid pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.pyramid = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(8, 8, 1))
        self.block = nn.Sequential(nn.Conv2d(20, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.5))
        self.dropout, self.head = nn.Dropout2d(0.5), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.encoder(x)
        first, last = found["maps"][0], found["last"]
        up = [nn.functional.interpolate(m, first.shape[2:]) for m in (last, self.pyramid(last))]
        return self.head(self.dropout(self.block(torch.cat([first, *up], 1)) + 1))


class Supervised(nn.Module):
    """A head and, at a map of other channels that ends beside the logits, an auxiliary one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1)
        )
        self.extra = nn.Sequential(nn.Conv2d(4, 7, 3, padding=1), nn.ReLU(), nn.Conv2d(7, 5, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.stem(x)
        logits = torch.zeros(len(x), 5, *x.shape[2:], device=x.device)
        logits[:] = nn.functional.interpolate(self.classifier(first), x.shape[2:])
        return {"out": logits, "aux": self.extra(first)}


def unet() -> nn.Module:
    sys.path.insert(0, str(STORY))
    try:
        from unet import unet as make
    finally:
        sys.path.remove(str(STORY))
    return make()


def built(name: str, **settings: float) -> nn.Module:
    return build_network(NetworkConfig(name=name, **settings), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (built("deeplab_vgg16", width=1 / 32), ["conv1", "conv2", "conv3", "fc7.1"]),
        (built("fcn_resnet50"), ["backbone.relu", "backbone.layer1", "classifier.2"]),
        (built("pspnet_resnet50"), ["backbone.relu", "backbone.layer1", "classifier.2"]),
        (
            built("lraspp_mobilenet_v3_large"),
            ["backbone.1", "backbone.3", "backbone.6", "classifier.cbr"],
        ),
        (built("resnet18"), ["relu", "layer1", "layer2", "layer3", "layer4"]),
        (unet(), ["down.0", "down.1", "down.2", "down.3", "down.4", "merge.3"]),
        (Gathered(), ["encoder.stem", "encoder.tokens", "block.1"]),
        (Supervised(), ["classifier.1"]),
        (nn.Conv2d(3, 5, 1), []),
        (nn.Sequential(nn.Flatten(2), nn.Linear(SIZE[0] * SIZE[1], 4), nn.Flatten()), []),
    ],
    ids=[
        "vgg",
        "resnet",
        "pspnet",
        "mobilenet",
        "classifier",
        "unet",
        "gathered",
        "auxiliary",
        "bare",
        "tokens",
    ],
)
def test_auto_takes_the_last_map_of_each_stride_and_before_the_classifier(
    net: nn.Module, names: list[str]
) -> None:
    """Named here by hand from the architectures, the outermost name of each map, before dropout."""
    layers = trace(net, SIZE)
    found = auto_taps(layers)
    assert list(found) == names
    total = len(names) * (len(names) + 1) / 2
    assert list(found.values()) == pytest.approx([i / total for i in range(1, len(names) + 1)])
    check(layers, [*found, LOGITS])


def test_maps_in_what_a_module_returns_are_tapped_by_their_path() -> None:
    torch.manual_seed(0)
    net, image = Gathered().eval(), torch.rand(1, 3, *SIZE)
    layers = {x.name: x for x in trace(net, SIZE)}
    wanted = {
        "encoder.maps.0": net.encoder(image)["maps"][0],
        "encoder.maps.1": net.encoder(image)["maps"][1],
        "encoder.last": net.encoder(image)["last"],
    }
    found = forward(net, image, wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value) and layers[name].shape == value.shape
    assert layers["encoder.maps.1"].same_as == "encoder.stage.2"
    for tap, message in (
        ("encoder", r"returns OrderedDict\); near it can: encoder.maps.0, encoder.maps.1, enc"),
        ("encoder.lst", r"'encoder.lst' is not known. Did you mean 'encoder.last'"),
    ):
        with pytest.raises(InputError, match=message + r".*\. taps=auto would take \{encoder.stem"):
            check(list(layers.values()), [tap])
        with pytest.raises(InputError, match=r"encoder\.maps\.0"):
            forward(net, image, [tap])
