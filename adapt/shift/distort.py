"""make_distorted_voc: a data set's shifted twin, with the same layout, names and labels."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from shlex import join
from typing import Any

import numpy as np

from adapt.data import (
    Layout,
    Sample,
    check_owner,
    label_values,
    layout_of,
    prepare,
    read_split,
    void_written,
)
from adapt.data.copies import (
    MANIFEST,
    Output,
    Shard,
    claim,
    make_all,
    put_together,
    relative_names,
    write_manifest,
)
from adapt.data.images import (
    SUFFIXES,
    holding,
    image_size,
    png,
    read_image,
    read_indices,
    voc_palette,
)
from adapt.data.sampling import image_seed
from adapt.data.targets import of_old
from adapt.disk.files import read_mapping, strangers
from adapt.disk.portions import LOCK, PARTS, Portion, one_writer
from adapt.errors import InputError, unknown
from adapt.machine.runtime import say
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import WHICH, DataConfig, ShiftConfig
from transforms import FILTERS, SOURCES, moved_labels
from transforms.parameters import keywords

MADE_WITH = "shift.json"
FORMAT = 1
LABELS = ".labels"
"""Folder of a twin for labels from data.labels, which no one takes for images of its own."""
PLACES = ("root", "labels", "sbd")
READING = ("bands", "range", "colors", "void", "codes")
"""Fields of DataConfig: where the twin's files come from, and what is read in them."""
UNHEARD = {f.name for f in fields(DataConfig)} - {*WHICH, "follow_links", "explicit"} | {
    "part", "parts", "parts_seed", "consecutive", "share",
}  # fmt: skip
"""Settings of `data` that say what becomes of an image that is read, or which of them are."""
PALETTE = voc_palette()


def filtered(source: Path, shift: ShiftConfig, seed: int, data: DataConfig) -> bytes:
    return png(shifted(read_image(source, *data.reading("x1")), source, shift, seed))


def shifted(image: np.ndarray, source: Path, shift: ShiftConfig, seed: int) -> np.ndarray:
    """The image of a file, filtered; the filters are made for 8-bit RGB, and others are an
    InputError."""
    if image.dtype != np.uint8 or image.shape[2] != 3:
        raise InputError(
            f"{source}: {shift.name} is for 8-bit RGB; this image has {image.shape[2]} channels of "
            f"{image.dtype}"
        )
    return apply_shift(image, shift, seed)


def copied(source: Path, data: DataConfig) -> bytes:
    """The label as it is, if it is one."""
    read_indices(source, data.colors)
    return source.read_bytes()


def as_png(source: Path) -> bytes:
    """A label of SBD's, which are no images."""
    return png(read_indices(source), PALETTE)


def moved(source: Path, shift: ShiftConfig, seed: int, void: int, data: DataConfig) -> bytes:
    """The label, moved with what the filter moves, with the palette of `data.colors` or VOC's;
    `void` where it shows none of the scene."""
    labels = holding(read_indices(source, data.colors), void)
    known = [p.name for p in keywords(SOURCES[shift.name])]
    parameters = {k: v for k, v in (shift.parameters | {"seed": seed}).items() if k in known}
    sources = SOURCES[shift.name](labels.shape, **parameters)
    return png(moved_labels(labels, sources, void), [*chain(*data.colors)] or PALETTE)


def apply_shift(image: np.ndarray, shift: ShiftConfig, seed: int) -> np.ndarray:
    """Filter a uint8 (H, W, 3) image; `seed` goes to filters that take one.

    Raises:
        InputError: an unknown parameter, or a value that the filter refuses.
    """
    known = [p.name for p in keywords(FILTERS[shift.name])]
    for key in shift.parameters:
        if key not in known or key == "seed":
            raise unknown(f"shift.parameters.{key}", key, [k for k in known if k != "seed"])
    parameters = dict(shift.parameters) | ({"seed": seed} if "seed" in known else {})
    try:
        return FILTERS[shift.name](image, **parameters)
    except ValueError as error:
        raise InputError(f"shift.parameters of {shift.name}: {error}") from None


