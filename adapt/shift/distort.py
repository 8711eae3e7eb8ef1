"""make_distorted_voc: a data set's shifted twin, with the same layout, names and labels."""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data import Layout, Sample, check_owner, layout_of, prepare, read_split
from adapt.data.images import IGNORE, image_size, png, read_image, read_indices, voc_palette
from adapt.data.sampling import image_seed
from adapt.disk.files import clear, read_mapping, sha256, strangers, write_json, write_whole
from adapt.disk.lock import only_writer
from adapt.errors import InputError, unknown
from adapt.machine.runtime import progress, say
from adapt.machine.workers import spread
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.settings.mapping import differences
from transforms import FILTERS, SOURCES, moved_labels

MADE_WITH, MANIFEST, LOCK = "shift.json", "manifest.json", "lock"
FORMAT = 1
PALETTE = voc_palette()


@dataclass(frozen=True)
class Job:
    """One file of the twin, made from the source's file of the same sample."""

    name: str
    source: Path
    target: Path
    make: Callable[["Job"], bytes]
    shift: ShiftConfig
    seed: int
    void: int
    """Value of labels that show none of the scene."""


def filtered(job: Job) -> bytes:
    """The image, filtered."""
    return png(apply_shift(read_image(job.source), job.shift, job.seed))


def copied(job: Job) -> bytes:
    """The label as it is, if it is one."""
    read_indices(job.source)
    return job.source.read_bytes()


def moved(job: Job) -> bytes:
    """The label, moved with what the filter moves."""
    labels = read_indices(job.source)
    sources = sources_of(labels.shape, job.shift, job.seed)
    return png(moved_labels(labels, sources, job.void), PALETTE)


def apply_shift(image: np.ndarray, shift: ShiftConfig, seed: int) -> np.ndarray:
    """Filter a uint8 (H, W, 3) image; `seed` goes to filters that take one.

    Raises:
        InputError: unknown filter or parameter, or a value that the filter refuses.
    """
    if shift.name not in FILTERS:
        raise unknown("shift", shift.name, FILTERS)
    known = [p for p in inspect.signature(FILTERS[shift.name]).parameters if p != "image"]
    for key in shift.parameters:
        if key not in known or key == "seed":
            raise unknown(f"shift.parameters.{key}", key, [k for k in known if k != "seed"])
    parameters = dict(shift.parameters) | ({"seed": seed} if "seed" in known else {})
    try:
        return FILTERS[shift.name](image, **parameters)
    except ValueError as error:
        raise InputError(f"shift.parameters of {shift.name}: {error}") from None


def sources_of(size: tuple[int, ...], shift: ShiftConfig, seed: int) -> np.ndarray:
    """Which pixel (x, y) each pixel of a filtered image of `size` (H, W) shows, (H, W, 2)."""
    known = inspect.signature(SOURCES[shift.name]).parameters
    parameters = {k: v for k, v in (shift.parameters | {"seed": seed}).items() if k in known}
    return SOURCES[shift.name](tuple(size), **parameters)


def perform(job: Job) -> str:
    """Make one file, unless an interrupted call has left it there whole; returns its SHA-256."""
    if job.target.exists() and intact(job):
        return sha256(job.target)
    content = job.make(job)
    write_whole(job.target, content, durable=False)
    return hashlib.sha256(content).hexdigest()


def intact(job: Job) -> bool:
    """Whether the file of an interrupted call survived: power failures leave empty or torn ones."""
    if job.make is copied:
        return job.target.read_bytes() == job.source.read_bytes()
    try:
        return read_image(job.target).size > 0
    except InputError:
        return False


def below(path: Path, root: Path, out: Path, folder: str) -> Path:
    """Where a file of the source goes; one from outside its root (SBD's .mat) into `folder`."""
    inside = path.is_relative_to(root)
    return out / path.relative_to(root) if inside else out / folder / path.name


def twin(sample: Sample, root: Path, out: Path, labels: Callable[[Job], bytes]) -> Sample:
    """The sample's files in the twin: PNG images, and labels as they were or PNG."""
    x1 = below(sample.x1, root, out, "images").with_suffix(".png")
    y1 = below(sample.y1, root, out, "SegmentationClassAug") if sample.y1 else None
    if y1 is not None and labels is moved:
        y1 = y1.with_suffix(".png")
    return replace(sample, x1=x1, y1=y1)


