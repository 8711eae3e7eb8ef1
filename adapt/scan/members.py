"""Which files all lists of a configuration read; what is missing is a finding, not the end."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapt.data import Layout, Sample, check_owner, cut, layout_of, prepare, read_split
from adapt.data.files import MissingFiles, matched
from adapt.data.pairs import PAIRS, read_csv, read_shards, shards_of
from adapt.errors import InputError
from adapt.scan.findings import ERROR, Finding
from adapt.settings.groups import DataConfig

EVALUATED = ("val", "test")
"""Lists and parts that must have nothing in common with the training list."""

REMEDIES = {
    "missing": "add the file, or take its name out of the list",
    "double": "keep one of the two",
    "outside": "copy the file into the folder",
    "unpaired": "add the partner, or take the name out of both sides",
}


@dataclass
class Members:
    """The samples of every list."""

    lists: dict[str, list[Sample]]
    training: str
    """Name of the list that a run would train on."""
    classes: tuple[str, ...]
    void: tuple[int, ...]
    codes: tuple[int, ...]
    findings: list[Finding] = field(default_factory=list)

    @property
    def samples(self) -> list[Sample]:
        """Every sample once, in the order of the lists."""
        unique = {(s.x1, s.x2): s for split in self.lists.values() for s in split}
        return list(unique.values())

    @property
    def paired(self) -> list[Sample]:
        return [s for s in self.samples if s.x2 is not None]


def members(config: DataConfig) -> Members:
    """Every list of the data set, with partners where target, pairs or shards have them.

    Raises:
        InputError: unknown data set, or no such folder or CSV: there is nothing to scan.
    """
    layout = layout_of(config)
    check_owner(config)
    prepare(config)
    classes = layout.classes or tuple(config.classes)
    training = config.train_split or layout.train_split
    found = Members({}, training, classes, layout.void, layout.codes)
    if config.pairs:
        if not Path(config.pairs).is_file():
            raise InputError(f"data.pairs: no such file: {config.pairs}")
        whole = tolerant(
            found, config.pairs, lambda: read_csv(Path(config.pairs), config.follow_links)
        )
        return divided(found, config, whole)
    if config.shards:
        shards_of(config.shards, config.follow_links)
        whole = tolerant(
            found, config.shards, lambda: read_shards(config.shards, config.follow_links)
        )
        return divided(found, config, whole)
    if not config.root:
        raise InputError("data.root is empty: give the folder of the images to scan")
    for place in (config.root, config.target):
        if place:
            layout.home(Path(place))
    for split in dict.fromkeys([*layout.splits(Path(config.root)), training]):
        if samples := both(found, config, layout, split):
            found.lists[split] = samples
    if layout is PAIRS:
        return divided(found, config, found.lists.get(PAIRS.train_split, []))
    return found


def divided(found: Members, config: DataConfig, samples: list[Sample]) -> Members:
    """All pairs as the lists of their parts."""
    found.lists = parts(config, samples)
    found.training = "train" if "train" in config.parts else PAIRS.train_split
    return found


def parts(config: DataConfig, samples: list[Sample]) -> dict[str, list[Sample]]:
    """The named parts of pairs; without any, all of them as one list."""
    if not samples or not config.parts:
        return {PAIRS.train_split: samples} if samples else {}
    named = {p: cut(samples, config.parts, config.parts_seed, p) for p in config.parts}
    taken = {s.name for part in named.values() for s in part}
    rest = [s for s in samples if s.name not in taken]
    return {k: v for k, v in (named | {"in no part": rest}).items() if v}


def tolerant(found: Members, file: str, read: Callable[[], list[Sample]]) -> list[Sample]:
    """What `read` gives; what it lacks, or its refusal, becomes a finding."""
    try:
        return read()
    except MissingFiles as error:
        for kind, where, problem in error.problems:
            found.findings.append(Finding(ERROR, kind, where, problem, REMEDIES[kind]))
        return error.samples
    except InputError as error:
        found.findings.append(Finding(ERROR, "list", file, str(error), "mend the list"))
        return []


def both(found: Members, config: DataConfig, layout: Layout, split: str) -> list[Sample]:
    """The samples of a list; with a target those that have a partner there."""
    old = tolerant(found, config.root, lambda: read_split(config, layout, Path(config.root), split))
    if not config.target or not old:
        return old
    bare = replace(config, labels="") if layout is PAIRS else config
    listed = tolerant(
        found, config.target, lambda: read_split(bare, layout, Path(config.target), split)
    )
    if not listed:  # which is a finding of its own
        return old
    new = {s.name: s for s in listed}
    known = {f.problem for f in found.findings if f.kind == "missing"}
    try:
        matched((s.name for s in old), new, config.root, config.target)
    except MissingFiles as error:
        for kind, where, problem in error.problems:
            if not any(problem.split(" has ")[0] in lost for lost in known):
                found.findings.append(Finding(ERROR, kind, where, problem, REMEDIES[kind]))
    return [replace(s, x2=new[s.name].x1, y2=new[s.name].y1 or s.y1) for s in old if s.name in new]
