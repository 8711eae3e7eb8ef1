"""Disjoint named parts of a data set."""

from collections.abc import Sequence
from itertools import islice
from operator import gt

import numpy as np

from adapt.data.samples import Sample, chosen, column
from adapt.data.targets import target_of
from adapt.errors import InputError, unknown
from adapt.settings.groups import WHOLE, DataConfig


class NoSamples(InputError):
    """A part that is there, and nothing in it: of three pairs a tenth is none."""


def part_of(config: DataConfig, split: str) -> str:
    """The part of the training list that a split means; `` and WHOLE = no part."""
    return split if split in config.parts else config.part if split == "train" else ""


def taken(samples: Sequence[Sample], config: DataConfig, split: str) -> Sequence[Sample]:
    """What a split takes of its list: its part, and of what is trained on the share.

    Raises:
        NoSamples: that is nothing.
    """
    part, several = part_of(config, split), bool(config.targets)
    if part not in ("", WHOLE):
        samples = cut(samples, config.parts, config.cut_seed, part, several)
    if split == "train" and config.share < 1:
        samples = cut(samples, {"share": config.share}, config.parts_seed, "share", several)
    if not samples:
        where = config.root or config.pairs
        raise NoSamples(f"data: split {split!r}, part {part!r} of {where} has no samples")
    return samples


def cut(
    samples: Sequence[Sample],
    parts: dict[str, float],
    seed: int | None,
    part: str,
    several: bool = False,
) -> Sequence[Sample]:
    """The samples of a named part. Parts are disjoint and depend on the names and the seed only, or
    without a seed are blocks in the order of the names; pairs of one old image stay together, so
    that none is held out that was seen. Of `several` new domains each has its share of a part."""
    if part not in parts:
        raise unknown("data.part", part, (WHOLE, *parts))
    names, images = column(samples, "name"), column(samples, "x1")
    order = np.arange(len(names))
    if any(map(gt, names, islice(names, 1, None))):  # sorting takes memory
        order = np.array(sorted(range(len(names)), key=names.__getitem__))
    keys = np.fromiter(map(hash, images), np.int64, len(images))[order]
    _, first, scene = np.unique(keys, return_index=True, return_inverse=True)
    drawn = np.arange(len(first))
    if seed is not None:
        drawn = np.random.default_rng(seed).permutation(drawn)
    edges = np.round(np.cumsum([0.0, *parts.values()]) * len(first)).astype(int)
    position = list(parts).index(part)
    scenes = np.sort(first)[drawn]
    if several:
        scenes = evenly(scenes, [target_of(names[row]) for row in order[scenes]])
    drawn = scenes[edges[position] : edges[position + 1]]
    return chosen(samples, np.sort(order[np.isin(first[scene], drawn)]))


def evenly(rows: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Rows whose kinds take turns by their shares; those of a kind stay in their order."""
    own, place = np.array(kinds), np.empty(len(rows))
    for kind in np.unique(own):
        there = own == kind
        place[there] = (np.arange(there.sum()) + 0.5) / there.sum()
    return rows[np.argsort(place, kind="stable")]
