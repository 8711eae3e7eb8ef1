"""Pairs in tar archives, as WebDataset lays them out: <key>.x1.jpg, <key>.x2.jpg, <key>.y.png.

A member has a path of its own, SHARD.tar/@OFFSET+SIZE/NAME, which adapt.data.archives opens:
whatever reads, compares or names a sample's files does so with these, in any process and order.
"""

import re
from pathlib import Path

from adapt.data.archives import SHARD, part
from adapt.data.files import (
    Lookup,
    Problem,
    exists,
    inside,
    lines,
    resolved,
    unique,
)
from adapt.data.images import SUFFIXES
from adapt.data.sample import Sample
from adapt.data.tar import members
from adapt.errors import InputError
from adapt.machine.runtime import progress

NAMED = re.compile(r"(.+)\.(x1|x2|y|y2|valid)\.[^.]+")
"""Key and field of a member."""
WILD = re.compile(r"[*?[]")


def shards_of(where: str, follow_links: bool = False) -> list[Path]:
    """The archives that `data.shards` names: those of a folder, those that fit a pattern, one, or
    those of a list, one a line, relative to its folder.

    Raises:
        InputError: none there; one named twice, missing, or that a link or a list leads to outside
            of its folder, unless links are followed.
    """
    path = Path(where)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix == SHARD)
    elif WILD.search(where):
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    elif path.suffix == SHARD:
        found = [path]
    elif not exists(path):
        raise InputError(f"data.shards: no such folder, archive or list: {where}")
    else:
        found = [
            path.parent / line if follow_links else inside(path.parent, line, f"{path}:{number}")
            for number, line in enumerate(lines(path), 1)
        ]
    if not found:
        raise InputError(f"data.shards: no {SHARD} files in {where}")
    unique([str(p) for p in found], path)
    for shard in found:
        if shard.suffix != SHARD or not exists(shard):
            raise InputError(f"data.shards: no {SHARD} file: {shard}")
        leads_out = not resolved(shard).is_relative_to(resolved(shard.parent))
        if shard.is_symlink() and leads_out and not follow_links:
            raise InputError(
                f"{shard}: is a link to {resolved(shard)}, outside of its folder; to read it "
                "nevertheless: data.follow_links=true"
            )
    return found


def read_shards(where: str, follow_links: bool = False) -> list[Sample]:
    """The pairs of all shards, in their order; files that are no images are passed over.

    Raises:
        InputError: as `shards_of` and `members`, an image that belongs to no sample, or no pairs;
            MissingFiles, with the samples that are whole, for names that lack a side or have a file
            twice.
    """
    groups: dict[str, dict[str, Path]] = {}
    lookup = Lookup()
    for shard in progress(shards_of(where, follow_links), what="shards"):
        for name, offset, size in members(shard):
            file = name.rpartition("/")[2]
            if file.startswith(".") or Path(file).suffix.lower() not in SUFFIXES:
                continue
            named = NAMED.fullmatch(name)
            if named is None:
                raise InputError(
                    f"{shard}: {name!r} belongs to no sample; names are KEY.x1.jpg, KEY.x2.jpg "
                    "and, where there are any, KEY.y.png, KEY.y2.png, KEY.valid.png"
                )
            files = groups.setdefault(named[1].replace("/", "__"), {})
            if first := files.get(named[2]):
                text = f"a second {named[2]} of {named[1]!r}; the first is in {first.parents[1]}"
                lookup.problems.append(Problem("double", str(shard), text))
            files.setdefault(named[2], part(shard, offset, size, file))
    samples = []
    for key, files in groups.items():
        if lost := [side for side in ("x1", "x2") if side not in files]:
            beside = next(iter(files.values()))
            text = f"no {' and no '.join(lost)} of {key!r} beside its {beside.name}"
            lookup.problems.append(Problem("missing", str(beside.parents[1]), text))
            continue
        y1 = files.get("y")
        samples.append(
            Sample(key, files["x1"], y1, files["x2"], files.get("y2", y1), files.get("valid"))
        )
    if not groups:
        raise InputError(f"data.shards: no pairs in the archives of {where}")
    return lookup.complete(samples)
