"""Data sets: which files belong together. Nothing is decoded here (adapt.data.images does that)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data.classification import CALTECH256, DOGS120, FOLDERS, FOOD101, INDOOR67
from adapt.data.files import Layout, MissingFiles, Problem, folder, leading_out, matched, resolved
from adapt.data.images import void_of
from adapt.data.objects import OBJECTS, Pairs, offered, samples_of
from adapt.data.pairs import PAIRS, partnered, read_csv, read_shards
from adapt.data.parts import part_of, taken
from adapt.data.samples import (
    FILES,
    Sample,
    Table,
    Task,
    chosen,
    column,
    joined,
    map_fields,
    renamed,
    spaced,
)
from adapt.data.scenes import write_scenes
from adapt.data.segmentation import CAMVID, CITYSCAPES, CONTEXT, D3, LIP, PERSON_PART, SCENES, VOC
from adapt.data.targets import each_target, target_of
from adapt.data.tasks import only, tasks_of, with_maps
from adapt.data.warp import with_transforms
from adapt.errors import InputError, listing, unknown
from adapt.settings.groups import DataConfig

DATASETS = {
    "scenes": SCENES, "camvid": CAMVID, "voc": VOC, "context": CONTEXT, "person_part": PERSON_PART,
    "d3": D3, "lip": LIP, "cityscapes": CITYSCAPES, "pairs": PAIRS,
    "caltech256": CALTECH256, "indoor67": INDOOR67, "dogs120": DOGS120, "food101": FOOD101,
    "folders": FOLDERS,
}  # fmt: skip
"""Adding a data set is one layout, one line here and one name in adapt.settings.choices."""

HELD_OUT = "val"
"""The split or part that a verdict is of, and that pairs held out by a caller of Python are."""

OWNERS = {
    "pairs": "pairs", "shards": "pairs", "labels": "pairs", "classes": "pairs", "sbd": "voc, d3",
    "coarse": "cityscapes", "variant": "cityscapes", "imagenet_val": "dogs120",
}  # fmt: skip
"""Settings of one or two data sets."""


@dataclass(frozen=True)
class DataSet:
    """The samples of one split (or named part of it), with what their masks mean."""

    name: str
    split: str
    classes: tuple[str, ...]
    void: tuple[int, ...]
    samples: Sequence[Sample]
    codes: tuple[int, ...] = ()
    """Value of each class in the masks; () = its index."""
    classification: bool = False
    """One label an image, rather than one a pixel."""
    objects: Pairs | None = None
    """Where the samples are Python's, not files."""
    items: Sequence[Any] = ()
    """The objects that the samples' names count."""
    labels: tuple[int, ...] = ()
    """The class that each of `codes` means; () = one value a class, in their order."""
    tasks: Mapping[str, Task] = field(default_factory=dict)
    """Of several named label maps; classes, void and codes are theirs then."""
    task: str = ""
    """The name of the one label map, where it has one."""
    targets: tuple[str, ...] = ()
    """Names of several new domains: what the samples' names begin with, before a slash."""

    @property
    def with_labels(self) -> int:
        """How many samples have a label."""
        fields = [f"y1_{task}" for task in self.tasks] or ["y1", "label"]
        return sum(map(any, zip(*(column(self.samples, f) for f in fields), strict=True)))

    @property
    def labelled(self) -> bool:
        return self.with_labels == len(self.samples)

    @property
    def paired(self) -> bool:
        return all(column(self.samples, "x2"))

    @property
    def values(self) -> tuple[int, ...]:
        """What stands for each class in masks that are written."""
        return (() if self.labels else self.codes) or tuple(range(len(self.classes)))

    def of_task(self, task: str) -> "DataSet":
        """The samples that have the label map of one task, with that as their only one; all of them
        where none has."""
        there = np.flatnonzero([*map(bool, column(self.samples, f"y1_{task}"))])
        samples = chosen(self.samples, there) if len(there) else self.samples
        own = self.tasks[task]
        return replace(
            self, classes=own.classes, void=own.void, codes=own.codes, labels=own.labels,
            samples=only(samples, task), tasks={}, task=task,
        )  # fmt: skip

    def places(self) -> list[np.ndarray]:
        """Where the samples of each of `targets` stand; all of them together where it has none."""
        if not self.targets:
            return [np.arange(len(self.samples))]
        heads = np.array([*map(target_of, column(self.samples, "name"))])
        return [np.flatnonzero(heads == target) for target in self.targets]

    def of_target(self, target: str) -> "DataSet":
        """The samples of one of `targets` under their own names."""
        own = chosen(self.samples, self.places()[self.targets.index(target)])
        alone = renamed(own, lambda name: name.removeprefix(f"{target}/"))
        kept = alone if isinstance(alone, Table) else tuple(alone)
        return replace(self, samples=kept, targets=())

    def with_tasks(self) -> "DataSet":
        """The data set with its one label map by its name, or the data set's."""
        own, name = Task(self.classes, self.void, self.codes, self.labels), self.task or self.name
        if self.tasks:
            return self
        return replace(self, samples=with_maps(self.samples, [name], self.name), tasks={name: own})


