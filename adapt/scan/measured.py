"""What a scan decodes: of all files in one call, or in parts, whose records are put together."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data.targets import refuse_targets
from adapt.disk.files import write_json
from adapt.disk.portions import PARTS, Portion
from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.scan.measure import Record, apart, measure, moments, of_all
from adapt.scan.members import Members, members
from adapt.settings.commands import ScanConfig
from adapt.settings.mapping import EXPLICIT, as_dict, differences

ARRAYS = {"hashes": (np.uint64, (2, 4)), "descriptor": (np.float16, (-1,))}
"""Fields of a record: type and shape."""
Moments = dict[str, dict[Path, np.ndarray]]
"""Side of the pairs -> training image -> `moments`; empty without `statistics`."""


@dataclass(frozen=True)
class Measured:
    """The records of files, in their order."""

    records: list[Record]
    moments: Moments


def parts_of(config: ScanConfig) -> Path:
    """The folder of the parts' records."""
    return Path(f"{config.out}.{PARTS}")


def measured(config: ScanConfig, found: Members) -> Measured:
    """What all files were reduced to, or those of a part.

    Raises:
        InputError: a part is missing, or was made with other settings or of other files.
    """
    part = Portion.of_setting(config.part)
    part.check(parts_of(config))
    jobs = found.jobs(described=config.pairs)
    if part.joins:
        return put_together(config, part, [(str(path), role) for path, role, *_ in jobs])
    records = of_all(measure, part.of(jobs), config.workers, "scan")
    good = apart(records)[0]
    own: Moments = {}
    for side, every in found.images(found.training).items() if config.statistics else ():
        some = {job[0]: job for job in every if (job[0], job[1]) in good}
        counted = of_all(moments, [*some.values()], config.workers, "statistics")
        own[side] = dict(zip(some, counted, strict=True))
    return Measured(records, own)


def measure_part(config: ScanConfig) -> Path:
    """Keep what the files of a part are reduced to; returns the file. It raises as `measured`."""
    refuse_targets(config.data, "scan")
    found = measured(config, members(config.data))
    path = Portion.of_setting(config.part).record(parts_of(config))
    sums = {k: {str(p): m.tolist() for p, m in own.items()} for k, own in found.moments.items()}
    content = {"records": [*map(plain, found.records)], "moments": sums}
    write_json(path, {"made_with": made_with(config), **content})
    broken = sum(bool(record.error) for record in found.records)
    say(f"{path}: {len(found.records)} files, {broken} of them unreadable")
    return path


def put_together(config: ScanConfig, part: Portion, files: list[tuple[str, str]]) -> Measured:
    """The records of all parts, which must be those of `files`, path and role."""
    every, sums = list[Record](), dict[str, dict[Path, np.ndarray]]()
    for one, content in part.records(parts_of(config)):
        path = one.record(parts_of(config))
        if changed := differences(content.get("made_with", {}), made_with(config)):
            raise InputError(f"part={one}: {path} was made otherwise: {'; '.join(changed)}")
        records = [*map(restored, content["records"])]
        if [(str(r.path), r.role) for r in records] != one.of(files):
            raise InputError(f"part={one}: {path} is of other files; repeat it")
        every += records
        for side, own in content["moments"].items():
            sums.setdefault(side, {}).update({Path(p): np.array(m) for p, m in own.items()})
    return Measured(every, sums)


def made_with(config: ScanConfig) -> dict[str, Any]:
    """What a part's record depends on."""
    data = {k: v for k, v in as_dict(config.data).items() if k != EXPLICIT}
    return {"data": data, "pairs": config.pairs, "statistics": config.statistics}


def plain(record: Record) -> dict[str, Any]:
    """A record for JSON: bytes as text, without what is empty."""
    kept = {name: value for name, value in vars(record).items() if name not in ARRAYS}
    for name in ARRAYS:
        if (array := getattr(record, name)) is not None:
            kept[name] = b64encode(array.tobytes()).decode()
    return kept | {"path": str(record.path), "digest": record.digest.hex()}


def restored(kept: dict[str, Any]) -> Record:
    """A record from JSON."""
    kept |= {"path": Path(kept["path"]), "digest": bytes.fromhex(kept["digest"])}
    kept |= {name: tuple(kept[name]) for name in ("ignored", "size")}
    kept["values"] = {int(value): pixels for value, pixels in kept["values"].items()}
    for name, (kind, shape) in ARRAYS.items():
        if name in kept:
            kept[name] = np.frombuffer(b64decode(kept[name]), kind).reshape(shape)
    return Record(**kept)
