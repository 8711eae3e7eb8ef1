"""A network on disk: model.safetensors (plain weights) and model.json (what they are)."""

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from adapt.config import NetworkConfig
from adapt.errors import InputError, listing
from adapt.files import read_json, sha256, write_json, write_whole
from adapt.networks import build_network
from adapt.settings import build, plain

WEIGHTS, ABOUT = "model.safetensors", "model.json"
FORMAT = 1


@dataclass(frozen=True)
class Model:
    """A loaded network with its description."""

    net: nn.Module
    network: NetworkConfig
    classes: tuple[str, ...]
    digest: str
    """SHA-256 of model.safetensors."""


def save_model(
    folder: Path, net: nn.Module, network: NetworkConfig, classes: tuple[str, ...]
) -> None:
    """Write a network so that `DeepLabVGG16(...).load_state_dict(load_file(...))` reads it back."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    write_whole(folder / WEIGHTS, safetensors.torch.save(tensors))
    about = {
        "format": FORMAT,
        "network": plain(network),
        "classes": list(classes),
        "sha256": sha256(folder / WEIGHTS),
    }
    write_json(folder / ABOUT, about)


def load_model(folder: Path, what: str = "run") -> Model:
    """The network that a finished run left in its folder, on the CPU.

    Raises:
        InputError: no such run, not finished, weights that do not have the recorded digest, or
            that lack or add a tensor.
    """
    if not folder.is_dir():
        raise InputError(f"{what}: no such run folder: {folder}")
    path = folder / WEIGHTS
    if not path.is_file() or not (folder / ABOUT).is_file():
        raise InputError(
            f"{what}: {folder} has no {WEIGHTS} with {ABOUT}: its training has not finished "
            "(start the same command again to resume it)"
        )
    about = read_json(folder / ABOUT)
    if about.get("format") != FORMAT:
        raise InputError(f"{folder / ABOUT}: format {about.get('format')!r}; this is {FORMAT}")
    digest = sha256(path)
    if about.get("sha256") != digest:
        raise InputError(f"{path}: SHA-256 is {digest}, recorded was {about.get('sha256')}")
    network = build(NetworkConfig, about["network"], "network.")
    net = build_network(network, len(about["classes"]))
    load_tensors(net, read_tensors(path), str(path))
    return Model(net, network, tuple(about["classes"]), digest)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None


def load_tensors(net: nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Strict load: every missing, extra or misshaped tensor is named."""
    own = net.state_dict()
    problems = [
        ("missing", own.keys() - tensors.keys()),
        ("not in the network", tensors.keys() - own.keys()),
        (
            "of another shape",
            [
                f"{k} {tuple(tensors[k].shape)} instead of {tuple(own[k].shape)}"
                for k in own.keys() & tensors.keys()
                if own[k].shape != tensors[k].shape
            ],
        ),
    ]
    if found := [f"{what}: {listing(names)}" for what, names in problems if names]:
        raise InputError(f"{where} does not fit the network: {'; '.join(found)}")
    net.load_state_dict(tensors, strict=True)