def some(data: DataSet, count: int) -> DataSet:
    """At most `count` evenly spaced samples; 0 = all."""
    if not 0 < count < len(data.samples):
        return data
    return replace(data, samples=tuple(spaced(data.samples, count)))


def pixels_only(data: DataSet, what: str) -> None:
    """Raises InputError where an image has one label: `what` is made for one a pixel."""
    if data.classification:
        raise InputError(f"{what}: {data.name} has one label an image; this is for one a pixel")


def layout_of(config: DataConfig) -> Layout:
    if not config.name:
        raise InputError("data is not set: of two folders data=pairs data.root=A data.target=B")
    if config.name not in DATASETS:
        raise unknown("data (data set's name)", config.name, DATASETS)
    return DATASETS[config.name]


def check_owner(config: DataConfig) -> None:
    """Raises InputError for a setting that would not be read."""
    for what, owner in OWNERS.items():
        if getattr(config, what) and config.name not in owner.split(", "):
            raise InputError(f"data.{what} is for data={owner} only; data is {config.name}")
    if listed := config.pairs or config.shards:
        for what in ("target", "labels", *(["shards"] if config.pairs else [])):
            if given := getattr(config, what):
                text = f"data.{what} is {given}, but {listed} names all files"
                raise InputError(f"{text}: give one, the other empty")


def prepare(config: DataConfig) -> None:
    """Draw the embedded scenes, or download VOC, where they are asked for and not there yet."""
    if config.download:
        from adapt.data.download import download

        download(config)
    if config.name == "scenes" and not Path(config.root).exists():
        write_scenes(Path(config.root), train=320, val=80, seed=0, size=(96, 128))


def load(config: DataConfig, split: str) -> DataSet:
    """The data set of a configuration.

    `split` is a list's name; or `train`, the training list that the configuration names, of which
    `data.part` may take a share; or the name of such a part itself. With `data.target` every sample
    gets its partner in the new domain, matched by name; the partner's label is the target's own
    where it has one, else y1.

    Raises:
        InputError: unknown data set, split or part; missing folder, list, file or partner.
    """
    if config.pairs == OBJECTS:
        return load_objects(config, split)
    layout = layout_of(config)
    prepare(config)
    check_owner(config)
    part = part_of(config, split)
    training = part or split == "train"
    listed = (config.train_split or layout.train_split) if training else split
    if layout is PAIRS and listed != PAIRS.train_split:
        raise unknown("data split of pairs (a name in data.parts)", split, ["train", *config.parts])
    samples = taken(_samples(config, layout, listed), config, split)
    classes = layout.classes or tuple(config.classes)
    if layout.find is not None:
        classes = layout.find(config, Path(config.root))
    void, codes = label_values(config, classes)
    tasks = tasks_of(config, layout, Task(classes, void, codes))
    if tasks:
        refuse_with_tasks(config, layout)
        samples = with_maps(samples, tasks, config.name)
    kept = samples if isinstance(samples, Table) else tuple(samples)
    how = (config.name, split, classes, void, kept, codes, layout.classification)
    data = DataSet(*how, tasks=tasks, targets=tuple(config.targets))
    for target, there in zip(data.targets, data.places(), strict=False):
        if not len(there):
            raise InputError(f"data: split {split!r}, part {part!r} has no samples of {target}")
    if config.targets and config.target:
        data = data.of_target(next(t for t in data.targets if config.targets[t] == config.target))
    return data.of_task(*tasks) if len(tasks) == 1 else data


