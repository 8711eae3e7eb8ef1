"""Which files all lists of a configuration read; what is missing is a finding, not the end."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from adapt.data import (
    Layout,
    Sample,
    check_owner,
    label_values,
    layout_of,
    partnered,
    prepare,
    read_split,
)
from adapt.data.files import MissingFiles, matched
from adapt.data.images import void_of
from adapt.data.pairs import PAIRS, read_csv, read_shards, shards_of
from adapt.data.parts import cut
from adapt.data.samples import column
from adapt.errors import InputError
from adapt.scan.measure import IMAGE, LABEL, VALID, Job
from adapt.settings.groups import DataConfig

ERROR, WARNING = "error", "warning"

EVALUATED = ("val", "test")
"""Lists that, as all parts but the one to train on, must have nothing in common with that."""
REMEDIES = {
    "unreadable": "replace the file, or take its name out of the list",
    "missing": "add the file, or take its name out of the list",
    "double": "keep one of the two",
    "outside": "copy the file into the folder",
    "unpaired": "add the partner, or take the name out of both sides",
}
ROLES = {"x1": IMAGE, "x2": IMAGE, "y1": LABEL, "y2": LABEL, "valid": VALID}


@dataclass(frozen=True)
class Finding:
    """One line, which names a file and says what to do."""

    severity: str
    """error: would break or falsify a run; warning: worth a look."""
    kind: str
    file: str
    problem: str
    remedy: str
    details: dict[str, Any]
    """For the report: the numbers and the other files."""

    @property
    def line(self) -> str:
        return f"{self.severity}: {self.kind}: {self.file}: {self.problem}; {self.remedy}"


def error(kind: str, file: Path | str, problem: str, remedy: str, **details: Any) -> Finding:
    return Finding(ERROR, kind, str(file), problem, remedy, details)


def warning(kind: str, file: Path | str, problem: str, remedy: str, **details: Any) -> Finding:
    return Finding(WARNING, kind, str(file), problem, remedy, details)


@dataclass
class Members:
    """The samples of every list."""

    lists: dict[str, Sequence[Sample]]
    training: str
    """Name of the list that a run would train on."""
    classes: tuple[str, ...] = ()
    codes: list[int] = field(default_factory=list)
    """Value of each class in the masks."""
    void: list[int] = field(default_factory=list)
    config: DataConfig = field(default_factory=DataConfig)
    findings: list[Finding] = field(default_factory=list)

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """Every sample once, in the order of the lists."""
        unique = {(s.x1, s.x2): s for split in self.lists.values() for s in split}
        return list(unique.values())

    @cached_property
    def paired(self) -> Sequence[Sample]:
        return [s for s in self.samples if s.x2 is not None]

    @property
    def evaluated(self) -> list[str]:
        """The lists that a training image must not be in."""
        names = dict.fromkeys((*EVALUATED, *self.config.parts))
        return [name for name in names if name in self.lists and name != self.training]

    def jobs(self, described: bool) -> list[Job]:
        """Every file of the samples once for each role; described are the images of pairs."""
        found: dict[tuple[Path, str], tuple[bool, tuple[Any, ...]]] = {}
        for sample in self.samples:
            for name, role in roles(sample).items():
                if (path := sample.file(name)) is None:
                    continue
                wanted = described and sample.x2 is not None and role == IMAGE
                before, how = found.get((path, role), (False, self.options(name)))
                found[path, role] = (wanted or before, how)
        return [(*key, *what) for key, what in found.items()]

    def images(self, name: str) -> dict[str, list[Job]]:
        """The images of a list, by the side of the pairs that it may have."""
        found: dict[str, list[Job]] = {}
        for sample in self.lists.get(name, ()):
            for side in ("x1", "x2"):
                if (path := getattr(sample, side)) is not None:
                    found.setdefault(side, []).append((path, IMAGE, False, self.options(side)))
        return found

    def options(self, name: str) -> tuple[Any, ...]:
        """What the reader of a sample's file takes beside the path."""
        role = ROLES.get(name, LABEL)
        if role == IMAGE:
            return self.config.reading(name)
        return (self.config.colors,) if role == LABEL else ()

    def tolerate(self, file: str, read: Callable[[], Sequence[Sample]]) -> Sequence[Sample]:
        """What `read` gives; what it lacks, or its refusal, becomes a finding."""
        try:
            return read()
        except MissingFiles as missing:
            for kind, where, problem in missing.problems:
                self.findings.append(error(kind, where, problem, REMEDIES[kind]))
            return missing.samples
        except InputError as refused:
            self.findings.append(error("list", file, str(refused), "mend the list"))
            return []


