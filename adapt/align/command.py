"""The command align: the rig, how far it can be trusted, every pair, and what is written of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.align.compare import compared, measured
from adapt.align.estimate import Compared, Estimate, Frame, shift_of
from adapt.align.models import NONE, TOLERANCE, apply
from adapt.align.planted import Planted, planted
from adapt.align.rig import Rig, middle_of
from adapt.align.sample import command
from adapt.align.twin import PAIRS, folder_of, write_twin
from adapt.data import Sample, check_owner, layout_of, load, prepare
from adapt.data.copies import claim
from adapt.data.samples import pairing, repeats, spaced
from adapt.data.targets import refuse_targets
from adapt.data.video import status
from adapt.data.warp import COLUMNS, names_of
from adapt.disk.files import (
    parse_json,
    read_mapping,
    read_text,
    strangers,
    text_digest,
    write_json,
    write_whole,
    writing,
)
from adapt.disk.portions import LOCK, PARTS, Portion, one_writer
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.settings.align import AlignConfig
from adapt.settings.groups import DataConfig

MADE_WITH, TABLE, JOURNAL = "align.json", "alignment.csv", "pairs.jsonl"
RIG, PLANTED = "rig.json", "planted.json"
PLACES = ("root", "target", "pairs", "shards")
"""Where the pairs come from: fields of DataConfig."""
VALUES = ("bands", "bands_x2", "range", "range_x2")
"""How values of files are read, which a twin has as they were: fields of DataConfig."""
FORMAT = 1
CHANCE = 0.05
"""Share of the pairs below which acceptance counts as chance."""
WRONG = 0.1
"""Share of the accepted planted shifts that may be elsewhere."""


@dataclass(frozen=True)
class Alignment:
    """What was found of a set of pairs."""

    data: DataConfig
    rig: Rig
    pairs: list[Compared]
    planted: list[Planted]
    refused: str
    """Why nothing is accepted; empty where something is."""

    @property
    def accepted(self) -> list[Compared]:
        return [pair for pair in self.pairs if pair.found.accepted]

    @property
    def shifts(self) -> np.ndarray:
        """(N, 2) of the accepted pairs."""
        return np.array([pair.shift for pair in self.accepted])

    @property
    def aligned(self) -> bool:
        """Does x2 lie on x1 as it is?"""
        (x, y), deviation = middle_of(self.shifts) if self.accepted else ((np.inf, 0), 0)
        return self.rig.kind == NONE and bool(np.hypot(x, y) + deviation < TOLERANCE)

    @property
    def moved(self) -> list[Compared]:
        """Accepted pairs with a transform of their own."""
        return [pair for pair in self.accepted if pair.found.kind != NONE]

    @property
    def lines(self) -> list[str]:
        """What a user is told."""
        return [self.rig_line, self.pairs_line, *filter(None, [self.planted_line])]

    @property
    def rig_line(self) -> str:
        if self.rig.kind == NONE:
            lies = "x2 lies on x1 as it is" if self.aligned else "the pairs share no transform"
            return f"rig: {lies}"
        height, width = self.rig.size
        x, y = shift_of(self.rig.matrix, self.rig.size)
        corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
        farthest = np.hypot(*(apply(self.rig.matrix, corners) - corners).T).max()
        return (
            f"rig: {self.rig.kind}; x2 lies ({x:+.1f}, {y:+.1f}) px off x1 at the middle, "
            f"{farthest:.1f} px at the farthest corner, of {width}x{height}"
        )

    @property
    def pairs_line(self) -> str:
        if self.refused:
            return f"nothing is accepted of {len(self.pairs)} pairs: {self.refused}"
        rest = len(self.pairs) - len(self.accepted)
        (x, y), deviation = middle_of(self.shifts)
        text = (
            f"accepted: {len(self.accepted)} of {len(self.pairs)} pairs, {len(self.moved)} of them "
            f"with a transform of their own; median shift ({x:+.1f}, {y:+.1f}) px, "
            f"± {deviation:.1f} px from pair to pair"
        )
        kept = "as they are" if self.rig.kind == NONE else "as the rig puts them"
        return f"{text}; the other {rest} are left {kept}" if rest else text

    @property
    def planted_line(self) -> str:
        if not self.planted:
            return ""
        most = self.planted[0].pairs
        found = ", ".join(
            f"{100 * p.found / p.pairs:.0f} % of {p.length} px"
            + (f" ({p.pairs} pairs)" if p.pairs < most else "")
            for p in self.planted
        )
        accepted = sum(p.found + p.elsewhere for p in self.planted)
        elsewhere = sum(p.elsewhere for p in self.planted)
        return (
            f"planted shifts found again within {TOLERANCE:.0f} px, {most} pairs: {found}; of "
            f"{accepted} that were accepted {elsewhere} were found elsewhere"
        )


def align(config: AlignConfig) -> Alignment:
    """Estimate where x2 lies on x1 in all pairs of `config.data`, and write alignment.csv and, if
    asked, the twin to `config.out`.

    An interrupted call is continued by the same one. The rig comes from a sample of the pairs, then
    each pair is compared from where the rig puts it, and shifts are planted in the sample. Where
    the accepted pairs are so few that they may be chance, or planted shifts are found elsewhere,
    nothing is accepted.

    Raises:
        InputError: no pairs, an unreadable image, a matcher that is no function or returns no
            matches, an `out` that was made with other settings, or a part that is missing.
    """
    out = Path(config.out)
    with begun(config) as samples:
        found = found_of(config, samples)
        write_whole(out / TABLE, csv_of(table(found.pairs, config.data)))
        if config.twin and not found.refused:
            write_twin(config, found.pairs)
    for line in found.lines:
        say(line)
    if not found.refused:
        read, more = config.data, [f"data.transforms={out / TABLE}"]
        if config.twin:
            values = {what: getattr(read, what) for what in VALUES}
            twin = str(folder_of(config) / PAIRS)
            read, more = DataConfig(name="pairs", pairs=twin, **values), []
        if found.aligned and not found.moved:
            say("nothing to align: go on without data.transforms")
        else:
            say(f"{out / TABLE}. Next:\n  {command('adapt', read, *more)} teacher=… run=…")
    return found


def align_part(config: AlignConfig) -> Path:
    """Compare the pairs of a part from where the rig puts them, which the first part finds and the
    others wait for; returns the part's journal. What is accepted is known when `align` has put
    the parts together. It raises as `align` does."""
    part = Portion.of_setting(config.part)
    path = part.record(Path(config.out) / PARTS, ".jsonl")
    with begun(config) as samples:
        own, rig = part.of(samples), rig_for(config, samples)
        pairs = journalled(path, own, config.data, rig, config.matcher, config.workers)
        accepted = sum(pair.found.accepted for pair in pairs)
    say(f"{path}: {len(own)} pairs, {accepted} of them can be told")
    return path


@contextmanager
def begun(config: AlignConfig) -> Iterator[list[Sample]]:
    """The pairs of a data set, while nobody else writes `config.out` or the part of it, and with
    its rig there."""
    samples, part = pairs_of(config.data), Portion.of_setting(config.part)
    if config.twin and repeats([sample.name for sample in samples]):
        raise InputError("twin: pairs of two lists have the same name; give them as a CSV of pairs")
    out = Path(config.out)
    if out.is_dir() and not (out / MADE_WITH).is_file() and strangers(out, {LOCK}):
        raise InputError(f"out: {out} is not empty and no alignment")

    def begin() -> None:
        claim(out, MADE_WITH, made_with(config, samples), {})
        if part.joins:
            join_journals(out, part, len(samples))
        rig_for(config, samples)

    with one_writer(out, part, begin):
        yield samples


def join_journals(out: Path, part: Portion, pairs: int) -> None:
    """Make the journal of all pairs from those of the parts; an InputError where they lack some."""
    texts, missing = [], []
    for one in part.each:
        path = one.record(out / PARTS, ".jsonl")
        texts.append(read_text(path) if path.is_file() else "")
        if texts[-1].count("\n") != len(one.of(range(pairs))):
            missing.append(one)
    part.refuse(out / PARTS, missing)
    write_whole(out / JOURNAL, "".join(texts))


def pairs_of(config: DataConfig) -> list[Sample]:
    """The samples of all lists of a data set, each once."""
    layout = layout_of(config)
    check_owner(config)
    refuse_targets(config, "align")
    prepare(config)
    if not (config.target or config.pairs or config.shards):
        raise InputError("data.target is empty: give the folder of the new images, x2")
    whole = replace(config, part="", parts={}, share=1.0)
    lists = [config.train_split or layout.train_split, *layout.splits(Path(config.root))]
    found = {(s.x1, s.x2): s for n in dict.fromkeys(lists) for s in load(whole, n).samples}
    return list(found.values())


def made_with(config: AlignConfig, samples: Sequence[Sample]) -> dict[str, Any]:
    """What the result depends on."""
    return {
        "format": FORMAT,
        "data": {what: getattr(config.data, what) for what in ("name", *PLACES)},
        "pairs": pairing(samples),
        "written": images_written(samples),
        "bands": [config.data.reading(side)[0] for side in ("x1", "x2")],
        "range": [config.data.reading(side)[1] for side in ("x1", "x2")],
        "matcher": config.matcher,
        "sample": config.sample,
    }


def images_written(samples: Sequence[Sample]) -> str:
    """A digest of the images' sizes and times of writing; members of archives are left out."""
    every = (status(path) for s in samples for path in (s.x1, s.x2) if path is not None)
    return text_digest("\n".join(f"{of.st_size} {of.st_mtime_ns}" for of in every if of))


