"""Networks by name: any nn.Module from normalised images to logits; one paper a file.

A network may carry `aliases`, short names of its layers. All built-in ones have pool1 to pool5, so
that the paper's objectives fit each of them. The file of an architecture imports nothing of this
project, because `export` ships a copy of it. A network that needs torchvision imports it itself.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from adapt.errors import InputError, listing, unknown
from adapt.networks.deeplab_v2 import DeepLabV2, DilatedResNet
from adapt.networks.deeplab_vgg16 import DeepLabV2VGG16, DeepLabVGG16
from adapt.networks.efficientnet_lite import FCNEfficientNetLite0
from adapt.networks.encnet import EncNet
from adapt.networks.factory import own_network
from adapt.networks.fcn import FCNVGG16, TAPS, FCN32s
from adapt.networks.heads import joined
from adapt.networks.pspnet import PSPNet
from adapt.networks.sunet import SUNet
from adapt.settings.groups import NetworkConfig

RESNET_BACKBONE = {pool: f"backbone.{layer}" for pool, layer in TAPS["resnet18"].items()}
"""A ResNet's taps inside a segmentation network."""
MOBILENET = {f"pool{n}": f"backbone.{i}" for n, i in enumerate((1, 3, 6, 12, 16), 1)}
"""The last block before each further stride (or dilation), and the last layer."""


def on_vgg16(
    config: NetworkConfig, classes: int, make: Callable[..., nn.Module], **options: int
) -> nn.Module:
    """One of our own networks on VGG-16."""
    return make(classes, width=config.width, batch_norm=config.batch_norm, **options)


def largefov(config: NetworkConfig, classes: int) -> nn.Module:
    """DeepLab-LargeFOV, with the pool of `network.pool5a` if it is set."""
    return on_vgg16(config, classes, DeepLabVGG16, pool5a=config.pool5a)


def pspnet(config: NetworkConfig, classes: int, depth: int) -> nn.Module:
    """PSPNet, with the head of `network.auxiliary` if it is set."""
    made = partial(PSPNet, auxiliary=config.auxiliary > 0)
    return on_resnet(config, classes, made, depth)


def of_width(
    config: NetworkConfig, classes: int, make: Callable[..., nn.Module], **options: str
) -> nn.Module:
    """One of our own networks whose channels `network.width` multiplies."""
    return make(classes, width=config.width, **options)


def on_resnet(
    config: NetworkConfig, classes: int, make: Callable[..., nn.Module], depth: int
) -> nn.Module:
    """One of our own networks on torchvision's dilated ResNet of 50 or 101 layers."""
    return with_aliases(make(classes, depth), RESNET_BACKBONE)


def torchvision_network(config: NetworkConfig, classes: int) -> nn.Module:
    """torchvision.models.segmentation's network of this name, without weights."""
    from torchvision.models import segmentation

    make = getattr(segmentation, config.name)
    aux = config.auxiliary > 0 or None
    net = make(weights=None, weights_backbone=None, num_classes=classes, aux_loss=aux)
    return with_aliases(net, MOBILENET if "mobilenet" in config.name else RESNET_BACKBONE)


TORCHVISION = (
    "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50", "fcn_resnet101", "lraspp_mobilenet_v3_large",
)  # fmt: skip
"""Chen et al. 2017 (DeepLabV3), Long et al. 2015 on ResNet, Howard et al. 2019 (LR-ASPP)."""


def classifier(config: NetworkConfig, classes: int) -> nn.Module:
    """torchvision's network for whole images of this name: (B, 3, H, W) -> logits (B, classes).

    It has the aliases pool1 to pool5 where its resolution falls as VGG's and ResNet's do.
    """
    from torchvision.models import get_model

    net, aliases = get_model(config.name, weights=None, num_classes=classes), {}
    if config.name.startswith(("resnet", "resnext", "wide_resnet")):
        aliases = TAPS["resnet18"]
    elif config.name.startswith("vgg"):
        poolings = [name for name, m in net.named_modules() if isinstance(m, nn.MaxPool2d)]
        aliases = {f"pool{n}": layer for n, layer in enumerate(poolings, 1)}
    return with_aliases(net, aliases)


