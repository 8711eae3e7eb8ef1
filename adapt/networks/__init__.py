"""Networks by name: any nn.Module from normalised images to logits; one paper a file.

A network may carry `aliases`, short names of its layers. All built-in ones have pool1 to pool5, so
that the paper's objectives fit each of them.
"""

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.models import segmentation

from adapt.errors import InputError, unknown
from adapt.networks.classifiers import CLASSIFIERS, classifier
from adapt.networks.deeplab_v2 import DeepLabV2, DilatedResNet
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.factory import own_network
from adapt.networks.fcn_vgg16 import FCNVGG16
from adapt.networks.pspnet import PSPNet
from adapt.settings.groups import NetworkConfig

RESNET = {"pool1": "backbone.maxpool"} | {f"pool{n + 1}": f"backbone.layer{n}" for n in range(1, 5)}
"""The stem's pooling, then the ends of the four residual stages."""
MOBILENET = {f"pool{n}": f"backbone.{i}" for n, i in enumerate((1, 3, 6, 12, 16), 1)}
"""The last block before each further stride (or dilation), and the last layer."""


def deeplab_vgg16(config: NetworkConfig, classes: int) -> nn.Module:
    return DeepLabVGG16(classes, width=config.width, batch_norm=config.batch_norm)


def fcn_vgg16(config: NetworkConfig, classes: int, stride: int) -> nn.Module:
    return FCNVGG16(classes, stride, width=config.width, batch_norm=config.batch_norm)


def pspnet(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    _fixed(config)
    return _named(PSPNet(classes, depth), RESNET)


def deeplab_v2(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    _fixed(config)
    return _named(DeepLabV2(classes, depth), RESNET)


def dilated_resnet(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    _fixed(config)
    return _named(DilatedResNet(classes, depth), RESNET)


def torchvision_network(config: NetworkConfig, classes: int) -> nn.Module:
    """torchvision.models.segmentation's network of this name, without weights or auxiliary head."""
    _fixed(config)
    make = getattr(segmentation, config.name)
    net = make(weights=None, weights_backbone=None, num_classes=classes, aux_loss=None)
    return _named(net, MOBILENET if "mobilenet" in config.name else RESNET)


TORCHVISION = (
    "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50", "fcn_resnet101", "lraspp_mobilenet_v3_large",
)  # fmt: skip
"""Chen et al. 2017 (DeepLabV3), Long et al. 2015 on ResNet, Howard et al. 2019 (LR-ASPP)."""


def image_classifier(config: NetworkConfig, classes: int) -> nn.Module:
    """torchvision's network of this name for one label an image."""
    _fixed(config)
    return _named(*classifier(config.name, classes))


NETWORKS: dict[str, Callable[[NetworkConfig, int], nn.Module]] = {
    "deeplab_vgg16": deeplab_vgg16,
    "fcn32s_vgg16": partial(fcn_vgg16, stride=32),
    "fcn16s_vgg16": partial(fcn_vgg16, stride=16),
    "fcn8s_vgg16": partial(fcn_vgg16, stride=8),
    "deeplabv2_resnet101": partial(deeplab_v2, depth=101),
    "dilated_resnet101": partial(dilated_resnet, depth=101),
    "pspnet_resnet50": partial(pspnet, depth=50),
    "pspnet_resnet101": partial(pspnet, depth=101),
    **dict.fromkeys(TORCHVISION, torchvision_network),
}
"""Adding a network is one function and one line here."""


def build_network(config: NetworkConfig, classes: int) -> nn.Module:
    """A freshly initialised network with `classes` outputs, carrying its aliases.

    Raises:
        InputError: unknown name, a factory that fails, or an alias of a layer that is not there.
    """
    if config.arguments and not config.factory:
        raise InputError(f"network.arguments is for network.factory only; network is {config.name}")
    if config.factory:
        _fixed(config)
        net = own_network(config, classes)
    elif config.name in NETWORKS:
        net = NETWORKS[config.name](config, classes)
    elif config.name in CLASSIFIERS:
        net = image_classifier(config, classes)
    else:
        raise unknown("network", config.name, (*NETWORKS, *CLASSIFIERS))
    return _named(net, config.aliases)


def _named(net: nn.Module, aliases: dict[str, str]) -> nn.Module:
    """Add aliases to those that the network has."""
    names = [name for name, _ in net.named_modules() if name]
    for alias, layer in aliases.items():
        if layer not in names:
            raise unknown(f"network.aliases.{alias}: layer", layer, names)
    net.aliases = {**getattr(net, "aliases", {}), **aliases}  # type: ignore[assignment]
    return net


def _fixed(config: NetworkConfig) -> None:
    if config.width != 1 or config.batch_norm:
        raise InputError(
            f"network.width and network.batch_norm belong to the VGG-16 networks; {config.name} "
            "has a fixed architecture"
        )
