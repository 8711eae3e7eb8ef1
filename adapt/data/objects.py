"""Pairs that Python passes as objects instead of by folders: a map-style data set, or a DataLoader.

They are kept under one name, which stands where a configuration names a CSV of pairs: everything
that reads pairs so reads these as well, in this process.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapt.data.samples import Sample
from adapt.errors import InputError

OBJECTS = "python:pairs"
"""`data.pairs` of a training whose pairs are objects."""
FIELDS = ("x1", "x2", "valid")


@dataclass(frozen=True)
class Pairs:
    """What `offer` keeps."""

    train: Sequence[Any]
    """Items (x1, x2[, valid]); empty where only a loader is there."""
    held_out: Sequence[Any] | None = None
    """Pairs for the verdict; None = a part of `train`."""
    loader: Iterable[Any] | None = None
    """Batches (x1, x2[, valid]) in an order of their own."""


_offered: dict[str, Pairs] = {}


def offer(pairs: Pairs) -> str:
    """Keep the pairs for this process; returns the name for `data.pairs`."""
    _offered[OBJECTS] = pairs
    return OBJECTS


def offered(name: str) -> Pairs:
    """What the name stands for.

    Raises:
        InputError: it was offered in another process.
    """
    if name not in _offered:
        raise InputError(
            "data.pairs: the pairs of this run were objects in Python; give them to adapt.fit "
            "again, or name files: data=pairs data.root=OLD data.target=NEW"
        )
    return _offered[name]


def samples_of(items: Sequence[Any]) -> list[Sample]:
    """Items by their place, whose order is that of their names."""
    valid = len(items) > 0 and len(parts_of(items[0])) > 2
    names = [f"{place:08d}" for place in range(len(items))]
    return [Sample(n, Path(n), x2=Path(n), valid=Path(n) if valid else None) for n in names]


def parts_of(item: Any) -> tuple[Any, ...]:
    """(x1, x2[, valid]) of a tuple or list, or of a mapping with these keys.

    Raises:
        InputError: it is something else.
    """
    if isinstance(item, dict):
        item = tuple(item[name] for name in FIELDS if name in item)
    if isinstance(item, tuple | list) and len(item) in (2, 3):
        return tuple(item)
    raise InputError(
        f"pairs: an item is a {type(item).__name__}, not a pair (x1, x2) or (x1, x2, valid)"
    )


def arrays_of(item: Any, name: str) -> dict[str, np.ndarray]:
    """A pair as x1, x2: uint8 or float32 (H, W, 3), and valid: uint8 (H, W).

    Images are uint8 (H, W, 3) arrays or PIL images, or tensors (3, H, W); floating point ones count
    as normalised for the network already.

    Raises:
        InputError: another shape or type.
    """
    return {key: array_of(value, key, name) for key, value in zip(FIELDS, parts_of(item))}  # noqa: B905


def array_of(value: Any, key: str, name: str) -> np.ndarray:
    """One image (H, W, 3), or a mask (H, W) of 0 and 1."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if key == "valid":
        array = (array.reshape(array.shape[-2:]) != 0).astype(np.uint8)
        return array
    if isinstance(value, Tensor) and array.ndim == 3:
        array = np.moveaxis(array, 0, -1)
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"pairs[{name}]: {key} is {array.dtype} {array.shape}; it must be RGB, a tensor "
            "(3, H, W) or an array (H, W, 3), uint8 or normalised floating point"
        )
    return np.ascontiguousarray(array)


def batches_of(loader: Iterable[Any], start: int, stop: int) -> Iterator[dict[str, Any]]:
    """The loader's batches for the steps start..stop-1, epoch after epoch; those of earlier steps
    are passed over. x1, x2: (B, 3, H, W); valid: (B, H, W).

    Raises:
        InputError: the loader is empty, or gives something else.
    """
    step = 0
    while step < stop:
        before = step
        for item in loader:
            if start <= step < stop:
                yield batch_of(item, step)
            step += 1
            if step >= stop:
                return
        if step == before:
            raise InputError("pairs: the DataLoader gives no batch")


def batch_of(item: Any, step: int) -> dict[str, Any]:
    """A loader's batch with the names of its samples."""
    found = dict(zip(FIELDS, parts_of(item)))  # noqa: B905
    for key, value in found.items():
        good = isinstance(value, Tensor) and (key == "valid" or value.ndim == 4)
        if not good or (key != "valid" and value.shape[1] != 3):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"pairs: {key} of a batch is {shape}; it must be (B, 3, H, W)")
    if found["x1"].shape != found["x2"].shape:
        sizes = ", ".join(f"{key} {tuple(found[key].shape)}" for key in ("x1", "x2"))
        raise InputError(
            f"pairs: a batch has {sizes}; what a DataLoader gives is taken as it is: bring both to "
            "one size in its data set, or give that with the setting data.resize"
        )
    if "valid" in found:
        found["valid"] = found["valid"].reshape(-1, *found["x1"].shape[2:]).ne(0).to(torch.uint8)
    names = [f"{place} of batch {step}" for place in range(len(found["x1"]))]
    return {"name": names, **found}
