"""The file that holds Fisher information: safetensors, with a description that vouches for it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from adapt.errors import InputError
from adapt.files import SEAL, check_seal, parse_json, sealed, write_whole
from adapt.tensors import read_metadata, read_tensors

ABOUT = "fisher"
"""The one key of the file's metadata: JSON. (Of several keys safetensors keeps no order, so two
files of the same content would differ.)"""
FORMAT = 2
"""1, of before the digest and the seal, is read as well."""

DIGEST = "sha256"
"""Key of the description: digest of the tensors. safetensors itself has no checksum."""

Values = dict[str, Tensor]
"""Parameter's name -> a value for each of its elements."""


@dataclass(frozen=True)
class Fisher:
    """A Fisher file's content."""

    values: Values
    """Parameter's name -> float32 of its shape."""
    made: dict[str, Any]
    """How: model (SHA-256), data, split, images, normalisation, draws, seed, versions, ..."""

    @property
    def mean(self) -> float:
        """Over all elements of all parameters; dividing by it makes alpha comparable between
        normalisations, and with L2-SP's."""
        total = sum(v.double().sum().item() for v in self.values.values())
        return total / sum(v.numel() for v in self.values.values())


def digest_of(values: Values) -> str:
    """SHA-256 of tensors on the CPU with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_fisher(path: Path, values: Values, made: dict[str, Any]) -> None:
    """Equal content gives equal bytes. The order of the names is kept, in the metadata."""
    tensors = {name: value.cpu().contiguous() for name, value in values.items()}
    about = {"format": FORMAT, "parameters": list(values), DIGEST: digest_of(tensors), **made}
    text = json.dumps(sealed(about), sort_keys=True)
    write_whole(path, safetensors.torch.save(tensors, {ABOUT: text}))


def load_fisher(path: Path) -> Fisher:
    """What `scripts/fisher.py` wrote.

    Raises:
        InputError: no such file, another kind of file, one of which only a part is computed, or
            values that are negative, not finite or not float32.
    """
    found, made = read_fisher(path)
    if "done" in made:
        raise InputError(
            f"{path}: unfinished, {made['done']} of {made.get('images')} images; start the command "
            "that made it again"
        )
    for name, value in found.items():
        if value.dtype != torch.float32:
            raise InputError(f"{path}: {name} is {value.dtype}; it must be torch.float32")
        if not value.isfinite().all() or (value < 0).any():
            raise InputError(f"{path}: {name} has values that are negative or not finite")
    return Fisher(found, made)


def read_fisher(path: Path) -> tuple[Values, dict[str, Any]]:
    """Tensors and description of a finished or a partial file."""
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: not a .safetensors file")
    found = read_tensors(path)
    try:
        made = parse_json(read_metadata(path)[ABOUT], f"{path}: metadata")
    except KeyError:
        raise InputError(
            f"{path}: not a Fisher file (no {ABOUT!r} in its metadata); make one with "
            "scripts/fisher.py"
        ) from None
    if not isinstance(made, dict) or made.get("format") not in (1, FORMAT):
        raise InputError(f"{path}: not a Fisher file of format {FORMAT}")
    names = made.pop("parameters", [])
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(found):
        raise InputError(f"{path}: its tensors are not the parameters that its metadata lists")
    if made.pop("format") == FORMAT or SEAL in made or DIGEST in made:
        check_seal(made | {"format": FORMAT, "parameters": names}, path)
        if made.get(DIGEST) != (digest := digest_of(found)):
            raise InputError(f"{path}: corrupt: tensors {digest}, recorded {made.get(DIGEST)}")
    made = {key: value for key, value in made.items() if key not in (SEAL, DIGEST)}
    return {name: found[name] for name in names}, made
