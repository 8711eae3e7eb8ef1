"""Checks of files, samples and lists: sizes, modes, labels, leaks, duplicates."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from adapt.data import Sample
from adapt.data.formats import ALPHA
from adapt.data.images import DEEP
from adapt.data.samples import FILES
from adapt.data.sampling import misfit
from adapt.errors import listing
from adapt.machine.runtime import progress
from adapt.scan.measure import IMAGE, LABEL, VALID, Record, Records
from adapt.scan.members import Finding, Members, error, files, warning
from adapt.settings.choices import HASH_BITS
from adapt.settings.groups import DataConfig

CHUNK = 8_000_000
"""Hash words that are compared at once (64 MB)."""


def size_text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def sizes(members: Members, records: Records, config: DataConfig) -> Iterator[Finding]:
    """Files of one sample that differ in size, and images that do not fit into one batch."""
    images: Counter[str] = Counter()
    example: dict[str, Path] = {}
    for sample in progress(members.samples, what="sizes"):
        found = {key[0]: records[key].size for key in files(sample) if key in records}
        names = (*FILES, *sample.maps)
        fields = {f: found[p] for f in names if (p := sample.file(f)) in found}
        if not found:
            continue
        size = Counter(found.values()).most_common(1)[0][0]
        common = size_text(size)
        example.setdefault(common, sample.x1)
        images[common] += 1
        odd = [path for path, other in found.items() if other != size]
        if odd and (remedy := misfit(fields, config.resize)):
            rest = listing(path for path, other in found.items() if other == size)
            problem = f"{size_text(found[odd[0]])}, but of its sample {rest}: {common}"
            details = {str(path): list(other) for path, other in found.items()}
            yield error("size", odd[0], problem, remedy, **details)
    if len(images) > 1 and not (config.resize or config.crop):
        common, *_, rarest = (size for size, _ in images.most_common())
        several = ", ".join(f"{n} of {size}" for size, n in images.most_common(5))
        problem = f"{rarest}, most images are {common} ({several})"
        remedy = "set data.crop or data.resize, or they cannot be stacked to batches"
        yield warning("sizes", example[rarest], problem, remedy, **images)


def modes(records: Iterable[Record]) -> Iterator[Finding]:
    """Files stored in another mode than most of their role: a few grey images among colour ones."""
    groups: dict[str, dict[str, list[Path]]] = {}
    for record in records:
        groups.setdefault(record.role, {}).setdefault(record.mode, []).append(record.path)
    for role, by_mode in groups.items():
        common = max(by_mode, key=lambda mode: len(by_mode[mode]))
        for mode, paths in by_mode.items():
            if mode != common and len(paths) < 0.1 * len(by_mode[common]):
                problem = f"mode {mode}, but {len(by_mode[common])} {role}s are {common}"
                if len(paths) > 1:
                    problem += f"; so are {listing(p.name for p in paths[1:])}"
                remedy = "check that these files come from the same source"
                yield warning("mode", paths[0], problem, remedy, files=[str(p) for p in paths])


def unused(members: Members, records: Collection[Record]) -> Iterator[Finding]:
    """What of the files is not used, and images of more than 8 bits that fill little of their
    type's range, as those of cameras of 10 and 12 bits do: to a network they are nearly black."""
    chosen = members.config.bands or members.config.bands_x2  # alpha may be one of them
    for what in dict.fromkeys(what for record in records for what in record.ignored):
        paths = [r.path for r in records if what in r.ignored and not (chosen and what == ALPHA)]
        if not paths:
            continue
        problem = f"has {what}, as {len(paths)} of {len(records)} files do; it is not used"
        remedy = "see that nothing is lost, or choose the channels by data.bands"
        yield warning("ignored", paths[0], problem, remedy, files=[str(p) for p in paths])
    for side in ("x1", "x2"):
        there = {getattr(sample, side) for sample in members.samples}
        deep = [r for r in records if r.highest and r.role == IMAGE and r.path in there]
        if deep and not members.config.reading(side)[1]:
            brightest = max(deep, key=lambda record: record.highest)
            top = 2 ** int(brightest.highest).bit_length() - 1
            if top <= DEEP // 4:
                problem = f"has the largest value of all {side}, {brightest.highest} of {DEEP}"
                name = "data.range" if side == "x1" else "data.range_x2"
                remedy = f"give {name}=[0,{top}] if that is the camera's white"
                yield warning("range", brightest.path, problem, remedy, highest=brightest.highest)


def blank(records: Collection[Record]) -> Iterator[Finding]:
    for record in records:
        if record.flat:
            yield warning("blank", record.path, "shows one flat tone", "look at it, or take it out")
    for record in records:
        if record.role == VALID and 1 not in record.values:
            problem = "marks every pixel as invalid, so that its pair counts nowhere"
            yield warning("blank", record.path, problem, "white = valid")


def histogram(members: Members, records: Records, split: str) -> Counter[int]:
    """Value in the labels (y1) of a list -> pixels."""
    found = (records.get((sample.y1, LABEL)) for sample in members.lists[split])
    return sum((Counter(record.values) for record in found if record), Counter())


