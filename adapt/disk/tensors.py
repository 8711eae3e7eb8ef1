"""The one place that reads tensors from disk: safetensors, and torch files without any code."""

import re
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import PickleError
from typing import Any
from warnings import catch_warnings

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from adapt.disk.files import check_readable
from adapt.disk.skipped import STAND_INS
from adapt.errors import InputError, listing, unknown
from adapt.machine.runtime import say

FOLDER = 0x10
"""Of a part of an archive that is marked so torch reads nothing, and takes what happens to lie in
memory for the weights."""
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "ema", "student")
"""Keys under which training scripts keep a network's state beside other things."""
DEEPEST = 3
"""Wrappers within each other."""
ALONE = "in the program that wrote it, save the weights alone: torch.save(net.state_dict(), FILE)"
UNREADABLE = (
    PickleError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, ArithmeticError, MemoryError, ImportError, struct.error,
    zipfile.BadZipFile, tarfile.TarError, SafetensorError,
)  # fmt: skip
"""What the libraries' own readers raise for files that are broken."""


def read_torch(path: Path, skipped: Sequence[Any] = ()) -> Any:
    """What torch.save wrote, on the CPU: tensors and plain containers only (`weights_only`), and
    stand-ins for the objects `skipped`. InputError for anything else, and for what was altered
    (since PyTorch 1.6 there are checksums)."""
    check_readable(path)
    try:
        check_archive(path)
        with catch_warnings(action="ignore"), torch.serialization.safe_globals([*skipped]):
            return torch.load(path, weights_only=True, map_location="cpu")
    except InputError:
        raise
    except UNREADABLE as error:
        refused = f"{path}: refused: not a torch file with tensors only"
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise InputError(
                f"{refused}: it holds {named[1]}, and no code that a file names is run; {ALONE}"
            ) from None
        raise InputError(f"{refused}: damaged, or of another format") from None


def check_archive(path: Path) -> None:
    """InputError where the zip archive that torch.save writes has a part that is compressed, double
    or not what was written (CRC-32); torch itself looks at none of that. Files of before PyTorch
    1.6 are no archives, and pass."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: part for part in archive.infolist()}
        if any(name.endswith("/constants.pkl") for name in parts):
            raise InputError(f"{path}: refused: a TorchScript archive, which is code; {ALONE}")
        odd = [n for n, p in parts.items() if p.compress_type or p.external_attr & FOLDER]
        if odd or len(parts) != len(archive.infolist()):
            raise InputError(
                f"{path}: refused: not as torch.save writes it (packed, double or odd parts: "
                f"{listing(odd)})"
            )
        if broken := archive.testzip():
            raise InputError(f"{path}: corrupt: the checksum of {broken} does not agree")


def is_safetensors(path: Path) -> bool:
    """By its suffix, or by the bracket that opens the header; no file of torch's has it there."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as opened:
        return opened.read(9)[8:] == b"{"


def holds_tensors(value: Any) -> bool:
    """Is it a mapping with tensors?"""
    return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())


def unwrapped(path: Path, found: Any, key: str) -> Any:
    """The state_dict in what a file holds: under `key`, or under the one of WRAPPERS that has
    tensors, which a line says; wrappers may lie in each other.

    Raises:
        InputError: no such key, several wrappers, or tensors under other keys only.
    """
    for _ in range(DEEPEST):
        if not isinstance(found, Mapping):
            break
        parts = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Mapping)}
        states = [k for k, v in parts.items() if holds_tensors(v)]
        outer = [k for k, v in parts.items() if any(map(holds_tensors, v.values()))]
        holding = list(dict.fromkeys(states + outer))
        known = [key] if key else [k for k in holding if k in WRAPPERS]
        if key and key not in holding:
            raise unknown(f"{path}@{key}", key, holding)
        if not known and (not states or holds_tensors(found)):
            break
        if len(known) != 1:
            raise InputError(
                f"{path}: weights lie under {listing(known or states)}; name one of them: "
                f"{path}@{(known or states)[0]}"
            )
        others = [k for k in states if k not in known]
        more = f"; tensors lie under {listing(others)} too: {path}@{others[0]}" if others else ""
        say(f"{path}: takes what lies under {known[0]!r}{more}")
        found, key = found[known[0]], ""
    return found


def read_tensors(path: Path, key: str = "") -> dict[str, Tensor]:
    """The named tensors of a safetensors file, or of a state_dict that torch.save wrote, bare or
    under `key` or one of WRAPPERS; InputError for anything else."""
    check_readable(path)
    if is_safetensors(path):
        if key:
            raise InputError(f"{path}@{key}: a safetensors file has no keys to choose from")
        try:
            return safetensors.torch.load_file(path)
        except UNREADABLE as error:
            raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    found = read_torch(path, STAND_INS)
    if isinstance(found, Mapping) and {"student", "optimizer", "rng"} <= found.keys():
        raise InputError(
            f"{path}: a training's checkpoint, from which that training goes on by itself; give "
            "the folder of a finished run"
        )
    found = unwrapped(path, found, key)
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path}: holds a {type(found).__name__}; give a state_dict")
    if other := [str(k) for k, v in found.items() if not isinstance(v, Tensor)]:
        raise InputError(f"{path}: not a state_dict: no tensors under {listing(other)}")
    size = path.stat().st_size
    if unfit := [
        str(k)
        for k, v in found.items()
        if v.layout != torch.strided or v.is_quantized or v.is_meta or v.is_nested
        or v.numel() * v.element_size() > size
    ]:  # fmt: skip
        raise InputError(f"{path}: no plain tensors under {listing(unfit)}")
    return {str(k): v for k, v in found.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """The free text in the header of a `.safetensors` file, or an InputError; {} = none."""
    check_readable(path)
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            return opened.metadata() or {}
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None


def load_tensors(net: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Strict load: InputError for what `check_shapes` or `check_values` refuses. Other
    floating-point types are converted to the network's own."""
    own = net.state_dict()
    check_shapes(own, tensors, where)
    check_values(own, tensors, where)
    net.load_state_dict(tensors, strict=True)


def check_shapes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    """InputError with every missing, extra or misshaped tensor."""
    problems = {
        "missing": own.keys() - tensors.keys(),
        "not in the network": tensors.keys() - own.keys(),
        "of another shape": {
            f"{k} {tuple(tensors[k].shape)} instead of {tuple(own[k].shape)}"
            for k in own.keys() & tensors.keys()
            if own[k].shape != tensors[k].shape
        },
    }
    if found := [f"{what}: {listing(names)}" for what, names in problems.items() if names]:
        raise InputError(f"{where} does not fit the network: {'; '.join(found)}")


def check_values(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    """InputError for values that would make a network useless without a word: integers for
    floating-point numbers or the reverse, complex numbers; values that are not finite, but for
    those that the network itself has there (a mask of -inf, say)."""
    kinds, broken = [], []
    for name in sorted(own.keys() & tensors.keys()):
        old, new = own[name], tensors[name]
        if (old.is_floating_point(), old.is_complex()) != (
            new.is_floating_point(),
            new.is_complex(),
        ):
            kinds.append(f"{name} {new.dtype} for {old.dtype}".replace("torch.", ""))
        elif not new.isfinite().all() and not (new.isfinite() | (new == old.to(new.device))).all():
            broken.append(name)
    if kinds:
        raise InputError(f"{where} does not fit the network: of another type: {listing(kinds)}")
    if broken:
        raise InputError(
            f"{where}: NaN or infinite values in {listing(broken)}: damaged, or of a training that "
            "diverged"
        )
