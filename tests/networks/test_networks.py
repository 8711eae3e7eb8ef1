"""One contract that every network passes: taps, odd sizes, files, truncation."""

import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks import NETWORKS, SCALABLE, build_network
from adapt.networks.factory import permit
from adapt.networks.taps import LOGITS, forward, resolve
from adapt.settings import choices
from adapt.settings.groups import NetworkConfig

CLASSES = 5
SIZES = [(32, 48), (33, 41), (47, 70), (9, 65)]
POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")
UPSAMPLED = (
    "deeplabv3", "fcn_", "lraspp", "fcn32s_learnt", "fcn32s_alexnet", "fcn32s_resnet18"
)  # fmt: skip
"""Networks that bring their logits to the image's size themselves."""
STRIDES = {"fcn32s_vgg16": 32, "fcn16s_vgg16": 16, "sunet64": 32}


class Residual(nn.Module):
    """A stand-in for a user's own network: a strided stem, `+=`, in-place ReLU, an output dict."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        y = self.branch(x)
        y += x
        return {"out": self.head(self.act(y))}


OWN = f"{__name__}:Residual"
permit(OWN)


def configuration(name: str) -> NetworkConfig:
    """Small where that is possible; a VGG-16 with batch norm is called NAME_bn."""
    if name == "own":
        return NetworkConfig(factory=OWN, aliases={"pool1": "stem", "pool5": "act"})
    bare = name.removesuffix("_bn")
    width = 1 / 16 if bare.endswith("_vgg16") or bare in SCALABLE else 1
    return NetworkConfig(name=bare, width=width, batch_norm=bare != name)


def test_settings_name_torchvisions_classifiers() -> None:
    every = torchvision.models.list_models(module=torchvision.models)
    assert tuple(n for n in every if n not in ("googlenet", "inception_v3")) == choices.CLASSIFIERS


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_have_the_stated_sizes_and_pools_fall_in_resolution(name: str) -> None:
    with torch.device("meta"):
        net = build_network(configuration(name), CLASSES).eval()
        assert all(resolve(net, pool) for pool in POOLS)
        for size in SIZES:
            maps = forward(net, torch.zeros(1, 3, *size), [*POOLS, LOGITS])
            stride = 1 if name.startswith(UPSAMPLED) else STRIDES.get(name, 8)
            assert maps[LOGITS].shape == (1, CLASSES, *(math.ceil(n / stride) for n in size))
            sides = [maps[pool].shape[2] for pool in POOLS]
            assert sides == sorted(sides, reverse=True) and sides[-1] < size[0]


@pytest.fixture(
    scope="module",
    params=["deeplab_vgg16", "deeplab_vgg16_bn", "fcn8s_vgg16_bn", "deeplabv2_resnet101",
            "pspnet_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large", "fcn32s_alexnet",
            "sunet64", "own"],
)  # fmt: skip
def net(request: pytest.FixtureRequest) -> nn.Module:
    """One of each kind, with weights; every test leaves them as they are."""
    torch.manual_seed(0)
    return build_network(configuration(request.param), CLASSES)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 17, 25, generator=torch.Generator().manual_seed(1))


def test_unknown_taps_name_the_choices_and_no_hook_is_left(net: nn.Module, x: Tensor) -> None:
    for refuses in (lambda: forward(net, x, ["pol5"]), lambda: resolve(net, "pol5")):
        with pytest.raises(InputError, match=r"'pol5' is not known. Did you mean 'pool5'"):
            refuses()
    forward(net.eval(), x, ["pool1"])
    with pytest.raises(RuntimeError):
        forward(net, x[:, :2], ["pool5"])  # two channels
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(name="fcn_resnet50", width=0.5), "width .* fcn_resnet50 has a fixed arch"),
        (NetworkConfig(name="sunet64", batch_norm=True), r"batch_norm is True; .*; sunet64 has"),
        (NetworkConfig("deeplabv2_vgg16", pool5a=True), "pool5a .* belongs to deeplab_vgg16;"),
        (NetworkConfig("lraspp_mobilenet_v3_large", auxiliary=0.4), "auxiliary is 0.4; it belongs"),
        (NetworkConfig(width=1 / 16, aliases={"pool9": "conv9"}),
         r"network.aliases.pool9: layer: 'conv9' is not known"),
        (NetworkConfig(arguments={"width": 3}), "network.arguments is for network.factory only"),
    ],
)  # fmt: skip
def test_wrong_networks_are_refused(config: NetworkConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_network(config, 2)
