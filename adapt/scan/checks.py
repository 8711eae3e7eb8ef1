"""Checks of single files and of what belongs to one sample: readable, sizes, modes, labels."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from adapt.data import Sample
from adapt.data.images import IGNORE
from adapt.errors import listing
from adapt.scan.findings import ERROR, WARNING, Finding
from adapt.scan.measure import IMAGE, LABEL, VALID, Job, Record
from adapt.scan.members import Members
from adapt.settings.groups import DataConfig

Records = Mapping[tuple[Path, str], Record]
"""(file, role) -> what was measured; a file can serve in two roles."""

ROLES = {"x1": IMAGE, "x2": IMAGE, "y1": LABEL, "y2": LABEL, "valid": VALID}


def files(sample: Sample) -> dict[str, Path]:
    """Field -> file of what a sample has."""
    return {f: getattr(sample, f) for f in ROLES if getattr(sample, f) is not None}


def jobs(samples: Iterable[Sample], described: bool) -> list[Job]:
    """Every file of the samples once for each role."""
    found: dict[tuple[Path, str], Job] = {}
    for sample in samples:
        for name, path in files(sample).items():
            wanted = described and sample.x2 is not None and ROLES[name] == IMAGE
            if wanted or (path, ROLES[name]) not in found:
                found[path, ROLES[name]] = Job(path, ROLES[name], wanted)
    return list(found.values())


def readable(records: Iterable[Record]) -> list[Finding]:
    remedy = "replace the file, or take its name out of the list"
    return [
        Finding(ERROR, "unreadable", str(r.path), r.error, remedy, {"role": r.role})
        for r in records
        if r.error
    ]


def shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def sizes(members: Members, records: Records, config: DataConfig) -> list[Finding]:
    """Files of one sample that differ in size, and images that do not fit into one batch."""
    findings = []
    images: Counter[tuple[int, int]] = Counter()
    example: dict[tuple[int, int], Path] = {}
    for sample in members.samples:
        found = {
            path: record.size
            for name, path in files(sample).items()
            if not (record := records[path, ROLES[name]]).error
        }
        if not found:
            continue
        size = Counter(found.values()).most_common(1)[0][0]
        example.setdefault(size, sample.x1)
        images[size] += 1
        if odd := [path for path, other in found.items() if other != size]:
            rest = listing(path for path, other in found.items() if other == size)
            problem = f"{shown(found[odd[0]])}, but of its sample {rest}: {shown(size)}"
            remedy = "bring them to one size (masks by nearest neighbour)"
            details = {str(path): list(other) for path, other in found.items()}
            findings.append(Finding(ERROR, "size", str(odd[0]), problem, remedy, details))
    if len(images) > 1 and not (config.resize or config.crop):
        common, rarest = images.most_common(1)[0][0], images.most_common()[-1][0]
        several = ", ".join(f"{n} of {shown(s)}" for s, n in images.most_common(5))
        findings.append(
            Finding(
                WARNING, "sizes", str(example[rarest]),
                f"{shown(rarest)}, most images are {shown(common)} ({several})",
                "set data.crop or data.resize, or they cannot be stacked to batches",
                {shown(s): n for s, n in images.items()},
            )
        )  # fmt: skip
    return findings


def modes(records: Iterable[Record]) -> list[Finding]:
    """Files stored in another mode than most of their role: a few grey images among colour ones."""
    findings = []
    groups: dict[str, dict[str, list[Path]]] = {}
    for record in records:
        if not record.error:
            groups.setdefault(record.role, {}).setdefault(record.mode, []).append(record.path)
    for role, by_mode in groups.items():
        common = max(by_mode, key=lambda mode: len(by_mode[mode]))
        for mode, paths in by_mode.items():
            if mode != common and len(paths) < 0.1 * len(by_mode[common]):
                problem = f"mode {mode}, but {len(by_mode[common])} {role}s are {common}"
                if len(paths) > 1:
                    problem += f"; so are {listing(p.name for p in paths[1:])}"
                remedy = "check that these files come from the same source"
                details = {"files": [str(p) for p in paths]}
                findings.append(Finding(WARNING, "mode", str(paths[0]), problem, remedy, details))
    return findings


def blank(records: Iterable[Record]) -> list[Finding]:
    findings = [
        Finding(WARNING, "blank", str(r.path), "shows one flat tone", "look at it, or take it out")
        for r in records
        if r.flat and not r.error
    ]
    for r in records:
        if r.role == VALID and not r.error and not r.values[1]:
            problem = "marks every pixel as invalid, so that its pair counts nowhere"
            findings.append(Finding(WARNING, "blank", str(r.path), problem, "white = valid"))
    return findings


def histogram(members: Members, records: Records, split: str) -> np.ndarray:
    """Pixels with each value 0..255 in the labels (y1) of a list."""
    total = np.zeros(256, np.int64)
    for sample in members.lists[split]:
        if sample.y1 is not None:
            for value, pixels in records[sample.y1, LABEL].values.items():
                total[value] += pixels
    return total


def labels(members: Members, records: Records) -> list[Finding]:
    """Values that mean nothing, masks without any class, classes that a list never shows."""
    labelled = [r for (_, role), r in records.items() if role == LABEL and not r.error]
    if not labelled:
        return []
    if not members.classes:
        problem = "is a label, but the classes are not named"
        remedy = "give data.classes=[…], in the order of the indices"
        return [Finding(WARNING, "classes", str(labelled[0].path), problem, remedy)]
    codes = members.codes or tuple(range(len(members.classes)))
    void = {*members.void, IGNORE} - {*codes}
    findings = []
    for record in labelled:
        wrong = {v: n for v, n in record.values.items() if v not in void and v not in codes}
        if wrong:
            values = ", ".join(f"{v} ({n} pixels)" for v, n in wrong.items())
            problem = f"has values of no class: {values}; void is {sorted(void)}"
            there = f"0..{len(codes) - 1}" if not members.codes else ", ".join(map(str, codes))
            remedy = f"classes are {there}: map the values to them or to void"
            details = {"values": {str(v): n for v, n in wrong.items()}}
            findings.append(Finding(ERROR, "label", str(record.path), problem, remedy, details))
        elif not any(v in codes for v in record.values):
            problem = "is void everywhere"
            findings.append(
                Finding(WARNING, "label", str(record.path), problem, "label it, or take it out")
            )
    for split, samples in members.lists.items():
        counts = histogram(members, records, split)
        if not counts.any():
            continue
        for code, name in zip(codes, members.classes, strict=True):
            if not counts[code]:
                problem = f"{name} (value {code}) occurs in no label of the list {split!r}"
                remedy = "its IoU is undefined there: check the values, or expect it"
                where = str(samples[0].y1.parent if samples[0].y1 else split)
                findings.append(Finding(WARNING, "class", where, problem, remedy))
    return findings