def check_shift(shift: ShiftConfig) -> None:
    """Raises as `apply_shift`, before there is an image."""
    apply_shift(np.zeros((8, 8, 3), np.uint8), shift, 0)


def twin(sample: Sample, root: Path, out: Path, moving: bool, labels: str = "") -> Sample:
    """The sample's files in the twin: PNG images, and labels as they were or PNG.

    Files from outside the source's root, such as SBD's .mat or those in the folder `labels`, go
    into a folder of their own.
    """
    given = [(Path(labels), LABELS)] if labels else []

    def below(path: Path, folder: str) -> Path:
        homes = [(root, ""), *given, (path.parent, folder)]
        home, place = next(one for one in homes if path.is_relative_to(one[0]))
        return out / place / path.relative_to(home)

    x1 = below(sample.x1, "images").with_suffix(".png")
    y1 = below(sample.y1, "SegmentationClassAug") if sample.y1 else None
    return replace(sample, x1=x1, y1=y1.with_suffix(".png") if y1 and moving else y1)


def outputs_of(
    sample: Sample, config: DistortConfig, root: Path, out: Path, moving: bool
) -> list[Output]:
    """A sample's files in the twin: the image and its label, if it has one."""
    data, shift, seed = config.data, config.shift, image_seed(config.seed, sample.name)
    made = twin(sample, root, out, moving, data.labels)
    image = partial(filtered, shift=shift, seed=seed, data=data)
    outputs = [Output(sample.x1, made.x1, image, same=False)]
    if sample.y1 and made.y1:
        label = partial(copied, data=data)
        if moving:
            label = partial(moved, shift=shift, seed=seed, void=void_written(data), data=data)
        outputs.append(Output(sample.y1, made.y1, label, same=not moving))
    return outputs


def shard_of(target: Path, samples: Sequence[Sample], config: DistortConfig, moving: bool) -> Shard:
    """An archive of pairs, as data.shards has them: old images and their labels as they are, new
    images, and their labels where these move."""
    members = {}
    for sample in samples:
        image, *label = outputs_of(sample, config, sample.x1.parent, target.parent, moving)
        members[f"{sample.name}.x1{sample.x1.suffix}"] = Output(sample.x1, target)
        members[f"{sample.name}.x2.png"] = image
        if sample.y1:
            kept = sample.y1.suffix.lower() in SUFFIXES
            keep = partial(copied, data=config.data) if kept else as_png
            name = f"{sample.name}.y{sample.y1.suffix if kept else '.png'}"
            members[name] = Output(sample.y1, target, keep)
        members |= {f"{sample.name}.y2.png": own for own in label if moving}
    return Shard(target, members)


