"""Batches as a pure function of (seed, epoch, index): independent of workers and of resuming."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from adapt.data import DataSet, Sample, some
from adapt.data.augment import IMAGES, PairedAugmentation, fitted, frame, resize
from adapt.data.formats import ALPHA
from adapt.data.images import (
    DEEP,
    check_header,
    image_header,
    image_size,
    index_type,
    read_image,
    read_mask,
    read_valid,
    void_of,
)
from adapt.data.objects import arrays_of, batches_of
from adapt.data.samples import column
from adapt.data.warp import aligned
from adapt.disk.files import text_digest
from adapt.errors import InputError, listing
from adapt.machine.processes import rank, world
from adapt.machine.runtime import progress, say
from adapt.machine.workers import loading, unwrapped
from adapt.settings.choices import CROP, PAD, STRETCH
from adapt.settings.groups import DataConfig

LOOKED_AT = 16
"""Labels that are read before a training."""
HEADERS = 20_000
"""Samples whose files' headers are read before a run."""
HOW = {
    STRETCH: ", stretched where their shape is another (data.fit)",
    CROP: ", cut around the middle where their shape is another (data.fit)",
    PAD: ", padded where their shape is another (data.fit)",
}
Shape = tuple[int, int]
"""(H, W)."""
Batch = dict[str, Any]
"""name: list of str; x1, x2: uint8 or uint16 (B, C, H, W); valid: uint8 (B, H, W); y: index masks
(B, H, W), uint8 or uint16, or int64 (B,) where an image has one label. Of several tasks y_TASK,
void where an image has none, and has_TASK, bool (B,): has it one? Absent = not asked."""


