"""ImageNet and COCO weights of torchvision's enums, brought to the names of our networks."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights, get_weight, segmentation

from adapt.disk.tensors import check_values, read_tensors
from adapt.errors import InputError, listing
from adapt.networks import TORCHVISION
from adapt.networks.backbone import AUXILIARY, COUNTER, body_of, has_body
from adapt.networks.batchnorm import BatchNorm
from adapt.networks.classifiers import CLASSIFIERS
from adapt.settings.groups import NetworkConfig

IMAGENET, COCO = "imagenet", "coco"
BODY = "body:"
"""`start=body:FILE`: a file's weights without the layers that depend on the number of classes."""
BODIES = ("backbone.", "features.", "conv")
"""What the parameters of a network's body begin with; all of them must be found."""

Weights = dict[str, Tensor]


def is_pretrained(source: str) -> bool:
    """`imagenet`, `coco`, the full name of one of torchvision's enums, such as
    `ResNet50_Weights.IMAGENET1K_V2`, or the body of a file (BODY)."""
    if source.startswith(BODY):
        return True
    return source in (IMAGENET, COCO) or re.fullmatch(r"\w+_Weights\.\w+", source) is not None


def enum_of(source: str, config: NetworkConfig) -> WeightsEnum:
    """The enum behind a source's name for a network.

    Raises:
        InputError: the network has no such weights, or torchvision knows no such enum.
    """
    if source not in (IMAGENET, COCO):
        try:
            return get_weight(source)
        except (ValueError, KeyError) as error:
            raise InputError(f"start: torchvision has no weights {source} ({error})") from None
    own = config.name in CLASSIFIERS
    if source == IMAGENET and own and hasattr(get_model_weights(config.name), "IMAGENET1K_V1"):
        return get_model_weights(config.name)["IMAGENET1K_V1"]
    backbone = "" if own else config.name.split("_", 1)[-1]
    if source == COCO and config.name in TORCHVISION:
        known = {n.lower(): n for n in dir(segmentation) if n.endswith("_Weights")}
        enum = known[f"{config.name}_weights"]
        return get_weight(f"{enum}.COCO_WITH_VOC_LABELS_V1")
    vgg = "VGG16_BN_Weights" if config.batch_norm else "VGG16_Weights"
    backbones = {
        "vgg16": vgg,
        "resnet50": "ResNet50_Weights",
        "resnet101": "ResNet101_Weights",
        "mobilenet_v3_large": "MobileNet_V3_Large_Weights",
    }
    if source == IMAGENET and backbone in backbones and not config.factory:
        return get_weight(f"{backbones[backbone]}.IMAGENET1K_V1")
    raise InputError(
        f"start={source}: {config.name} has no {source} weights in torchvision; give start=FILE "
        "(.safetensors, or a state_dict), start=RUN or start=none"
    )


def fetch(weights: WeightsEnum) -> Path:
    """The enum's file in torch's cache, downloaded where it is missing, checked by its name's hash.

    Raises:
        InputError: no connection (saying which file to put where), or a damaged file.
    """
    url = weights.url
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, OSError) as error:
            raise InputError(
                f"{weights}: cannot be downloaded ({error}). Fetch {url} on a machine with a "
                f"network and put it at {path}"
            ) from None
    stated = re.search(r"-([0-9a-f]{8,})\.", name)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if stated and not digest.startswith(stated[1]):
        raise InputError(
            f"{path}: damaged: its SHA-256 begins with {digest[:8]}, its name says {stated[1]}; "
            "delete it"
        )
    return path


def decimate(weight: Tensor, step: int) -> Tensor:
    """Every fourth channel of both sides and every `step`th row and column of a kernel: how fc6
    and fc7 of VGG-16 become DeepLab-LargeFOV's (Chen et al. 2015, section 3.1)."""
    return weight[::4, :, ::step, ::step]