def labels(members: Members, records: Records) -> Iterator[Finding]:
    """Values that mean nothing, masks without any class, classes that a list never shows. Named
    label maps have classes of their own, and are left out."""
    named = {path for sample in members.samples for path in sample.maps.values()}
    labelled = [r for (path, role), r in records.items() if role == LABEL and path not in named]
    if not members.classes:
        problem = "is a label, but the classes are not named"
        remedy = "give data.classes=[…], in the order of the indices"
        yield from (warning("classes", r.path, problem, remedy) for r in labelled[:1])
        return
    codes, void = members.codes, members.void
    for record in labelled:
        wrong = {v: n for v, n in record.values.items() if v not in void and v not in codes}
        if wrong:
            values = ", ".join(f"{v} ({n} pixels)" for v, n in wrong.items())
            problem = f"has values of no class: {values}; void is {void}"
            indices = codes == list(range(len(codes)))
            there = f"0..{len(codes) - 1}" if indices else ", ".join(map(str, codes))
            remedy = f"classes are {there}: map the values to them or to void"
            pixels = {str(v): n for v, n in wrong.items()}
            yield error("label", record.path, problem, remedy, values=pixels)
        elif not any(v in codes for v in record.values):
            yield warning("label", record.path, "is void everywhere", "label it, or take it out")
    for split, samples in members.lists.items():
        counts = histogram(members, records, split)
        if not counts:
            continue
        where = samples[0].y1.parent if samples[0].y1 else split
        for code, name in zip(codes, members.classes, strict=True):
            if not counts[code]:
                problem = f"{name} (value {code}) occurs in no label of the list {split!r}"
                remedy = "its IoU is undefined there: check the values, or expect it"
                yield warning("class", where, problem, remedy)


def exact(members: Members, records: Records, side: str) -> Iterator[Finding]:
    """Equal pixels on one side: in training and evaluation, with other labels, or just twice."""
    training = {getattr(s, side) for s in members.lists.get(members.training, [])}
    held_out = {getattr(s, side) for name in members.evaluated for s in members.lists[name]}
    groups: dict[bytes, dict[Path, Sample]] = defaultdict(dict)
    for sample in progress(members.samples, what=f"equal {side}"):
        if record := records.get((getattr(sample, side), IMAGE)):
            groups[record.digest].setdefault(record.path, sample)
    for group in groups.values():
        paths = list(group)
        seen, scored = [p for p in paths if p in training], [p for p in paths if p in held_out]
        details = {"files": [str(p) for p in paths], "side": side}
        if seen and scored:
            same = [p for p in seen if p != scored[0]]
            problem = f"the same pixels as {listing(same)} of the training list"
            problem = problem if same else "stands in the training list as well"
            remedy = "take it out of one of the two, or the score is that of a seen image"
            yield error("leak", scored[0], problem, remedy, **details)
        elif len(paths) > 1:
            problem = f"the same pixels as {listing(paths[1:])}"
            labels = [(s.y1 if side == "x1" else s.y2, LABEL) for s in group.values()]
            if len({records[label].digest for label in labels if label in records}) > 1:
                problem, remedy = f"{problem}, but another label", "one of the labels is wrong"
                yield error("duplicate", paths[0], problem, remedy, **details)
            else:
                remedy = "keep one, unless it shall count twice"
                yield warning("duplicate", paths[0], problem, remedy, **details)


def unshifted(members: Members, records: Records) -> Iterator[Finding]:
    """Pairs whose two sides are the same pixels: there is nothing to adapt to."""
    digests = {path: record.digest for (path, role), record in records.items() if role == IMAGE}
    same = [s for s in members.paired if s.x1 in digests and digests[s.x1] == digests.get(s.x2)]
    if members.options("x1") != members.options("x2"):  # other bands of one file
        same = [s for s in same if s.x1 != s.x2]
    if len(same) > len(members.paired) / 2:
        problem = f"{len(same)} of {len(members.paired)} pairs show the same pixels on both sides"
        remedy = "give the new domain's folder as data.target"
        yield error("unshifted", str(same[0].x2), problem, remedy)
        return
    for sample in same:
        problem = f"the same pixels as its partner {sample.x1}"
        yield warning("unshifted", str(sample.x2), problem, "check that it is of the new domain")


def near(
    members: Members, records: Records, side: str, threshold: int
) -> tuple[list[Finding], int | None]:
    """Images for evaluation that a training image nearly equals, as it is or mirrored.

    Returns the findings and the least distance in bits between a training and an evaluation image
    that are not equal; None where there is nothing to compare.
    """

    def hashed(lists: Iterable[str]) -> list[Record]:
        files = dict.fromkeys(getattr(s, side) for name in lists for s in members.lists[name])
        return [r for f in files if (r := records.get((f, IMAGE))) and not r.flat]

    old = hashed({members.training} & members.lists.keys())
    new = hashed(members.evaluated)
    if not old or not new or threshold < 0:
        return [], None
    table = np.stack([r.hashes[0] for r in old])
    digests = np.array([r.digest for r in old], dtype="S32")
    findings, least = [], HASH_BITS
    remedy = "take one of them out, or lower near= if they are different frames that you accept"
    step = max(1, CHUNK // (8 * len(old)))
    for start in progress(range(0, len(new), step), what=f"near-duplicates of {side}"):
        chunk = new[start : start + step]
        hashes = np.stack([r.hashes for r in chunk])
        bits = np.bitwise_count(hashes[:, :, None] ^ table).sum(axis=3, dtype=np.int16)
        for record, distances in zip(chunk, bits, strict=True):
            distances[:, digests == np.bytes_(record.digest)] = HASH_BITS  # exact() has these
            mirrored, nearest = np.unravel_index(distances.argmin(), distances.shape)
            distance, other = int(distances[mirrored, nearest]), str(old[nearest].path)
            least = min(least, distance)
            if distance <= threshold:
                how = f"{'mirrored, ' if mirrored else ''}nearly the training image"
                problem = f"{how} {other} ({distance} of {HASH_BITS} bits differ)"
                details = {"other": other, "distance": distance, "mirrored": bool(mirrored)}
                findings.append(error("leak", record.path, problem, remedy, **details))
    return findings, least