def rig_for(config: AlignConfig, samples: Sequence[Sample]) -> Rig:
    """The rig, found once for an `out`."""

    def rig() -> dict[str, Any]:
        some = spaced(samples, config.sample or len(samples))
        return plain(asdict(measured(some, config.data, config.matcher, config.workers)))

    found = once(Path(config.out) / RIG, rig)
    return Rig(found["kind"], np.array(found["matrix"]), (found["size"][0], found["size"][1]))


def found_of(config: AlignConfig, samples: Sequence[Sample]) -> Alignment:
    """The rig, the pairs and the planted shifts; of what an interrupted call has left only the
    rest is computed."""
    out, common = Path(config.out), rig_for(config, samples)
    data, how = config.data, (config.matcher, config.workers)
    pairs = list(journalled(out / JOURNAL, samples, data, common, *how))

    def shifts() -> dict[str, Any]:
        found = planted(spaced(pairs, config.sample or len(pairs)), data, common, *how)
        return {"planted": [asdict(p) for p in found]}

    tried = [Planted(**p) for p in once(out / PLANTED, shifts)["planted"]]
    accepted = sum(pair.found.accepted for pair in pairs)
    right, elsewhere = sum(p.found for p in tried), sum(p.elsewhere for p in tried)
    refused = ""
    if accepted <= CHANCE * len(pairs):
        why, count = Counter(pair.found.why for pair in pairs if pair.found.why).most_common(1)[0]
        refused = f"in {count} {why}"
        if accepted:
            refused += f", and the {accepted} that were accepted may be chance"
    elif elsewhere > WRONG * (right + elsewhere):
        refused = (
            f"of the planted shifts {right} were found again and {elsewhere} elsewhere, so that "
            "what is found here cannot be trusted"
        )
    if refused:
        pairs = [without(pair, refused) for pair in pairs]
        common = Rig(NONE, np.eye(3), common.size)
    return Alignment(data, common, pairs, tried, refused)


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gave when it was first called, which is kept in a file."""
    if not path.is_file():
        write_json(path, make())
    return read_mapping(path)


def without(pair: Compared, why: str) -> Compared:
    """The pair as if nothing had been found."""
    found = replace(pair.found, matrix=np.eye(3), accepted=False, why=pair.found.why or why)
    return replace(pair, found=found)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """A record with its arrays as lists."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def journalled(
    path: Path,
    samples: Sequence[Sample],
    config: DataConfig,
    rig: Rig,
    matcher: str,
    workers: int,
) -> Iterator[Compared]:
    """All pairs, compared; each is kept in a line of a file as soon as it is."""
    text = read_text(path).rpartition("\n")[0] if path.is_file() else ""
    lines = text.splitlines()
    write_whole(path, "".join(f"{line}\n" for line in lines))
    for sample, line in zip(samples, lines, strict=False):
        yield restored(parse_json(line, str(path)), sample)
    waiting = samples[len(lines) :]
    with writing(path), path.open("a", encoding="utf-8") as stream:
        for pair in compared(waiting, config, rig, matcher, workers, "align"):
            kept = plain(asdict(pair.found)) | {"frame": asdict(pair.frame)}
            line = json.dumps(kept | {"matches": []})  # these take the most memory
            stream.write(f"{line}\n")
            yield restored(json.loads(line), pair.sample)


def restored(kept: dict[str, Any], sample: Sample) -> Compared:
    """A pair from its line."""
    frame = Frame(*((height, width) for height, width in kept.pop("frame").values()))
    arrays = {name: np.array(kept[name]) for name in ("matrix", "matches")}
    return Compared(sample, frame, Estimate(**kept | arrays))


def table(pairs: Sequence[Compared], config: DataConfig) -> Iterator[Sequence[object]]:
    """The rows of alignment.csv."""
    yield COLUMNS
    for pair in pairs:
        names = names_of(pair.sample, config)
        yield (*names, int(pair.found.accepted), *map(float, pair.files.ravel()), pair.found.score)
