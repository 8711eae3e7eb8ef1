"""What a network sees of an image: the order and range of its channels, their mean and deviation.

Images in memory are uint8 in 0..255 or uint16 in 0..65535, and RGB where they have three channels,
whatever a network sees.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapt.disk.files import read_mapping
from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.settings.groups import NetworkConfig
from adapt.settings.mapping import convert

FIELDS = ("mean", "std", "order", "range")
"""Of NetworkConfig, which say what a network sees."""


def as_input(images: Tensor, network: NetworkConfig) -> Tensor:
    """What a network sees, float32 (B, C, H, W): floating point as it is, others normalised.

    Raises:
        InputError: the images do not have the network's number of channels.
    """
    if images.shape[1] != len(network.mean):
        raise InputError(
            f"images have {images.shape[1]} channel(s), but network.mean is {network.mean}, one "
            "number a channel; data.bands says which channels are read"
        )
    return images.float() if images.is_floating_point() else normalise(images, network)


def normalise(images: Tensor, network: NetworkConfig) -> Tensor:
    """Values (B, C, H, W) in 0..255, of uint16 in 0..65535 -> float32, (value / largest * range -
    mean) / std per channel, the channels in the network's order."""
    largest = 65_535 if images.dtype == torch.uint16 else 255
    shape, unit = (1, -1, 1, 1), largest / network.range
    m = torch.tensor(network.mean, device=images.device).view(shape) * unit
    s = torch.tensor(network.std, device=images.device).view(shape) * unit
    values = images.to(torch.float32)
    return (values.flip(1) if network.order == "bgr" else values).sub_(m).div_(s)


def sees(network: NetworkConfig) -> str:
    """`network sees RGB in 0..1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225`, say."""
    count = len(network.mean)
    channels = network.order.upper() if count == 3 else f"{count} channel(s)"
    mean, std = (" ".join(f"{v:.5g}" for v in values) for values in (network.mean, network.std))
    return f"network sees {channels} in 0..{network.range}, mean {mean}, std {std}"


def with_preprocessing(config: Any) -> Any:
    """A command's settings with the files read that its networks' `preprocessing` names; raises as
    `read`."""
    groups = {group: getattr(config, group, None) for group in ("network", "teacher_network")}
    found = {k: read(n) for k, n in groups.items() if n and getattr(n, "preprocessing", "")}
    return replace(config, **found) if found else config


def read(network: NetworkConfig) -> NetworkConfig:
    """The configuration with mean, std, order and range from the file that
    `network.preprocessing` names, so that a run's record does not need the file. A line says which
    size the file has, because only data.resize changes that of an image.

    Raises:
        InputError: no such file, one that lacks a value or has one that these settings cannot have,
            or another value that is given beside it.
    """
    path, default, where = Path(network.preprocessing), type(network)(), network.where
    content = read_mapping(path)
    parts = (content.get(key) for key in ("image_processor", "pretrained_cfg"))
    values = next((part for part in parts if isinstance(part, dict)), content)
    stated = of_transformers if any(k.startswith(("do_", "image_")) for k in values) else of_others
    try:
        theirs = type(network)(**stated(values))
    except KeyError as missing:
        known = ", ".join(where + name for name in FIELDS)
        raise InputError(f"{path}: it has no {missing}; give {known} instead of the file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    found = {name: getattr(theirs, name) for name in FIELDS}
    for name, value in found.items():
        given = getattr(network, name)
        if given != value and (name in network.explicit or given != getattr(default, name)):
            raise InputError(f"{where}{name} is {given}, but {path} has {value}; give one of them")
    size = values.get("input_size", values.get("size") if values.get("do_resize", True) else None)
    if size is not None:
        say(f"{path}: its size {size} is not taken; data.resize brings images to one")
    return replace(network, preprocessing="", explicit=[*network.explicit, *found], **found)


def of_transformers(values: dict[str, Any]) -> dict[str, Any]:
    """Of transformers' preprocessor_config.json: values are scaled, normalised, then brought from
    RGB to BGR. Old files have no word of the scaling, which was by 1/255.

    Raises:
        KeyError: it does not say whether it normalises, or by what.
        InputError: values are scaled to anything but 0..1 or 0..255.
    """
    scale = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1
    largest = round(255 * scale, 6)
    if largest not in (1, 255) or values.get("rescale_offset"):
        offset = values.get("rescale_offset", False)
        known = "1/255 without one, or do_rescale false, is known"
        raise InputError(f"rescale_factor is {scale}, rescale_offset {offset}; {known}")
    mean, std = [0.0] * 3, [1.0] * 3
    if values["do_normalize"]:
        mean, std = (convert(list[float], values[key], key) for key in ("image_mean", "image_std"))
    if values.get("do_flip_channel_order"):
        return {"mean": mean[::-1], "std": std[::-1], "order": "bgr", "range": int(largest)}
    return {"mean": mean, "std": std, "range": int(largest)}


def of_others(values: dict[str, Any]) -> dict[str, Any]:
    """Of timm's pretrained_cfg, which has an `input_size` and means RGB in 0..1, or of the
    parameters of segmentation_models_pytorch, whose mean is in the network's order.

    Raises:
        KeyError: a value is missing.
        InputError: another order or range.
    """
    timm = {"input_space": "RGB", "input_range": [0, 1]} if "input_size" in values else {}
    values = timm | values
    space, ends = values["input_space"], values["input_range"]
    if space not in ("RGB", "BGR") or ends not in ([0, 1], [0, 255]):
        known = "RGB and BGR in [0, 1] and [0, 255] are known"
        raise InputError(f"input_space is {space!r}, input_range {ends}; {known}")
    mean, std = (convert(list[float], values[key], key) for key in ("mean", "std"))
    return {"mean": mean, "std": std, "order": space.lower(), "range": int(ends[1])}
