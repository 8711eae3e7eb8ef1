"""The same picture twice: pixel for pixel by SHA-256, nearly by a perceptual hash."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from adapt.data import Sample
from adapt.errors import listing
from adapt.machine.runtime import progress
from adapt.scan.checks import Records
from adapt.scan.findings import ERROR, WARNING, Finding
from adapt.scan.measure import IMAGE, LABEL, Record
from adapt.scan.members import EVALUATED, Members
from adapt.settings.choices import HASH_BITS

CHUNK = 8_000_000
"""Hash words that are compared at once (64 MB)."""


def image_of(sample: Sample, side: str, records: Records) -> Record | None:
    path = getattr(sample, side)
    record = None if path is None else records[path, IMAGE]
    return None if record is None or record.error else record


def evaluated(members: Members) -> list[str]:
    """The lists that a training image must not be in."""
    return [name for name in EVALUATED if name in members.lists and name != members.training]


def exact(members: Members, records: Records, side: str) -> list[Finding]:
    """Equal pixels on one side: in training and evaluation, with other labels, or just twice."""
    training = {getattr(s, side) for s in members.lists.get(members.training, [])}
    held_out = {getattr(s, side) for name in evaluated(members) for s in members.lists[name]}
    groups: dict[bytes, dict[Path, Sample]] = defaultdict(dict)
    for sample in members.samples:
        if record := image_of(sample, side, records):
            groups[record.digest].setdefault(record.path, sample)
    findings = []
    for group in groups.values():
        paths = list(group)
        leaking = [p for p in paths if p in training], [p for p in paths if p in held_out]
        details = {"files": [str(p) for p in paths], "side": side}
        if all(leaking):
            file = leaking[1][0]
            same = [p for p in leaking[0] if p != file]
            problem = (
                f"the same pixels as {listing(same)} of the training list"
                if same
                else "stands in the training list as well"
            )
            remedy = "take it out of one of the two, or the score is that of a seen image"
            findings.append(Finding(ERROR, "leak", str(file), problem, remedy, details))
        elif len(paths) > 1:
            problem = f"the same pixels as {listing(paths[1:])}"
            if conflicting(group, records, side):
                problem += ", but another label"
                remedy = "one of the labels is wrong"
                findings.append(
                    Finding(ERROR, "duplicate", str(paths[0]), problem, remedy, details)
                )
            else:
                remedy = "keep one, unless it shall count twice"
                findings.append(
                    Finding(WARNING, "duplicate", str(paths[0]), problem, remedy, details)
                )
    return findings


def conflicting(group: dict[Path, Sample], records: Records, side: str) -> bool:
    labels = (s.y1 if side == "x1" else s.y2 for s in group.values())
    found = (records[label, LABEL] for label in labels if label is not None)
    return len({r.digest for r in found if not r.error}) > 1


def unshifted(members: Members, records: Records) -> list[Finding]:
    """Pairs whose two sides are the same pixels: there is nothing to adapt to."""
    pairs = members.paired
    same = [
        s
        for s in pairs
        if (a := image_of(s, "x1", records))
        and (b := image_of(s, "x2", records))
        and a.digest == b.digest
    ]
    if len(same) > len(pairs) / 2:
        problem = f"{len(same)} of {len(pairs)} pairs show the same pixels on both sides"
        remedy = "give the new domain's folder as data.target"
        return [Finding(ERROR, "unshifted", str(same[0].x2), problem, remedy)]
    problem, remedy = "the same pixels as its partner {}", "check that it is of the new domain"
    return [Finding(WARNING, "unshifted", str(s.x2), problem.format(s.x1), remedy) for s in same]


def near(
    members: Members, records: Records, side: str, threshold: int
) -> tuple[list[Finding], int | None]:
    """Images for evaluation that a training image nearly equals, as it is or mirrored.

    Returns the findings and the least distance in bits between a training and an evaluation image
    that are not equal; None where there is nothing to compare.
    """
    lists = [members.lists.get(members.training, [])]
    lists.append([s for name in evaluated(members) for s in members.lists[name]])
    old, new = (hashed(samples, side, records) for samples in lists)
    if not old or not new or threshold < 0:
        return [], None
    table = np.stack([r.hashes[0] for r in old if r.hashes is not None])
    digests = np.array([r.digest for r in old], dtype="S32")
    findings, least = [], HASH_BITS
    step = max(1, CHUNK // (8 * len(old)))
    for start in progress(range(0, len(new), step), what=f"near-duplicates of {side}"):
        chunk = new[start : start + step]
        hashes = np.stack([r.hashes for r in chunk if r.hashes is not None])
        bits = np.bitwise_count(hashes[:, :, None] ^ table).sum(axis=3, dtype=np.int16)
        for record, distances in zip(chunk, bits, strict=True):
            distances[:, digests == np.bytes_(record.digest)] = HASH_BITS  # exact() has these
            mirrored, nearest = np.unravel_index(distances.argmin(), distances.shape)
            distance = int(distances[mirrored, nearest])
            least = min(least, distance)
            if distance <= threshold:
                findings.append(alike(record, old[nearest], distance, bool(mirrored)))
    return findings, least


def hashed(samples: list[Sample], side: str, records: Records) -> list[Record]:
    """The images of one side, each once, that show enough to be hashed."""
    found = {r.path: r for s in samples if (r := image_of(s, side, records)) and not r.flat}
    return list(found.values())


def alike(record: Record, other: Record, distance: int, mirrored: bool) -> Finding:
    how = "mirrored, nearly" if mirrored else "nearly"
    return Finding(
        ERROR, "leak", str(record.path),
        f"{how} the training image {other.path} ({distance} of {HASH_BITS} bits differ)",
        "take one of them out, or lower near= if they are different frames that you accept",
        {"other": str(other.path), "distance": distance, "mirrored": mirrored},
    )  # fmt: skip
