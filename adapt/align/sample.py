"""What a sample of the pairs tells at a glance, for scan and for the start of a training: sizes,
brightness, where x2 lies on x1, and whether both show the same scene.

The latter is asked of edges (adapt.align.gradients) at 128x96: how high is the peak of a pair's
correlation, wherever it lies, beside those with the partners of other pairs? The share of others
that fit better is the doubt of a pair. A partner drawn at random has a uniform doubt; right ones
have hardly any, also where content is so bent or torn that nothing can be aligned.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np

from adapt.align.estimate import Compared, Size, estimate, paired
from adapt.align.gradients import around, correlation, features, peaks, quarter
from adapt.align.rig import FEWEST, middle_of
from adapt.data import Sample
from adapt.data.augment import IMAGES, fitted, frame
from adapt.data.images import image_size, read_image
from adapt.data.samples import spaced
from adapt.data.warp import aligned
from adapt.errors import listing
from adapt.settings.groups import DataConfig

PAIRS, LEAST, PIXELS = 16, 4, 64_000_000
"""Pairs of a sample, and how many at least where they have more than so many pixels in all."""
LONGEST = 320
"""Pixels of the longer side at which they are compared: the median is as good as at the 640 of
align, in a third of the time."""
GRID = (96, 128)
"""(H, W) at which every x1 is compared with every x2."""
ENOUGH = 8
"""Pairs from which on doubt tells anything."""
DOUBT = 0.1
"""From which on a pair that cannot be aligned counts as two scenes."""
SURE = 2.0
"""Standard errors of the median shift from which on it is no chance."""
DARK, BRIGHT = 0.01, 0.99
"""Share of the range up to which a pixel is black, and from which on it is white."""
GIVEN = (
    "root", "target", "pairs", "shards", "sbd", "coarse", "variant", "train_split", "bands",
    "bands_x2", "range", "range_x2", "follow_links",
)  # fmt: skip
"""Fields of DataConfig that say which pairs `align` reads, and how, beside the name."""
ALIGNED = "alignment"
"""Folder that the command of `cure` writes to."""


@dataclass(frozen=True)
class Light:
    """How bright the images of one side are: shares of the range, and of the pixels, 0..1."""

    mean: float
    black: float
    white: float


@dataclass(frozen=True)
class Look:
    """What is kept of a pair."""

    compared: Compared
    """Shifts are in pixels of x1 as a network sees it, before data.crop."""
    sizes: tuple[Size, Size]
    """Of the files x1 and x2."""
    light: tuple[Light, Light]
    edges: tuple[np.ndarray, np.ndarray]
    """Features (H, W) of both, H and W being GRID."""


@dataclass(frozen=True)
class Misalignment:
    """How far x2 lies off x1 in a sample of pairs."""

    pairs: int
    """Compared."""
    accepted: int
    """Those of which it can be told."""
    shift: tuple[float, float]
    """Median over these, at the middle of the image, in x and y: pixels of x1 as a network sees it,
    which without data.resize are those of the file."""
    deviation: float
    """Around it, from pair to pair: 1.4826 median absolute deviations in the same pixels, the
    larger one of x and y."""
    size: Size
    """(H, W) that most x1 have then."""

    @property
    def offset(self) -> float:
        """Length of the median shift."""
        return float(np.hypot(*self.shift))

    @property
    def systematic(self) -> bool:
        """Do the pairs share the offset, or may it be the chance of some that are shaken?"""
        error = 1.25 * self.deviation / max(1, self.accepted) ** 0.5
        enough = self.accepted >= max(FEWEST, self.pairs / 2)
        return enough and self.offset > SURE * error

    @property
    def line(self) -> str:
        if not self.accepted:
            return f"where x2 lies on x1 cannot be told of any of {self.pairs}"
        (x, y), (height, width) = self.shift, self.size
        return (
            f"x2 lies ({x:+.1f}, {y:+.1f}) px off x1, of {width}x{height}, in the median of "
            f"{self.accepted} of {self.pairs}, ± {self.deviation:.1f} px from pair to pair"
        )


@dataclass(frozen=True)
class Sampled:
    """What a sample of pairs tells."""

    total: int
    """Pairs that there are."""
    sizes: dict[str, dict[str, int]]
    """Side -> width x height of the files -> pairs."""
    light: dict[str, Light]
    """Side -> means over the pairs."""
    misalignment: Misalignment
    doubt: float | None
    """Median; None = there are too few pairs."""
    strange: list[str]
    """Names of the pairs that cannot be aligned and fit others better than each other."""

    @property
    def lost(self) -> bool:
        """Do most pairs fit no better than by chance?"""
        return 2 * len(self.strange) > self.misalignment.pairs

    @property
    def content(self) -> str:
        """Whether x1 and x2 show the same scene, as far as edges tell."""
        if self.doubt is None:
            return f"whether both show the same scene cannot be told of fewer than {ENOUGH}"
        if self.lost:
            return (
                f"{len(self.strange)} fit no better than images of different pairs: the names do "
                "not belong together, or the shift hides all edges"
            )
        if self.strange:
            return f"these seem to show two scenes: {listing(self.strange, 3)}"
        return "none seems to show two scenes"

    @property
    def lines(self) -> list[str]:
        sides = []
        for side, light in self.light.items():
            (size, _), *others = self.sizes[side].items()
            several = f" and {len(others)} other sizes" if others else ""
            sides.append(
                f"{side} {size}{several}, brightness {100 * light.mean:.0f} %, "
                f"{100 * light.black:.0f} % black, {100 * light.white:.0f} % white"
            )
        found = self.misalignment
        return [
            f"sample of {found.pairs} of {self.total} pairs: {'; '.join(sides)}",
            f"{found.line}; {self.content}",
        ]

    @property
    def record(self) -> dict[str, Any]:
        """For a report, with the lines."""
        return asdict(self) | {"lines": self.lines}


def sampled(samples: Sequence[Sample], config: DataConfig) -> Sampled:
    """Look at PAIRS evenly spaced pairs, which takes about 0.05 s each, at fewer where images are
    large; as a network sees them, so with `data.transforms`, `data.fit` and `data.resize`.

    Raises:
        InputError: an image that cannot be read.
    """
    pixels = sum(np.prod(image_size(getattr(samples[0], side))) for side in IMAGES)
    looked_at = spaced(samples, max(LEAST, min(PAIRS, PIXELS // int(pixels))))
    looks = [look(sample, config) for sample in looked_at]
    sizes, light = {}, {}
    for number, side in enumerate(IMAGES):
        found = Counter(f"{w}x{h}" for h, w in (each.sizes[number] for each in looks))
        sizes[side] = dict(found.most_common())
        every = [list(asdict(each.light[number]).values()) for each in looks]
        light[side] = Light(*map(float, np.mean(every, axis=0)))
    of = [each.compared for each in looks]
    enough = len({pair.sample.x1 for pair in of}) >= ENOUGH
    doubts = doubts_of(looks) if enough else np.zeros(len(looks))
    strange = [
        pair.sample.name
        for pair, doubt in zip(of, doubts, strict=True)
        if doubt > DOUBT and not pair.found.accepted
    ]
    middle = float(np.median(doubts)) if enough else None
    return Sampled(len(samples), sizes, light, misalignment(of), middle, strange)


def look(sample: Sample, config: DataConfig) -> Look:
    """Read a pair, and compare its images as a network sees them."""
    files = {s: read_image(getattr(sample, s), *config.reading(s)) for s in IMAGES}
    size = files["x1"].shape[:2]
    placed = aligned(sample, files, size) if sample.transform else files
    if len(config.resize) == 2:
        placed = fitted(placed, config.resize, config.fit)
    pair = paired(placed["x1"], placed["x2"], LONGEST)
    height, width = frame(pair.frame.old, config.resize)
    seen = replace(pair.frame, old=(height, width))
    small = (
        cv2.resize(image, GRID[::-1], interpolation=cv2.INTER_AREA)
        for image in (pair.old, pair.new)
    )
    first, second = map(features, small)
    return Look(
        Compared(sample, seen, estimate(pair.old, pair.new, np.eye(3))),
        (files["x1"].shape[:2], files["x2"].shape[:2]),
        (light_of(files["x1"]), light_of(files["x2"])),
        (first, second),
    )


def light_of(image: np.ndarray) -> Light:
    """Of every few pixels of an image (H, W, C), the mean of the channels."""
    step = -(-max(image.shape[:2]) // LONGEST)
    values = image[::step, ::step].mean(axis=2) / np.iinfo(image.dtype).max
    return Light(
        float(values.mean()), float((values <= DARK).mean()), float((values >= BRIGHT).mean())
    )


def misalignment(pairs: Sequence[Compared]) -> Misalignment:
    """The median shift of those that are accepted."""
    shifts = [pair.shift for pair in pairs if pair.found.accepted]
    median, deviation = middle_of(np.array(shifts)) if shifts else (np.zeros(2), 0.0)
    x, y = map(float, median)
    ((size, _),) = Counter(pair.frame.old for pair in pairs).most_common(1)
    return Misalignment(len(pairs), len(shifts), (x, y), deviation, size)


def doubts_of(looks: Sequence[Look]) -> np.ndarray:
    """The doubt of each pair (N,): the share of the images of other x1 that fit its x1 or its x2
    better than its own partner, where what an image has in common with all is left out."""
    old, new = (np.stack(side) for side in zip(*(each.edges for each in looks), strict=True))
    fits = np.stack([peaks(around(correlation(one, new), quarter(one)))[1] for one in old])
    fits = fits - fits.mean(0) - fits.mean(1, keepdims=True)
    scenes = [str(each.compared.sample.x1) for each in looks]
    other, own = np.not_equal.outer(scenes, scenes), np.diag(fits)
    better = ((fits > own) & other).sum(0) + ((fits > own[:, None]) & other).sum(1)
    return better / (2 * other.sum(0))


def command(name: str, config: DataConfig, *more: str) -> str:
    """A command for the pairs of a data set, as it is typed."""
    default, given = DataConfig(), [f"data={config.name}"]
    for field in GIVEN:
        if (value := getattr(config, field)) != getattr(default, field):
            plain = isinstance(value, str) and re.fullmatch(r"[\w/.: -]+", value)
            text = value if plain else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            given.append(f"data.{field}={text}")
    return shlex.join(["fra", name, *given, *more])


def cure(config: DataConfig) -> tuple[str, str]:
    """The command that aligns the pairs of a data set, and the setting that reads them so."""
    return command("align", config, f"out={ALIGNED}"), f"data.transforms={ALIGNED}/alignment.csv"
