"""Networks by name: any nn.Module from normalised images to logits; one paper a file."""

from collections.abc import Callable

from torch import nn

from adapt.config import NetworkConfig
from adapt.errors import unknown
from adapt.networks.deeplab_vgg16 import DeepLabVGG16


def deeplab_vgg16(config: NetworkConfig, classes: int) -> nn.Module:
    return DeepLabVGG16(classes, width=config.width, batch_norm=config.batch_norm)


NETWORKS: dict[str, Callable[[NetworkConfig, int], nn.Module]] = {"deeplab_vgg16": deeplab_vgg16}
"""Adding a network is one function and one line here."""


def build_network(config: NetworkConfig, classes: int) -> nn.Module:
    """A freshly initialised network with `classes` outputs."""
    if config.name not in NETWORKS:
        raise unknown("network", config.name, NETWORKS)
    return NETWORKS[config.name](config, classes)
