"""Pairs that Python passes as objects instead of by folders: a map-style data set, or a DataLoader.

They are kept under one name, which stands where a configuration names a CSV of pairs: everything
that reads pairs so reads these as well, in this process.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adapt.data.files import say_once
from adapt.data.formats import Raster
from adapt.data.images import prepared
from adapt.data.samples import Sample
from adapt.errors import InputError
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import as_dict, flatten
from adapt.settings.training import TrainConfig

OBJECTS = "python:pairs"
"""`data.pairs` of a training whose pairs are objects."""
FIELDS = ("x1", "x2", "valid")
AS_IT_IS = DataConfig()
OF_ITEMS = (
    "data.resize", "data.crop", "data.scale", "data.rotate", "data.jitter_x1", "data.jitter_x2",
    "data.blur_x1", "data.blur_x2", "data.views", "data.bands", "data.bands_x2", "data.range",
    "data.range_x2", "data.share", "cache_teacher",
)  # fmt: skip
"""Settings that change, choose or tell apart single images."""
FEW = 8
"""Items by which data sets are told apart."""
LIKE_FILES = {"1": "L", "P": "RGB", "PA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
"""Modes of Pillow's images, and what files of these modes are read as."""


@dataclass(frozen=True)
class Pairs:
    """What `offer` keeps."""

    train: Sequence[Any]
    """Items (x1, x2[, valid]); empty where only a loader is there."""
    held_out: Sequence[Any] | None = None
    """Pairs for the verdict; None = a part of `train`."""
    loader: Iterable[Any] | None = None
    """Batches (x1, x2[, valid]) in an order of their own."""


_offered: list[Pairs] = []


def offer(pairs: Pairs) -> str:
    """Keep the pairs for this process; returns the name for `data.pairs`."""
    _offered[:] = [pairs]
    return OBJECTS


def offered() -> Pairs:
    """What OBJECTS stands for.

    Raises:
        InputError: it was offered in another process.
    """
    if not _offered:
        raise InputError(
            "data.pairs: the pairs of this run were objects in Python; give them to adapt.fit "
            "again, or name files: data=pairs data.root=OLD data.target=NEW"
        )
    return _offered[0]


def samples_of(items: Sequence[Any]) -> list[Sample]:
    """Items by their place, whose order is that of their names."""
    valid = len(items) > 0 and len(parts_of(items[0])) > 2
    names = [f"{place:08d}" for place in range(len(items))]
    return [Sample(n, Path(n), x2=Path(n), valid=Path(n) if valid else None) for n in names]


def contents(items: Sequence[Any]) -> str:
    """SHA-256 of a few evenly spaced items, which have no files by whose names they could be told
    from others; empty where reading them twice gives two things (random augmentation)."""

    def read() -> str:
        digest = hashlib.sha256()
        for place in np.linspace(0, len(items) - 1, min(FEW, len(items)), dtype=int).tolist():
            for key, array in arrays_of(items[place], str(place)).items():
                digest.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    first = read()
    return first if first == read() else ""


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


def arrays_of(item: Any, name: str, config: DataConfig = AS_IT_IS) -> dict[str, np.ndarray]:
    """A pair as x1, x2: uint8, uint16 or float32 (H, W, C), and valid: uint8 (H, W).

    Images are arrays (H, W, C), tensors (C, H, W) or PIL images. Integers go the way of files
    (adapt.data.images.prepared), by the bands and ranges of `config`, but for [] arrays and tensors
    keep all their channels; floating point counts as normalised for the network already.

    Raises:
        InputError: another shape or type.
    """
    values = zip(FIELDS, parts_of(item))  # noqa: B905
    return {key: array_of(value, key, name, config) for key, value in values}


