"""The one place that reads tensors from disk: safetensors, and torch files without any code."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from adapt.errors import InputError, listing

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep a network's state beside other things."""


def read_torch(path: Path) -> Any:
    """What torch.save wrote, on the CPU; tensors and plain containers only (`weights_only`).

    Raises:
        InputError: missing, unreadable, or with anything else inside.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(
            f"{path}: refused: not a torch file with tensors only ({reason})"
        ) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a `.safetensors` file, or of a state_dict that torch.save wrote.

    A state_dict may lie under one of WRAPPERS, and its names may all begin with `module.`
    (DataParallel's).

    Raises:
        InputError: missing, unreadable, or something other than named tensors.
    """
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    found = read_torch(path)
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path}: holds a {type(found).__name__}; give a state_dict")
    if other := [str(k) for k, v in found.items() if not isinstance(v, Tensor)]:
        raise InputError(f"{path}: not a state_dict: no tensors under {listing(other)}")
    prefix = "module." if all(str(k).startswith("module.") for k in found) else ""
    return {str(k).removeprefix(prefix): v for k, v in found.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """The free text in the header of a `.safetensors` file; {} = none.

    Raises:
        InputError: missing or unreadable.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            return opened.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None


def load_tensors(net: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
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
