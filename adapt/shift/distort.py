"""make_distorted_voc: a data set's shifted twin, with the same layout, names and labels."""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data import Layout, Sample, check_owner, layout_of, prepare, read_split, void_written
from adapt.data.copies import LOCK, Output, claim, make_all, write_manifest
from adapt.data.images import holding, image_size, png, read_image, read_indices, voc_palette
from adapt.data.sampling import image_seed
from adapt.data.targets import of_old
from adapt.disk.files import clear, read_mapping, strangers
from adapt.disk.lock import only_writer
from adapt.errors import InputError, unknown
from adapt.machine.runtime import say
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from transforms import FILTERS, SOURCES, moved_labels

MADE_WITH = "shift.json"
FORMAT = 1
PALETTE = voc_palette()


def filtered(source: Path, shift: ShiftConfig, seed: int, data: DataConfig) -> bytes:
    """The image, filtered; the filters are made for 8-bit RGB, and others are an InputError."""
    image = read_image(source, *data.reading("x1"))
    if image.dtype != np.uint8 or image.shape[2] != 3:
        raise InputError(
            f"{source}: {shift.name} is for 8-bit RGB; this image has {image.shape[2]} channels of "
            f"{image.dtype}"
        )
    return png(apply_shift(image, shift, seed))


def copied(source: Path, data: DataConfig) -> bytes:
    """The label as it is, if it is one."""
    read_indices(source, data.colors)
    return source.read_bytes()


def moved(source: Path, shift: ShiftConfig, seed: int, void: int, data: DataConfig) -> bytes:
    """The label, moved with what the filter moves, with the palette of `data.colors` or VOC's;
    `void` where it shows none of the scene."""
    labels = holding(read_indices(source, data.colors), void)
    known = inspect.signature(SOURCES[shift.name]).parameters
    parameters = {k: v for k, v in (shift.parameters | {"seed": seed}).items() if k in known}
    sources = SOURCES[shift.name](labels.shape, **parameters)
    return png(moved_labels(labels, sources, void), [*chain(*data.colors)] or PALETTE)


def apply_shift(image: np.ndarray, shift: ShiftConfig, seed: int) -> np.ndarray:
    """Filter a uint8 (H, W, 3) image; `seed` goes to filters that take one.

    Raises:
        InputError: an unknown parameter, or a value that the filter refuses.
    """
    known = [p for p in inspect.signature(FILTERS[shift.name]).parameters if p != "image"]
    for key in shift.parameters:
        if key not in known or key == "seed":
            raise unknown(f"shift.parameters.{key}", key, [k for k in known if k != "seed"])
    parameters = dict(shift.parameters) | ({"seed": seed} if "seed" in known else {})
    try:
        return FILTERS[shift.name](image, **parameters)
    except ValueError as error:
        raise InputError(f"shift.parameters of {shift.name}: {error}") from None


def twin(sample: Sample, root: Path, out: Path, moving: bool) -> Sample:
    """The sample's files in the twin: PNG images, and labels as they were or PNG.

    Files from outside the source's root (SBD's .mat) go into a folder of their own.
    """

    def below(path: Path, folder: str) -> Path:
        inside = path.is_relative_to(root)
        return out / (path.relative_to(root) if inside else Path(folder, path.name))

    x1 = below(sample.x1, "images").with_suffix(".png")
    y1 = below(sample.y1, "SegmentationClassAug") if sample.y1 else None
    return replace(sample, x1=x1, y1=y1.with_suffix(".png") if y1 and moving else y1)


def make_distorted(config: DistortConfig) -> Path:
    """Write the twin of `config.data` to `config.out`; returns its manifest.

    An interrupted call is continued by the same one; the result is byte for byte that of an
    undisturbed call and does not depend on the number of workers. The manifest, written last, has
    the parameters and every file's SHA-256.

    Raises:
        InputError: wrong filter, parameters or folders, an unreadable image, or an `out` that was
            made with other parameters.
    """
    layout = layout_of(config.data)
    check_owner(config.data)
    prepare(config.data)
    if not config.data.root:
        raise InputError("data.root is empty: give the folder of the images to distort")
    if layout.tasks:
        raise InputError(
            f"{config.data.name} has the label maps {', '.join(layout.tasks)}; a twin has one: "
            "distort the data sets that they come from"
        )
    root, out = layout.home(Path(config.data.root)), Path(config.out)
    source, target = root.resolve(), out.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise InputError(f"out: {out} and the source {root} must not contain each other")
    apply_shift(np.zeros((8, 8, 3), np.uint8), config.shift, 0)
    lists = splits_of(config.data, layout, root)
    samples = {s.name: s for split in lists.values() for s in split}
    moving = config.labels == "moved" and config.shift.name in SOURCES
    if moving:
        check_label_sizes(samples.values())
        if config.data.colors and not config.data.void:
            raise InputError(
                "labels=moved with data.colors needs data.void, the place of void's colour"
            )
    if out.is_dir() and not (out / MADE_WITH).is_file() and strangers(out, {LOCK}):
        raise InputError(f"out: {out} is not empty and not a shifted data set")
    twins = {name: twin(sample, root, out, moving) for name, sample in samples.items()}
    void = void_written(config.data)
    outputs = []
    for name, sample in samples.items():
        seed = image_seed(config.seed, name)
        image = partial(filtered, shift=config.shift, seed=seed, data=config.data)
        outputs.append(Output(sample.x1, twins[name].x1, image, same=False))
        if sample.y1 and (y1 := twins[name].y1):
            follow = partial(moved, shift=config.shift, seed=seed, void=void, data=config.data)
            label = follow if moving else partial(copied, data=config.data)
            outputs.append(Output(sample.y1, y1, label, same=not moving))
    with only_writer(out / LOCK, f"out: another process is writing {out}"):
        claim(out, MADE_WITH, made_with(config), {"labels": "given"})
        try:
            digests = make_all(outputs, config.workers, "distort")
            for split, members in lists.items():
                layout.write_list(out, split, [twins[s.name] for s in members])
            counts = {split: len(members) for split, members in lists.items()}
            about = read_mapping(out / MADE_WITH) | {"splits": counts}
            manifest = write_manifest(out, about, outputs, digests)
        finally:
            clear(out.rglob(".*"))
    say(f"{out}: {len(samples)} images, {', '.join(f'{k} {n}' for k, n in counts.items())}")
    if config.data.bands:
        say("its images are RGB: as data.target they need data.bands_x2=[1,2,3]")
    return manifest


def splits_of(config: DataConfig, layout: Layout, root: Path) -> dict[str, Sequence[Sample]]:
    """Every list of the data set, with the training list that the configuration asks for."""
    bare = of_old(config)
    names = dict.fromkeys([*layout.splits(root), config.train_split or layout.train_split])
    return {name: read_split(bare, layout, root, name) for name in names}


def check_label_sizes(samples: Iterable[Sample]) -> None:
    """Labels can only follow images of their own size.

    Raises:
        InputError: a label of another size than its image.
    """
    for sample in samples:
        if sample.y1 is None or sample.y1.suffix.lower() == ".mat":
            continue
        image, label = image_size(sample.x1), image_size(sample.y1)
        if image != label:
            raise InputError(
                f"labels=moved: {sample.y1} is {label[1]}x{label[0]}, its image {sample.x1} "
                f"{image[1]}x{image[0]}"
            )


def made_with(config: DistortConfig) -> dict[str, Any]:
    """What the twin's files depend on."""
    return {
        "format": FORMAT,
        "data": config.data.name,
        "shift": config.shift.name,
        "parameters": config.shift.parameters,
        "seed": config.seed,
        "labels": config.labels,
    }
