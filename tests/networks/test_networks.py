"""One contract that every network passes: taps, odd sizes, files, truncation."""

import math

import pytest
import torch
import torchvision

from adapt.errors import InputError
from adapt.networks import NETWORKS, SCALABLE, build_network
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


def configuration(name: str) -> NetworkConfig:
    """Small where that is possible; a VGG-16 with batch norm is called NAME_bn."""
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