def array_of(value: Any, key: str, name: str, config: DataConfig = AS_IT_IS) -> np.ndarray:
    """One image (H, W, C), or a mask (H, W) of 0 and 1, which is 1 where a channel is not 0."""
    where, picture = f"pairs[{name}]: {key}", isinstance(value, Image.Image)
    if picture:
        value = value.convert(LIKE_FILES.get(value.mode, value.mode))
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.ndim == 3 and (isinstance(value, Tensor) or (key == "valid" and len(array) == 1)):
        array = np.moveaxis(array, 0, -1)
    alpha = picture and value.mode in ("LA", "RGBA")
    if key == "valid":
        if array.ndim not in (2, 3):
            raise InputError(f"{where} is {array.dtype} {array.shape}; it must be a mask (H, W)")
        shown = np.atleast_3d(array)[..., : -1 if alpha else None]
        return (shown != 0).any(axis=2).astype(np.uint8)
    if picture:
        array = np.atleast_3d(array)
    if array.ndim != 3 or array.dtype.kind not in "uif":
        raise InputError(
            f"{where} is {array.dtype} {array.shape}; it must be a tensor (C, H, W) or an array "
            "(H, W, C), of integers or normalised floating point"
        )
    if array.dtype.kind == "f":
        warn_of_unit(array)
        return np.ascontiguousarray(array.astype(np.float32))
    bands, limits = config.reading(key)
    own = [] if picture else list(range(1, array.shape[2] + 1))
    top = np.iinfo(array.dtype).max if array.dtype in (np.uint8, np.uint16) else None
    return prepared(where, Raster(array, alpha, top), bands or own, limits)


def check_batch(images: Tensor) -> None:
    """InputError for a batch of integers whose range is not known: as of single images."""
    if images.is_floating_point():
        warn_of_unit(images)
    elif images.dtype not in (torch.uint8, torch.uint16):
        raise InputError(
            f"pairs: a batch of images is {images.dtype}; give torch.uint8, torch.uint16, or "
            "floating point that is normalised"
        )


def warn_of_unit(images: np.ndarray | Tensor) -> None:
    """A warning, once, of floating point images whose values are those of no normalised ones."""
    if images.min() >= 0 and images.max() <= 1:
        say_once(
            "warning: images of floating point count as normalised, and all values of one are in "
            "0..1: give uint8, which is normalised here, or normalise them by mean and std"
        )


def refuse_of_items(config: TrainConfig) -> None:
    """InputError for settings that would be ignored where a DataLoader gives whole batches."""
    own, usual = (flatten(as_dict(one)) for one in (config, TrainConfig()))
    if changed := [name for name in OF_ITEMS if own[name] != usual[name]]:
        raise InputError(
            f"{changed[0]}={own[changed[0]]} is for single images, and a DataLoader's batches are "
            "taken as they are; do it in its data set, or give the data set itself as pairs"
        )


def batches_of(loader: Iterable[Any], start: int, stop: int, seed: int) -> Iterator[dict[str, Any]]:
    """The loader's batches for the steps start..stop-1, epoch after epoch; those of earlier steps
    are passed over. x1, x2: (B, C, H, W); valid: (B, H, W).

    What torch draws for them in this process, such as their order, it draws from `seed`, apart from
    the training's own draws: so they are the same again where a run is resumed.

    Raises:
        InputError: the loader is empty, or gives something else.
    """
    step, state = 0, torch.Generator().manual_seed(seed).get_state()
    while step < stop:
        before, items = step, None
        while step < stop:
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                items = iter(loader) if items is None else items
                item = next(items, None)
                state = torch.get_rng_state()
            if item is None:
                break
            if step >= start:
                yield batch_of(item, step)
            step += 1
        if step == before:
            raise InputError("pairs: the DataLoader gives no batch")


def batch_of(item: Any, step: int) -> dict[str, Any]:
    """A loader's batch with the names of its samples."""
    found = dict(zip(FIELDS, parts_of(item)))  # noqa: B905
    for key, value in found.items():
        if not isinstance(value, Tensor) or (key != "valid" and value.ndim != 4):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"pairs: {key} of a batch is {shape}; it must be (B, C, H, W)")
    if found["x1"].shape[2:] != found["x2"].shape[2:]:
        sizes = ", ".join(f"{key} {tuple(found[key].shape)}" for key in ("x1", "x2"))
        raise InputError(
            f"pairs: a batch has {sizes}; what a DataLoader gives is taken as it is: bring both to "
            "one size in its data set"
        )
    for key in ("x1", "x2"):
        check_batch(found[key])
    if "valid" in found:
        found["valid"] = found["valid"].reshape(-1, *found["x1"].shape[2:]).ne(0).to(torch.uint8)
    names = [f"{place} of batch {step}" for place in range(len(found["x1"]))]
    return {"name": names, **found}