NETWORKS: dict[str, Callable[[NetworkConfig, int], nn.Module]] = {
    "deeplab_vgg16": largefov,
    "deeplabv2_vgg16": partial(on_vgg16, make=DeepLabV2VGG16),
    "fcn32s_vgg16": partial(on_vgg16, make=FCNVGG16, stride=32),
    "fcn16s_vgg16": partial(on_vgg16, make=FCNVGG16, stride=16),
    "fcn8s_vgg16": partial(on_vgg16, make=FCNVGG16, stride=8),
    "fcn32s_learnt_vgg16": partial(on_vgg16, make=FCNVGG16, stride=32, learnt=True),
    "fcn32s_alexnet": partial(of_width, make=FCN32s, backbone="alexnet"),
    "fcn32s_resnet18": partial(of_width, make=FCN32s, backbone="resnet18"),
    "sunet64": partial(of_width, make=SUNet),
    "deeplabv2_resnet101": partial(on_resnet, make=DeepLabV2, depth=101),
    "dilated_resnet101": partial(on_resnet, make=DilatedResNet, depth=101),
    "pspnet_resnet50": partial(pspnet, depth=50),
    "pspnet_resnet101": partial(pspnet, depth=101),
    "encnet_resnet50": partial(on_resnet, make=EncNet, depth=50),
    "encnet_resnet101": partial(on_resnet, make=EncNet, depth=101),
    "fcn8s_efficientnet_lite0": lambda config, classes: FCNEfficientNetLite0(classes),
    **dict.fromkeys(TORCHVISION, torchvision_network),
}
"""Adding a network is one file, one line here and its name in adapt/settings/choices.py."""


VGG16 = tuple(name for name in NETWORKS if name.endswith("_vgg16"))
SCALABLE = (*VGG16, "fcn32s_alexnet", "sunet64")
OWNERS = {
    "width": SCALABLE,
    "batch_norm": VGG16,
    "pool5a": ("deeplab_vgg16",),
    "auxiliary": ("pspnet_resnet50", "pspnet_resnet101", *TORCHVISION[:-1]),
}
"""Settings of some networks only."""


def build_network(config: NetworkConfig, classes: int | Mapping[str, int]) -> nn.Module:
    """A freshly initialised network with an output for each class, or one logit for both of two,
    carrying its aliases. Classes by task make a network with as many heads, whose output is task ->
    logits.

    Raises:
        InputError: a setting of another network, a factory that fails, or an alias of a layer that
            is not there.
    """
    if config.arguments and not config.factory:
        raise InputError(f"network.arguments is for network.factory only; network is {config.name}")
    make = own_network if config.factory else NETWORKS.get(config.name, classifier)
    for option, names in OWNERS.items():
        value, own_head = getattr(config, option), config.factory and option == "auxiliary"
        if value != getattr(NetworkConfig, option) and config.name not in names and not own_head:
            raise InputError(
                f"network.{option} is {value}; it belongs to {listing(names, len(names))}; "
                f"{config.name} has a fixed architecture"
            )
    if isinstance(classes, Mapping):
        made = several_heads(config, classes, make)
    else:
        made = make(config, config.outputs(classes))
    net = with_aliases(made, config.aliases)
    net.image_channels = len(config.mean)  # type: ignore[assignment]  # see maps.blank
    return net


def several_heads(
    config: NetworkConfig, classes: Mapping[str, int], make: Callable[..., nn.Module]
) -> nn.Module:
    """A network with a head for each task: what a factory makes of them all, or those of one
    network a task side by side (`joined`).

    Raises:
        InputError: as `build_network`, or the network can have one head only.
    """
    for option in ("one_logit", "void", "auxiliary"):
        if getattr(config, option):
            raise InputError(f"network.{option} is for a network with one head")
    if config.factory:
        net = make(config, dict(classes))
    else:
        nets = {task: make(config, count) for task, count in classes.items()}
        place = getattr(next(iter(nets.values())), "head_at", "")
        if not place:
            raise InputError(
                f"data.tasks: {config.name} has one head, for one task; others have several "
                "(docs/heads.md), and network.factory=… may return a mapping task -> logits"
            )
        net = joined(nets, place)
    net.head_tasks = tuple(classes)  # type: ignore[assignment]  # see taps.tasks_of
    return net


def with_aliases(net: nn.Module, aliases: dict[str, str]) -> nn.Module:
    """The network with further aliases beside those that it has."""
    names = [name for name, _ in net.named_modules() if name]
    for alias, layer in aliases.items():
        if layer not in names:
            raise unknown(f"network.aliases.{alias}: layer", layer, names)
    net.aliases = {**getattr(net, "aliases", {}), **aliases}  # type: ignore[assignment]
    return net