def refuse_with_tasks(config: DataConfig, layout: Layout) -> None:
    """InputError for settings that know one label map only."""
    if layout.classification:
        raise InputError(f"data.tasks: {config.name} has one label an image, not label maps")
    if config.transforms:
        raise InputError("data.transforms warps one label map; data.tasks names several")


def by_task(
    configs: Sequence[DataConfig], split: str = "", named: bool = True
) -> dict[str, tuple[DataConfig, DataSet]]:
    """Task -> the settings of a data set, and its samples with that label map alone; of several
    data sets the first that has it. An empty `split` is what each data set is evaluated by while a
    training runs. One label map of one data set has the task `` unless it is to be `named`."""
    found: dict[str, tuple[DataConfig, DataSet]] = {}
    for config in configs:
        data = load(config, split or layout_of(config).val_split)
        if not data.samples:
            raise InputError(
                f"pairs: there is nothing of {data.split!r} to score; adapt.fit takes held_out=, "
                "and for eval_train a map-style data set"
            )
        if not (named or data.tasks):
            return {"": (config, data)}
        data = data.with_tasks()
        for task in data.tasks:
            found.setdefault(task, (config, data.of_task(task)))
    return found


Read = Callable[[DataConfig], DataSet]


def once() -> Read:
    """Reads the training samples of a configuration, and remembers the last: a list of a million
    takes seconds."""
    known: list[tuple[DataConfig, DataSet]] = []

    def read(data: DataConfig) -> DataSet:
        if not known or known[0][0] != data:
            known[:] = [(data, load(data, "train"))]
        return known[0][1]

    return read