def deeplab(weights: Weights, net: nn.Module) -> Weights:
    """VGG-16 -> DeepLab-LargeFOV: convolutions in their order; fc6 (4096, 512 x 7 x 7) keeps every
    fourth of its outputs and rows and columns 0, 3, 6, fc7 every fourth output and input."""
    target = [m for name, m in net.named_modules() if name.startswith("conv")]
    layers = [m for m in target if isinstance(m, nn.Conv2d | BatchNorm)]
    mapped: Weights = {}
    names = {m: n for n, m in net.named_modules()}
    places = sorted({int(k.split(".")[1]) for k in weights if k.startswith("features.")})
    shift = torch.zeros(0)
    for place, layer in zip(places, layers, strict=True):
        for key in layer.state_dict().keys() - {COUNTER}:
            mapped[f"{names[layer]}.{key}"] = weights[f"features.{place}.{key}"]
        if isinstance(layer, nn.Conv2d):
            shift = weights[f"features.{place}.bias"]
        else:  # our convolutions have no bias before batch norm: the mean takes it over
            mapped[f"{names[layer]}.running_mean"] = (
                weights[f"features.{place}.running_mean"] - shift
            )
    fc6 = weights["classifier.0.weight"].unflatten(1, (-1, 7, 7))
    fc7 = weights["classifier.3.weight"][..., None, None]
    mapped["fc6.0.weight"] = decimate(fc6, 3)
    mapped["fc7.0.weight"] = decimate(fc7, 1)[:, ::4]
    for number, name in ((0, "fc6.0.bias"), (3, "fc7.0.bias")):
        if name in net.state_dict():
            mapped[name] = weights[f"classifier.{number}.bias"][::4]
    return mapped


def fcn(weights: Weights, net: nn.Module) -> Weights:
    """VGG-16 -> FCN: torchvision's names; fc6 and fc7 as convolutions, whole."""
    mapped = {k: v for k, v in weights.items() if k.startswith("features.")}
    mapped["fc6.0.weight"] = weights["classifier.0.weight"].unflatten(1, (-1, 7, 7))
    mapped["fc7.0.weight"] = weights["classifier.3.weight"][..., None, None]
    for number, name in ((0, "fc6.0.bias"), (3, "fc7.0.bias")):
        mapped[name] = weights[f"classifier.{number}.bias"]
    return mapped


def backbone(weights: Weights, net: nn.Module) -> Weights:
    """A classification network's body -> `backbone.`; a segmentation network without the auxiliary
    head, and without a last layer of another number of classes."""
    if any(k.startswith("backbone.") for k in weights):
        own = net.state_dict()
        kept = {k: v for k, v in weights.items() if not k.startswith(AUXILIARY)}
        last = {k for k, v in kept.items() if k in own and own[k].shape != v.shape}
        return {k: v for k, v in kept.items() if k not in last or not k.startswith("classifier.")}
    body = {k: v for k, v in weights.items() if not k.startswith(("fc.", "classifier."))}
    return {f"backbone.{k.removeprefix('features.')}": v for k, v in body.items()}


def mapping_of(
    source: str, weights: Weights, config: NetworkConfig, net: nn.Module
) -> Callable[[Weights, nn.Module], Weights]:
    """How weights become the network's: as they are, but for its head, or by renaming."""
    named = source.startswith(BODY) and has_body(weights, config, net)
    if named or config.factory or config.name in CLASSIFIERS:
        own = {k: v.shape for k, v in net.state_dict().items() if not k.endswith(COUNTER)}
        fits = all(k in weights and weights[k].shape == shape for k, shape in own.items())
        if fits and not source.startswith(BODY):
            return lambda weights, net: weights
        return lambda weights, net: body_of(weights, config, net)
    if config.name == "deeplab_vgg16":
        return deeplab
    return fcn if config.name.endswith("_vgg16") else backbone


def pretrained(source: str, config: NetworkConfig, net: nn.Module) -> tuple[Weights, str]:
    """Weights for `net` from torchvision or `body:FILE`, by our names, and the SHA-256 of their
    file. A classifier's last layer is taken where it has as many classes and was not excluded.

    Raises:
        InputError: no such weights, no connection, a damaged file, or weights of another
            architecture; never a silent partial load.
    """
    file = source.removeprefix(BODY)
    path = Path(file) if file != source else fetch(enum_of(source, config))
    weights = read_tensors(path)
    own = net.state_dict()
    try:
        found = mapping_of(source, weights, config, net)(weights, net)
    except (LookupError, ValueError, RuntimeError) as error:
        raise InputError(f"start={source} does not fit {config.name}: {error}") from None
    wrong = [k for k, v in found.items() if k not in own or own[k].shape != v.shape]
    wrong += [k for k in own.keys() - found if k.startswith(BODIES) and not k.endswith(COUNTER)]
    if wrong:
        raise InputError(f"start={source} does not fit {config.name}: {listing(wrong)}")
    check_values(own, found, f"start={source}")
    found |= {k: v for k, v in own.items() if k.endswith(COUNTER) and k not in found}
    with path.open("rb") as stream:
        return found, hashlib.file_digest(stream, "sha256").hexdigest()