def make_distorted(config: DistortConfig) -> Path:
    """Write the twin of `config.data` to `config.out`, or with `shards` archives of pairs; returns
    its manifest.

    An interrupted call is continued by the same one; the result is byte for byte that of an
    undisturbed call and does not depend on the number of workers, nor on parts, each of which
    writes the files of its share and a manifest of them. The manifest, written last, has the
    parameters and every file's SHA-256.

    Raises:
        InputError: wrong filter, parameters or folders, an unreadable image, an `out` that was made
            with other parameters, or a part that is missing.
    """
    layout, part = layout_of(config.data), Portion.of_setting(config.part)
    root, out = folders_of(config, layout)
    check_shift(config.shift)
    lists = splits_of(config.data, layout, root)
    samples = list({s.x1: s for split in lists.values() for s in split}.values())
    size = config.shards
    archives = [
        (out / split / f"{start // size:06d}.tar", members[start : start + size])
        for split, members in (lists.items() if size else ())
        for start in range(0, len(members), size)
    ]
    moving = config.labels == "moved" and config.shift.name in SOURCES
    if moving:
        if not part.joins:
            own = chain(*(of for _, of in part.of(archives))) if size else part.of(samples)
            check_label_sizes(own)
        void_written(config.data)
    if out.is_dir() and not (out / MADE_WITH).is_file() and strangers(out, {LOCK}):
        raise InputError(f"out: {out} is not empty and not a shifted data set")

    def files(one: Portion) -> Sequence[Output] | Sequence[Shard]:
        if size:
            return [shard_of(*archive, config, moving) for archive in one.of(archives)]
        return [*chain(*(outputs_of(s, config, root, out, moving) for s in one.of(samples)))]

    settings = made_with(config)
    former = {"labels": "given", "source": settings["source"] | {what: [] for what in READING}}
    with one_writer(out, part, lambda: claim(out, MADE_WITH, settings, former)):
        if part.joins:
            digests = put_together(out, part, lambda one: relative_names(out, files(one)))
        else:
            digests = make_all(out, files(part), config.workers, "distort")
        about = read_mapping(out / MADE_WITH)
        if part.number:
            say(f"{out}: part={part}, {len(digests)} files")
            return write_manifest(part.record(out / PARTS), about, digests)
        if not size:
            for split, members in lists.items():
                layout.write_list(out, split, [twin(s, root, out, moving) for s in members])
        counts = {split: len(members) for split, members in lists.items()}
        manifest = write_manifest(out / MANIFEST, about | {"splits": counts}, digests)
    say(f"{out}: {len(samples)} images, {', '.join(f'{k} {n}' for k, n in counts.items())}")
    if size:
        say(f"to read its pairs: {reading(config, layout, out)}")
    elif config.data.labels:
        say(f"its labels: data.labels={out / LABELS}")
    if config.data.bands:
        say("its images are RGB: as data.target they need data.bands_x2=[1,2,3]")
    return manifest


def folders_of(config: DistortConfig, layout: Layout) -> tuple[Path, Path]:
    """The source, which is drawn or downloaded if that is asked for, and the twin's folder.

    Raises:
        InputError: a data set that cannot be distorted, or folders that contain each other.
    """
    check_owner(config.data)
    if unheard := sorted(UNHEARD & set(config.data.explicit)):
        raise InputError(
            f"data.{unheard[0]}: a twin has all images, at their own size; give it to what reads "
            "the twin"
        )
    prepare(config.data)
    if listed := config.data.pairs or config.data.shards:
        raise InputError(f"{listed}: lists of pairs have no twin; give data.root alone")
    if not config.data.root:
        raise InputError("data.root is empty: give the folder of the images to distort")
    if layout.tasks:
        raise InputError(
            f"{config.data.name} has the label maps {', '.join(layout.tasks)}; a twin has one: "
            "distort the data sets that they come from"
        )
    if config.shards and layout.classification:
        raise InputError(
            f"shards: {config.data.name} has one label an image, for which archives of pairs have "
            "no place"
        )
    root, out = layout.home(Path(config.data.root)), Path(config.out)
    source, target = root.resolve(), out.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise InputError(f"out: {out} and the source {root} must not contain each other")
    return root, out


def reading(config: DistortConfig, layout: Layout, out: Path) -> str:
    """The settings that read the training pairs of archives, whose labels have the values of the
    data set that they come from."""
    data, classes = config.data, layout.classes or tuple(config.data.classes)
    void, codes = label_values(data, classes)
    listed = data.train_split or layout.train_split
    given = {"classes": classes, "void": void, "codes": codes, "colors": data.colors}
    values = (f"data.{what}={json.dumps([*value])}" for what, value in given.items() if value)
    return join(["data=pairs", f"data.shards={out / listed}", *values])


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
        "source": {what: getattr(config.data, what) for what in (*PLACES, *READING)},
        "shift": config.shift.name,
        "parameters": config.shift.parameters,
        "seed": config.seed,
        "labels": config.labels,
        **({"shards": config.shards} if config.shards else {}),
    }
