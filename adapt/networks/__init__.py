"""Networks by name: any nn.Module from normalised images to logits; one paper a file.

A network may carry `aliases`, short names of its layers. All built-in ones have pool1 to pool5, so
that the paper's objectives fit each of them. The file of an architecture imports nothing of this
project, because `export` ships a copy of it, and torchvision is imported when a network needs it.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from adapt.errors import InputError, unknown
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.factory import own_network
from adapt.networks.fcn_vgg16 import FCNVGG16
from adapt.settings.choices import CLASSIFIERS
from adapt.settings.groups import NetworkConfig

RESNET = {"pool1": "maxpool"} | {f"pool{n + 1}": f"layer{n}" for n in range(1, 5)}
"""The stem's pooling, then the ends of the four residual stages."""
RESNET_BACKBONE = {pool: f"backbone.{layer}" for pool, layer in RESNET.items()}
"""The same inside a segmentation network."""
MOBILENET = {f"pool{n}": f"backbone.{i}" for n, i in enumerate((1, 3, 6, 12, 16), 1)}
"""The last block before each further stride (or dilation), and the last layer."""


def deeplab_vgg16(config: NetworkConfig, classes: int) -> nn.Module:
    return DeepLabVGG16(classes, width=config.width, batch_norm=config.batch_norm)


def fcn_vgg16(config: NetworkConfig, classes: int, stride: int) -> nn.Module:
    return FCNVGG16(classes, stride, width=config.width, batch_norm=config.batch_norm)


def pspnet(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    from adapt.networks.pspnet import PSPNet

    return with_aliases(PSPNet(classes, depth), RESNET_BACKBONE)


def deeplab_v2(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    from adapt.networks.deeplab_v2 import DeepLabV2

    return with_aliases(DeepLabV2(classes, depth), RESNET_BACKBONE)


def dilated_resnet(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    from adapt.networks.deeplab_v2 import DilatedResNet

    return with_aliases(DilatedResNet(classes, depth), RESNET_BACKBONE)


def torchvision_network(config: NetworkConfig, classes: int) -> nn.Module:
    """torchvision.models.segmentation's network of this name, without weights or auxiliary head."""
    from torchvision.models import segmentation

    make = getattr(segmentation, config.name)
    net = make(weights=None, weights_backbone=None, num_classes=classes, aux_loss=None)
    return with_aliases(net, MOBILENET if "mobilenet" in config.name else RESNET_BACKBONE)


TORCHVISION = (
    "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50", "fcn_resnet101", "lraspp_mobilenet_v3_large",
)  # fmt: skip
"""Chen et al. 2017 (DeepLabV3), Long et al. 2015 on ResNet, Howard et al. 2019 (LR-ASPP)."""


def classifier(config: NetworkConfig, classes: int) -> nn.Module:
    """torchvision's network of a name in CLASSIFIERS: (B, 3, H, W) -> logits (B, classes).

    It has the aliases pool1 to pool5 where its resolution falls as VGG's and ResNet's do.
    """
    from torchvision.models import get_model

    net, aliases = get_model(config.name, weights=None, num_classes=classes), {}
    if config.name.startswith(("resnet", "resnext", "wide_resnet")):
        aliases = RESNET
    elif config.name.startswith("vgg"):
        poolings = [name for name, m in net.named_modules() if isinstance(m, nn.MaxPool2d)]
        aliases = {f"pool{n}": layer for n, layer in enumerate(poolings, 1)}
    return with_aliases(net, aliases)


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
"""Adding a network is one function, one line here and its name in adapt/settings/choices.py."""


def build_network(config: NetworkConfig, classes: int) -> nn.Module:
    """A freshly initialised network with `classes` outputs, carrying its aliases.

    Raises:
        InputError: unknown name, a setting of another network, a factory that fails, or an alias
            of a layer that is not there.
    """
    if config.arguments and not config.factory:
        raise InputError(f"network.arguments is for network.factory only; network is {config.name}")
    if config.factory:
        make = own_network
    elif config.name in CLASSIFIERS:
        make = classifier
    elif config.name in NETWORKS:
        make = NETWORKS[config.name]
    else:
        raise unknown("network", config.name, (*NETWORKS, *CLASSIFIERS))
    scalable = config.name.endswith("_vgg16") and not config.factory
    if (config.width != 1 or config.batch_norm) and not scalable:
        raise InputError(
            f"network.width and network.batch_norm belong to the VGG-16 networks; {config.name} "
            "has a fixed architecture"
        )
    return with_aliases(make(config, classes), config.aliases)


def with_aliases(net: nn.Module, aliases: dict[str, str]) -> nn.Module:
    """The network with further aliases beside those that it has."""
    names = [name for name, _ in net.named_modules() if name]
    for alias, layer in aliases.items():
        if layer not in names:
            raise unknown(f"network.aliases.{alias}: layer", layer, names)
    net.aliases = {**getattr(net, "aliases", {}), **aliases}  # type: ignore[assignment]
    return net