def files(sample: Sample) -> Iterable[tuple[Path, str]]:
    """The files that a sample has, with their roles."""
    return [(path, role) for name, role in roles(sample).items() if (path := sample.file(name))]


def roles(sample: Sample) -> dict[str, str]:
    """What each of a sample's files is, its named label maps among them."""
    return ROLES | dict.fromkeys(sample.maps, LABEL)


def members(config: DataConfig) -> Members:
    """Every list of the data set, with partners where target, pairs or shards have them.

    Raises:
        InputError: unknown data set, or no such folder or CSV: there is nothing to scan.
    """
    layout = layout_of(config)
    check_owner(config)
    prepare(config)
    classes = layout.classes or tuple(config.classes)
    values, own = label_values(config, classes)
    codes = list(own or range(len(classes)))
    void = sorted({*values, void_of(len(classes))} - {*codes})
    found = Members({}, config.train_split or layout.train_split, classes, codes, void, config)
    links = config.follow_links
    if config.pairs:
        if not Path(config.pairs).is_file():
            raise InputError(f"data.pairs: no such file: {config.pairs}")
        whole = found.tolerate(
            config.pairs, lambda: read_csv(Path(config.pairs), links, config.tasks)
        )
    elif config.shards:
        shards_of(config.shards, links)
        whole = found.tolerate(config.shards, lambda: read_shards(config.shards, links))
    else:
        if not config.root:
            raise InputError("data.root is empty: give the folder of the images to scan")
        for place in filter(None, (config.root, config.target)):
            layout.home(Path(place))
        for split in dict.fromkeys([*layout.splits(Path(config.root)), found.training]):
            if samples := both(found, config, layout, split):
                found.lists[split] = samples
        whole = found.lists.pop(found.training, [])
    parts = {p: cut(whole, config.parts, config.cut_seed, p) for p in config.parts}
    taken = {s.name for part in parts.values() for s in part}
    rest = "in no part" if parts else found.training
    parts[rest] = [s for s in whole if s.name not in taken]
    if config.parts:
        found.training = next(p for p in (config.part, "train", *parts) if p in parts)
    found.lists = {name: of for name, of in (parts | found.lists | parts).items() if of}
    return found


def both(found: Members, config: DataConfig, layout: Layout, split: str) -> Sequence[Sample]:
    """The samples of a list; with a target those that have a partner there."""

    def read(root: str, config: DataConfig) -> Sequence[Sample]:
        return found.tolerate(root, lambda: read_split(config, layout, Path(root), split))

    old = read(config.root, config)
    if not config.target or not old:
        return old
    listed = read(config.target, replace(config, labels="") if layout is PAIRS else config)
    if not listed:  # which is a finding of its own
        return old
    known = {f.problem for f in found.findings if f.kind == "missing"}
    try:
        matched(column(old, "name"), column(listed, "name"), config.root, config.target)
    except MissingFiles as missing:
        for kind, where, problem in missing.problems:
            if not any(problem.split(" has ")[0] in lost for lost in known):
                found.findings.append(error(kind, where, problem, REMEDIES[kind]))
    return partnered(old, listed)
