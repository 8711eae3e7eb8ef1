"""Weights files that other programs wrote: their tensors by the names of a network here."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate, takewhile
from operator import add
from pathlib import Path

from torch import Tensor, float32

from adapt.disk.files import sha256
from adapt.disk.tensors import read_tensors
from adapt.errors import InputError, listing
from adapt.machine.runtime import say

COUNTER = "num_batches_tracked"
"""A buffer of batch norm that older files lack and that nothing here depends on."""
AUXILIARY = ("aux_classifier.", "auxiliary_head.")
"""Heads that torchvision's and mmseg's segmentation networks have for training only."""


def place_of(source: str) -> tuple[Path, str]:
    """File and key of `FILE` or `FILE@KEY`; a file whose own name has an @ is that file."""
    file, _, key = source.rpartition("@")
    if not file or "/" in key or Path(source).exists():
        return Path(source), ""
    return Path(file), key


def renamed(name: str, keys: Mapping[str, str]) -> str:
    """A tensor's name with the longest prefix of `keys` replaced; `*` is one part between dots, and
    comes back in its turn."""
    for theirs in sorted(keys, key=len, reverse=True):
        pattern = re.escape(theirs.rstrip(".")).replace(r"\*", "([^.]+)")
        if found := re.match(rf"{pattern}(?:\.|$)" if pattern else "", name):
            pieces = keys[theirs].rstrip(".").split("*")
            ours = "".join(map(add, pieces, (*found.groups(), "")))
            return ".".join(filter(None, (ours, name[found.end() :])))
    return name


def wholes(names: Iterable[str], keys: Mapping[str, str], known: Collection[str]) -> list[str]:
    """The prefixes, '' among them, under each of which all `known` names stand; of several those
    that are `keys`."""
    needed = {name for name in known if not name.endswith(COUNTER)}
    below = {"": [*names]}
    for name in below[""]:
        for prefix in accumulate(f"{part}." for part in name.split(".")[:-1]):
            below.setdefault(prefix, []).append(name.removeprefix(prefix))
    found = [
        prefix
        for prefix, rest in below.items()
        if len(rest) >= len(needed) and needed.issubset(renamed(name, keys) for name in rest)
    ]
    return [prefix for prefix in found if prefix.rstrip(".") in keys] or found


def read_named(
    source: str, keys: Mapping[str, str], known: Collection[str]
) -> tuple[dict[str, Tensor], str]:
    """Tensors of `FILE` or `FILE@KEY`, and the file's SHA-256.

    Where all that is `known` stands under one prefix, what stands beside it is left aside (the
    weights of a loss). A prefix that all names share, but for those of auxiliary heads, is taken
    off where more of the rest is `known` (`module.`, `model._orig_mod.`); then `keys` rename. Half
    precision becomes float32. A line says each of these. Auxiliary heads that are not `known` are
    left out.

    Raises:
        InputError: as `read_tensors`, `keys` give two tensors one name, or the file has several
            networks of these names, none of which is a key.
    """
    path, key = place_of(source)
    tensors = read_tensors(path, key)
    if whole := wholes(tensors, keys, known):
        if len(whole) > 1:
            raise InputError(
                f"{source} has several such networks, under {listing(whole)}; "
                f"network.keys={{{whole[-1].rstrip('.')}: ''}} takes one"
            )
        kept = (*whole, *AUXILIARY)
        if aside := [name for name in tensors if not name.startswith(kept)]:
            say(f"{source}: {listing(aside)}, beside the network {whole[0]!r}, left aside")
        tensors = {name: v for name, v in tensors.items() if name.startswith(kept)}
    parts = zip(*(n.split(".")[:-1] for n in tensors if not n.startswith(AUXILIARY)), strict=False)
    shared = [f"{every[0]}." for every in takewhile(lambda every: len(set(every)) == 1, parts)]
    prefixes = accumulate(shared, initial="")

    def without(prefix: str) -> list[str]:
        return [renamed(name.removeprefix(prefix), keys) for name in tensors]

    prefix = max(prefixes, key=lambda p: len(set(known).intersection(without(p))))
    names = without(prefix)
    if double := {name for name in names if names.count(name) > 1}:
        raise InputError(f"network.keys: of {source} several tensors become {listing(double)}")
    if prefix:
        say(f"{source}: the prefix {prefix!r} is taken off the names")
    half = {v.dtype for v in tensors.values() if v.is_floating_point() and v.itemsize < 4}
    if half:
        say(f"{source}: {listing(half).replace('torch.', '')} is brought to float32")
    found = {
        name: tensor.to(float32) if tensor.dtype in half else tensor
        for name, tensor in zip(names, tensors.values(), strict=True)
        if name in known or not name.startswith(AUXILIARY)
    }
    return found, sha256(path)