class Decoder:
    """Reads the asked fields of a sample and brings them to one geometry."""

    def __init__(self, data: DataSet, config: DataConfig, fields: Iterable[str]) -> None:
        """InputError for `data.fit` without the size that images are fitted to."""
        self.data, self.config, self.size, self.fit = data, config, config.resize, config.fit
        if self.fit != STRETCH and len(self.size) != 2:
            raise InputError(f"data.fit={self.fit} needs data.resize=[height,width]")
        self.fields = tuple(own for field in fields for own in self.own(field))
        masks = (any(column(data.samples, field)) for field in ("valid", "transform"))
        self.masked = "valid" in self.fields and (self.fit == PAD or any(masks))
        self.memory: dict[str, dict[str, np.ndarray]] | None = {} if config.cache else None

    def own(self, field: str) -> list[str]:
        """A field of the samples, or instead of their label map those of all tasks."""
        several = self.data.tasks if field in ("y1", "y2") else ()
        return [f"{field}_{task}" for task in several] or [field]

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        """Field -> array, all of one height and width; raises InputError for an unreadable file,
        or files of one sample that cannot be brought to one geometry."""
        if self.memory is None:
            return self.resized(sample)
        if sample.name not in self.memory:
            self.memory[sample.name] = self.resized(sample)
        return self.memory[sample.name]

    def resized(self, sample: Sample) -> dict[str, np.ndarray]:
        arrays = self.fitted(self.native(sample))
        first = next((arrays[key] for key in IMAGES if key in arrays), next(iter(arrays.values())))
        return resize(arrays, self.size and frame(first.shape[:2], self.size))

    def native(self, sample: Sample) -> dict[str, np.ndarray]:
        """The same as the files have it; sizes may differ where there is `data.resize`."""
        there = [f for f in self.fields if sample.file(f) is not None]
        if self.data.objects:
            found = arrays_of(self.data.items[int(sample.name)], sample.name, self.config)
            arrays = {f: found[f] for f in there}
        else:
            arrays = {f: self.read(sample, f) for f in there}
        self.check(sample, {f: (a.shape[0], a.shape[1]) for f, a in arrays.items()})
        if sample.transform:
            size = arrays["x1"].shape[:2] if "x1" in arrays else image_size(sample.x1)
            found = aligned(sample, arrays, size)
            arrays = {f: a for f, a in found.items() if f in self.fields}
        if self.masked and "valid" not in arrays:
            arrays["valid"] = np.ones(next(iter(arrays.values())).shape[:2], np.uint8)
        return {(f"y{f[2:]}" if f[0] == "y" else f): a for f, a in arrays.items()}

    def fitted(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Those of `native`, cut or padded at their own resolutions as `data.fit` says."""
        return fitted(arrays, self.size, self.fit)

    def check(self, sample: Sample, sizes: Mapping[str, Shape]) -> None:
        """Raises InputError for files of a sample, field -> (H, W), that are a `misfit`. A label
        may have the shape of the image that is not read; x2 and its own label may have any size
        where they are warped."""
        if sample.transform:
            moved = {"x2"} if sample.y2 == sample.y1 else {"x2", "y2"}
            known = {image_size(sample.x1), *(sizes[f] for f in sizes.keys() - moved)}
            why = "" if len(known) == 1 else "beside data.transforms masks have x1's size"
        elif (why := misfit(sizes, self.size)) and self.size and not self.data.objects:
            others = {f: p for f in IMAGES if f not in sizes and (p := getattr(sample, f))}
            why = misfit({f: image_size(p) for f, p in others.items()} | {**sizes}, self.size)
        if why:
            shown = ", ".join(f"{f} {sample.file(f)} {size}" for f, size in sizes.items())
            raise InputError(f"sample {sample.name}: sizes (H, W) differ: {shown}; {why}")

    def read(self, sample: Sample, name: str) -> np.ndarray:
        path = sample.file(name)
        assert path is not None
        if name in IMAGES:
            return read_image(path, *self.config.reading(name))
        if name == "valid":
            return read_valid(path)
        own = self.data.tasks.get(name.partition("_")[2], self.data)
        how = (own.void, own.codes, self.config.colors, own.labels)
        return read_mask(path, len(own.classes), *how)


class Stream(Dataset[Batch]):
    """Training samples by position: position p is item p % N of epoch p // N's own order. Several
    new domains take turns, in an order of each round's own, and have epochs of their own."""

    def __init__(
        self,
        data: DataSet,
        config: DataConfig,
        fields: Iterable[str],
        seed: int,
        numbered: bool = False,
        tasks: Mapping[str, Sequence[str]] | None = None,
        also: "Stream | None" = None,
    ) -> None:
        """`numbered` adds `view` to a batch, int64 (B,): which view of which image x1 is. `tasks`
        are those of a training with their classes, where they are more than the data set's, and the
        samples of `also` are drawn among its own."""
        self.decode = Decoder(data, config, fields)
        self.augment = PairedAugmentation(config)
        self.samples, self.seed, self.views = data.samples, seed, config.views
        self.numbered, self.also = numbered, also
        self.count: int = len(data.samples) + (also.count if also else 0)
        self.labelled = any(field[0] == "y" for field in self.decode.fields)
        own = tasks or {task: means.classes for task, means in data.tasks.items()}
        self.tasks = own if self.labelled else {}
        self.places = data.places() if data.targets else [np.arange(self.count)]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def order(self, epoch: int, target: int = 0) -> np.ndarray:
        if self._orders.get(target, (-1,))[0] != epoch:
            drawn = np.random.default_rng([self.seed, epoch, *([target] if target else [])])
            self._orders[target] = epoch, drawn.permutation(self.places[target])
        return self._orders[target][1]

    def __getitem__(self, position: int) -> Batch:
        turn, target = divmod(position, len(self.places))
        if len(self.places) > 1:  # else a process may never see some of them
            drawn = np.random.default_rng([self.seed, turn, len(self.places)])
            target = int(drawn.permutation(len(self.places))[target])
        epoch, place = divmod(turn, len(self.places[target]))
        index = int(self.order(epoch, target)[place])
        if self.also and index >= len(self.samples):
            return self.also.item(epoch, index - len(self.samples))
        return self.item(epoch, index)

    def item(self, epoch: int, index: int) -> Batch:
        """A sample of its own data set as an epoch sees it."""
        view = epoch
        if self.views:
            drawn = np.random.SeedSequence([self.seed, epoch, index, 1]).generate_state(1)[0]
            view = int(drawn) % self.views
        seed = np.random.SeedSequence([self.seed, view, index]).generate_state(1)[0]
        sample = self.samples[index]
        arrays = self.decode(sample)
        if "valid" in self.decode.fields and self.augment.pads:  # what geometry adds is not
            shape = next(iter(arrays.values())).shape[:2]
            arrays = {"valid": np.ones(shape, np.uint8)} | arrays
        arrays = self.augment(arrays, int(seed))
        found: Batch = {"name": sample.name} | {k: tensor(a) for k, a in arrays.items()}
        if self.numbered:
            shown = view if self.views else self.augment.mirrored(int(seed))
            found["view"] = index * self.augment.views + shown
        if sample.label is not None and self.labelled:
            found["y"] = torch.tensor(sample.label)
        shape = next(iter(arrays.values())).shape[:2]
        for task, classes in self.tasks.items():
            key, count = f"y_{task}", len(classes)
            found[f"has_{task}"] = torch.tensor(key in arrays)
            if key not in arrays:
                found[key] = tensor(np.full(shape, void_of(count), index_type(count)))
        return found


def tensor(array: np.ndarray) -> torch.Tensor:
    """(H, W[, C]) -> ([C,] H, W), of the same type and memory."""
    made = torch.from_numpy(array)
    return made.permute(2, 0, 1) if made.ndim == 3 else made


def alike(images: list[torch.Tensor]) -> list[torch.Tensor]:
    """Images of one type: beside some of 16 bits, those of 8 bits get the range of these."""
    if {image.dtype for image in images} != {torch.uint8, torch.uint16}:
        return images
    ranges = {torch.uint8: DEEP // 255, torch.uint16: 1}
    return [(image.int() * ranges[image.dtype]).to(torch.uint16) for image in images]


def refuse_unequal(sizes: Mapping[str, Shape]) -> None:
    """InputError unless the images of a batch, name -> (H, W), have one size."""
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
        cure = "data.resize=[height,width] or data.crop=[height,width]"
        raise InputError(f"images of a batch differ in size (H, W): {shown}; give {cure}")


def collate(items: list[Batch]) -> Batch:
    """A batch whose images lie in memory as those of files, channels last: none is transposed."""
    keys = [key for key in IMAGES if key in items[0]]
    refuse_unequal({item["name"]: tuple(item[keys[0]].shape[1:]) for item in items})
    images = {key: alike([item[key].permute(1, 2, 0) for item in items]) for key in keys}
    found = default_collate(
        [item | {key: images[key][place] for key in keys} for place, item in enumerate(items)]
    )
    return found | {key: found[key].permute(0, 3, 1, 2) for key in keys}


def batches(
    stream: Stream, batch: int, start: int, stop: int, workers: int = 0, *, pin: bool = False
) -> Iterator[Batch]:
    """The batches of steps start..stop-1; step t holds positions t*batch .. (t+1)*batch - 1, of
    which each process has an equal share."""
    share = batch // world()
    own = [t * batch + rank() * share for t in range(start, stop)]
    positions = [list(range(position, position + share)) for position in own]
    how = {"batch_sampler": positions, "pin_memory": pin, "collate_fn": collate}
    return unwrapped(loading(stream, workers, **how))


def check_sizes(
    data: DataSet, config: DataConfig, fields: Iterable[str], stacked: bool = False
) -> None:
    """Raises InputError unless every asked file of every sample is an image and fits its partners
    (`Decoder.check`) and, where images are `stacked` as they are, all have one size. Says which
    sizes `data.resize` brings to one, and what of the files is not used.

    Reads headers only, so that a long run does not find out on its way; of more than HEADERS
    samples those of so many, evenly spaced. What Python gives as objects is looked at as it is
    used.
    """
    decode, total = Decoder(data, config, fields), len(data.samples)
    looked = some(data, HEADERS).samples if data.objects is None else ()
    kinds: dict[str, dict[Shape, str]] = {f: {} for f in decode.fields if f in IMAGES}
    unused: dict[str, dict[Path, None]] = defaultdict(dict)
    if 0 < len(looked) < total:
        say(f"sizes: of {total:,} samples {HEADERS:,} are looked at before the run; scan reads all")
    for sample in progress(looked, what="sizes"):
        paths = {f: p for f in decode.fields if (p := sample.file(f)) is not None}
        headers = {f: image_header(p) for f, p in paths.items() if p.suffix.lower() != ".mat"}
        decode.check(sample, {f: header.size for f, header in headers.items()})
        for name, header in headers.items():
            if name in IMAGES:
                check_header(paths[name], header, *config.reading(name))
                kinds[name].setdefault(header.size, sample.name)
                if stacked and not (sample.transform and name == "x2"):
                    refuse_unequal({first: size for size, first in kinds[name].items()})
            for what in header.ignored:
                if what != ALPHA or not (name in IMAGES and config.reading(name)[0]):
                    unused[what][paths[name]] = None
    for what, files in unused.items():
        first = next(iter(files))
        say(f"{data.name}: {len(files)} files have {what}; it is not used (first: {first})")
    say_sizes(kinds, decode.size, decode.fit)


def say_sizes(kinds: Mapping[str, Iterable[Shape]], resize: list[int], fit: str) -> None:
    """Says which sizes of x1 and x2 are brought to one, and how, unless it is all the same."""
    every = {size for sizes in kinds.values() for size in sizes}
    if len(resize) == 2 and (len(every) > 1 or fit != STRETCH):
        sides = (f"{field} of {listing(map(by, sizes), shown=3)}" for field, sizes in kinds.items())
        how = "" if all(same_shape(size, resize) for size in every) else HOW[fit]
        say(f"sizes (H x W): {', '.join(sides)} are brought to {by(resize)}{how}")


def size_of(config: DataConfig, data: DataSet) -> tuple[int, int]:
    """(H, W) at which a network sees an image: the crop, or the size that images are brought to, or
    that the first one has."""
    objects, size = data.objects, config.crop or config.resize
    if len(size) == 2:
        return size[0], size[1]
    if objects and objects.loader is not None:
        own = next(batches_of(objects.loader, 0, 1, seed=0))["x1"].shape[-2:]
    elif objects:
        own = Decoder(data, config, ["x1", "x2"]).native(data.samples[0])["x1"].shape[:2]
    else:
        own = image_size(data.samples[0].x1)
    height, width = frame(own, size)
    return height, width


def check_labels(data: DataSet, config: DataConfig, fields: Iterable[str]) -> None:
    """Reads LOOKED_AT of the labels that are asked for, so that wrong values are refused before the
    first step, and says where all of them are one class and void."""
    for task in data.tasks:
        check_labels(data.of_task(task), config, fields)
    asked = [field for field in fields if field in ("y1", "y2") and not data.tasks]
    if not asked or data.classification:
        return
    decode, void = Decoder(data, config, asked), void_of(len(data.classes))
    counts = np.zeros(void + 1, np.int64)
    for sample in some(data, LOOKED_AT).samples:
        counts += np.bincount(decode.native(sample)["y"].ravel(), minlength=void + 1)
    if counts[void] and np.count_nonzero(counts[:void]) < 2:
        absent = [name for name, count in zip(data.classes, counts, strict=False) if not count]
        say(void_warning(100 * counts[void] / counts.sum(), absent))


def void_warning(share: float, absent: Sequence[str]) -> str:
    """What to say where labels are void (in percent of their pixels) and never of some classes: the
    255 of a mask of 0 and 255 counts as void."""
    return (
        f"warning: {share:.1f} % of the labels' pixels are void, and none is {listing(absent)}; "
        "if a value that counts as void is a class, give data.codes, such as data.codes=[0,255]"
    )


def by(size: Sequence[int], mark: str = "x") -> str:
    return f"{size[0]}{mark}{size[1]}"


def same_shape(mask: Sequence[int], image: Sequence[int]) -> bool:
    """Have two (H, W) the same shape, up to a pixel of either?"""
    return abs(mask[0] * image[1] - mask[1] * image[0]) <= max(*mask, *image)


def misfit(sizes: Mapping[str, Shape], resize: list[int]) -> str:
    """Why files of a sample, field -> (H, W), have no geometry in common, "" where they do. Without
    `data.resize` they must have one size; with it, masks must have the shape of an image, if not
    its resolution, and `[S]`, which keeps shapes, must make images of one size."""
    images = [sizes[f] for f in IMAGES if f in sizes]
    if not resize:
        if len(set(sizes.values())) == 1:
            return ""
        shapes = all(same_shape(size, images[0]) for size in sizes.values())
        kept = "" if shapes else " (stretched, or with data.fit=crop or pad)"
        return f"data.resize=[{by(images[0], ',')}], say, brings all to one size{kept}"
    if len({tuple(frame(image, resize)) for image in images}) > 1:
        return "give data.resize=[height,width], with data.fit"
    odd = [f for f, size in sizes.items() if not any(same_shape(size, i) for i in images)]
    return f"{odd[0]} has the shape of no image of its sample" if odd else ""


def image_seed(seed: int, name: str) -> int:
    """A seed in 0..2^32-1 that depends on the image's name alone, not on order or workers."""
    return int.from_bytes(bytes.fromhex(text_digest(f"{seed}:{name}"))[:4], "little")