def splits_of(config: DataConfig, layout: Layout, root: Path) -> dict[str, list[Sample]]:
    """Every list of the data set, with the training list that the configuration asks for."""
    bare = replace(config, target="")
    names = dict.fromkeys([*layout.splits(root), config.train_split or layout.train_split])
    return {name: read_split(bare, layout, root, name) for name in names}


def check_folders(root: Path, out: Path) -> None:
    source, target = root.resolve(), out.resolve()
    if source == target or target.is_relative_to(source) or source.is_relative_to(target):
        raise InputError(f"out: {out} and the source {root} must not contain each other")


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
    root, out = layout.home(Path(config.data.root)), Path(config.out)
    check_folders(root, out)
    apply_shift(np.zeros((8, 8, 3), np.uint8), config.shift, 0)
    lists = splits_of(config.data, layout, root)
    samples = {s.name: s for split in lists.values() for s in split}
    labels = moved if config.labels == "moved" and config.shift.name in SOURCES else copied
    twins = {name: twin(sample, root, out, labels) for name, sample in samples.items()}
    if labels is moved:
        check_label_sizes(samples.values())
    refuse_foreign(out)
    with only_writer(out / LOCK, f"out: another process is writing {out}"):
        claim(out, config)
        try:
            return write_twin(config, layout, lists, samples, twins, labels)
        finally:
            clear(out.rglob(".*"))


def write_twin(
    config: DistortConfig,
    layout: Layout,
    lists: dict[str, list[Sample]],
    samples: dict[str, Sample],
    twins: dict[str, Sample],
    labels: Callable[[Job], bytes],
) -> Path:
    """Every file that is not there yet, the lists and, last, the manifest."""
    out = Path(config.out)
    void = next(iter(layout.void), IGNORE)
    jobs = []
    for name, sample in samples.items():
        given = (config.shift, image_seed(config.seed, name), void)
        jobs.append(Job(name, sample.x1, twins[name].x1, filtered, *given))
        if sample.y1 is not None and (target := twins[name].y1) is not None:
            jobs.append(Job(name, sample.y1, target, labels, *given))
    digests = run_jobs(jobs, config)
    for split, members in lists.items():
        layout.write_list(out, split, [twins[s.name] for s in members])
    files = {
        job.target.relative_to(out).as_posix(): digest
        for job, digest in zip(jobs, digests, strict=True)
    }
    made_with = read_mapping(out / MADE_WITH)
    os.sync()  # the files before the manifest that vouches for them
    write_json(
        out / MANIFEST,
        {**made_with, "splits": {k: len(v) for k, v in lists.items()}, "sha256": files},
    )
    say(f"{out}: {len(samples)} images, {', '.join(f'{k} {len(v)}' for k, v in lists.items())}")
    return out / MANIFEST


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


def refuse_foreign(out: Path) -> None:
    """Only an empty or new folder becomes a twin, or what a killed call left of one."""
    if (out / MADE_WITH).is_file() or not out.is_dir():
        return
    if strangers(out, {LOCK}):
        raise InputError(f"out: {out} is not empty and not a shifted data set")


def claim(out: Path, config: DistortConfig) -> None:
    """Mark `out` as this twin's, or check that it is; clear what a killed call left."""
    made_with: dict[str, Any] = {
        "format": FORMAT,
        "data": config.data.name,
        "shift": config.shift.name,
        "parameters": config.shift.parameters,
        "seed": config.seed,
        "labels": config.labels,
    }
    if (out / MADE_WITH).is_file():
        if changed := differences({"labels": "given"} | read_mapping(out / MADE_WITH), made_with):
            raise InputError(
                f"out: {out} was made otherwise (there -> given): {'; '.join(changed)}"
            )
    else:
        write_json(out / MADE_WITH, made_with)
    clear(out.rglob(".*"))


def run_jobs(jobs: list[Job], config: DistortConfig) -> list[str]:
    """All digests in the jobs' order; one worker runs in this process."""
    workers = config.workers or os.cpu_count() or 1
    if workers == 1:
        return [perform(job) for job in progress(jobs, what="distort")]
    with spread(perform, jobs, workers, 4, "distort") as found:
        return list(progress(found, what="distort", total=len(jobs)))