def label_values(
    config: DataConfig, classes: tuple[str, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Label values that are void, besides 255, and those of the classes (() = their indices): what
    the configuration says, or the data set's own.

    Raises:
        InputError: another number of codes than of classes, or a value that is both.
    """
    layout = layout_of(config)
    void, codes = tuple(config.void) or layout.void, tuple(config.codes) or layout.codes
    if config.codes and len(codes) != len(classes):
        raise InputError(
            f"data.codes has {len(codes)} values, the data {len(classes)} classes: "
            f"{listing(classes)}"
        )
    both = {*config.void} & {*(codes or range(len(classes)))}
    if both or len({*codes}) < len(codes):
        raise InputError(
            f"data.void is {config.void}, data.codes {config.codes}: each value means one thing; "
            f"classes have {list(codes) or f'0..{len(classes) - 1}'}"
        )
    highest = max([*(codes or range(len(classes))), *config.void], default=0)
    if config.colors and highest >= len(config.colors):
        raise InputError(
            f"data.colors has {len(config.colors)} colours, of the values from 0 on; classes and "
            f"data.void have values up to {highest}"
        )
    return void, codes


def void_written(config: DataConfig) -> int:
    """The value that labels of a copy of a data set get where they say nothing.

    Raises:
        InputError: it means a class, or has no colour.
    """
    layout = layout_of(config)
    classes = layout.classes or config.classes
    value = next(iter(config.void or layout.void), void_of(len(classes)))
    is_class = value in (config.codes or layout.codes or range(len(classes)))
    if is_class or (config.colors and value >= len(config.colors)):
        why = "means a class" if is_class else "has no colour in data.colors"
        raise InputError(
            f"labels would get {value} where they say nothing, which {why}: give data.void=[VALUE]"
        )
    return value


def load_objects(config: DataConfig, split: str) -> DataSet:
    """As `load`, of pairs that are objects of Python (adapt.data.objects)."""
    found = offered()
    check_owner(config)
    if config.tasks:
        raise InputError("data.tasks is for label maps that are files; these are Python's objects")
    if given := [what for what in ("transforms", "targets") if getattr(config, what)]:
        raise InputError(f"data.{given[0]} is for pairs that are files; these are Python's objects")
    apart = found.held_out if split == HELD_OUT else None
    items = found.train if apart is None else apart
    samples: Sequence[Sample] = samples_of(items)
    if apart is None and items:
        samples = taken(samples, config, split)
    return DataSet(
        config.name, split, tuple(config.classes), (), tuple(samples), objects=found, items=items
    )


def splits_of(config: DataConfig) -> list[str]:
    """The names that a configuration's data can be evaluated by."""
    if config.pairs == OBJECTS:
        return [*config.parts, *([HELD_OUT] if offered().held_out else ())]
    return [*layout_of(config).splits(Path(config.root)), *config.parts]


def by_target(config: DataConfig, data: DataSet) -> dict[str, tuple[DataConfig, DataSet]]:
    """Name -> settings and samples of each of several new domains; `config` and `data` themselves
    under the empty name where they are of one."""
    if not data.targets:
        return {"": (config, data)}
    there = {target_of(name) for name in column(data.samples, "name")}
    return {
        name: (replace(config, target=config.targets[name]), data.of_target(name))
        for name in data.targets
        if name in there
    }


def _samples(config: DataConfig, layout: Layout, listed: str) -> Sequence[Sample]:
    if config.targets:
        every = {name: _samples(one, layout, listed) for name, one in each_target(config).items()}
        return joined([renamed(own, f"{name}/".__add__) for name, own in every.items()])
    found = _listed(config, layout, listed)
    return with_transforms(found, config) if config.transforms else found


def _listed(config: DataConfig, layout: Layout, listed: str) -> Sequence[Sample]:
    if config.pairs:
        return read_csv(Path(config.pairs), config.follow_links, config.tasks)
    if config.shards:
        return read_shards(config.shards, config.follow_links)
    if not config.root:
        raise InputError("data.root is empty: give data.root=DIR, the folder of the old images")
    old = read_split(config, layout, Path(config.root), listed)
    if not config.target:
        return old
    bare = replace(config, labels="") if layout is PAIRS else config
    new = read_split(bare, layout, folder(Path(config.target), "data.target"), listed)
    both = partnered(old, new)
    if not len(old) == len(both) == len(new):
        matched(column(old, "name"), column(new, "name"), config.root, config.target)
    return both


def read_split(config: DataConfig, layout: Layout, root: Path, split: str) -> Sequence[Sample]:
    """The samples of one list of one domain, whose files all lie in the data's folders: those that
    the configuration names and that it finds them in; links may lead from one to another.

    Raises:
        InputError: wrong split, folder or list; MissingFiles, with the samples that are whole, for
            names without a file, with two, or whose file is a link out of these folders.
    """
    problems, message = list[Problem](), ""
    try:
        samples = layout.read(config, root, split)
    except MissingFiles as error:
        problems, samples, message = error.problems, error.samples, error.message
    if not config.follow_links:
        named = (config.root, config.target, config.labels, config.sbd, config.imagenet_val)
        places = [layout.home(root), *(Path(place) for place in named if place)]
        if out := leading_out(samples, [resolved(place) for place in places]):
            lost = {p.where for p in out}
            every = (*FILES, *map_fields(samples))
            samples = [s for s in samples if not lost & {str(s.file(f)) for f in every}]
            problems, message = problems + out, ""
    if problems:
        raise MissingFiles(problems, samples, message)
    return samples
