"""How often align finds planted shifts again, and how often it is wrong without a word.

    python benchmarks/align.py --camvid DIR [--red DIR --nir DIR] [--visible DIR --thermal DIR]
        [--draws 2] [--out results/align.json]

The pairs are frames of CamVid's folder `val`, each with a filter (GEGL's defaults; grey; a Gaussian
blur of 3 pixels), and two folders of two sensors each, whose pairs count as aligned as they lie. A
margin of 48 pixels is cut off after the move, so that nothing is made up. `shift` moves every x2 of
its own, `draws` times, up to 48 pixels in any direction; `map` moves it by up to 16, turns it by up
to 2 degrees, enlarges it by up to 3 % and tilts it; each pair is taken alone. `unrelated` gives
every x1 the x2 of half a list further. `rig` is the command, on pairs that are all moved by (16, 8)
pixels.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np

from adapt.align.command import align
from adapt.align.estimate import Pair, estimate, paired
from adapt.align.models import apply, moved_by
from adapt.data.files import stems
from adapt.data.images import read_image, write_png
from adapt.data.sampling import image_seed
from adapt.disk.files import write_json
from adapt.machine.runtime import processor, progress
from adapt.settings.align import AlignConfig
from adapt.settings.groups import DataConfig
from benchmarks.measure import settings
from transforms import FILTERS

MARGIN, FARTHEST, RIG = 48, 48, (16, 8)
SETS = {"red / near infrared": ("red", "nir"), "visible / thermal": ("visible", "thermal")}
Images = tuple[str, np.ndarray, np.ndarray]
"""Name, x1 and x2 of a pair."""


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


SHIFTS: dict[str, Callable[..., np.ndarray]] = {
    **FILTERS,
    "grey": grey,
    "blur": partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=3),
}


def sets(given: argparse.Namespace) -> Iterator[tuple[str, list[Images]]]:
    frames = stems(Path(given.camvid) / "val") if given.camvid else {}
    for name, shift in SHIFTS.items() if frames else ():
        images = [(stem, read_image(file)) for stem, file in frames.items()]
        seeds = [{"seed": image_seed(0, s)} if name in ("cubism", "camera") else {} for s in frames]
        yield name, [(s, x, shift(x, **seed)) for (s, x), seed in zip(images, seeds, strict=True)]
    for name, sides in SETS.items():
        old, new = (getattr(given, side) for side in sides)
        if old:
            partners = stems(Path(new))
            files = stems(Path(old)).items()
            yield name, [(s, read_image(f), read_image(partners[s])) for s, f in files]


def drawn(kind: str, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random homography: x2 as it is, to x2 as it shall be."""
    if kind == "shift":
        length, angle = FARTHEST * np.sqrt(rng.random()), 2 * np.pi * rng.random()
        return moved_by(*np.round([length * np.cos(angle), length * np.sin(angle)]))
    scale, angle = 1 + rng.uniform(-0.03, 0.03), np.deg2rad(rng.uniform(-2, 2))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [*rng.uniform(-5e-5, 5e-5, 2), 1]])
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    return moved_by(x, y) @ turn @ moved_by(-x, -y) @ moved_by(*rng.uniform(-16, 16, 2))


def moved(x1: np.ndarray, x2: np.ndarray, matrix: np.ndarray) -> tuple[Pair, np.ndarray]:
    """A pair whose x2 is moved, without a margin, and where x2 then lies on x1."""
    height, width = x1.shape[:2]
    new = cv2.warpPerspective(x2, matrix, (width, height), flags=cv2.INTER_LINEAR)
    inner = slice(MARGIN, height - MARGIN), slice(MARGIN, width - MARGIN)
    cut = [np.ascontiguousarray(image[inner]) for image in (x1, new)]
    return paired(*cut), moved_by(-MARGIN, -MARGIN) @ matrix @ moved_by(MARGIN, MARGIN)


def distance(a: np.ndarray, b: np.ndarray, size: tuple[int, int]) -> float:
    """Mean distance of where two homographies take a grid of points."""
    rows, columns = np.linspace(0, size[0] - 1, 7), np.linspace(0, size[1] - 1, 9)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    return float(np.hypot(*(apply(a, grid) - apply(b, grid)).T).mean())


def alone(name: str, kind: str, images: list[Images], draws: int) -> dict[str, Any]:
    """What becomes of planted moves of a set, or of unrelated images."""
    before, after, spent = [], [], []
    rng = np.random.default_rng(0)
    half = len(images) // 2
    for place, (_, x1, x2) in enumerate(progress(images * draws, what=f"{name}, {kind}")):
        if kind == "unrelated":
            x2 = images[(place + half) % len(images)][2]
            height, width = np.minimum(x1.shape[:2], x2.shape[:2])
            x1, x2 = (np.ascontiguousarray(x[:height, :width]) for x in (x1, x2))
        matrix = np.eye(3) if kind == "unrelated" else drawn(kind, x1.shape[:2], rng)
        pair, truth = moved(x1, x2, matrix)
        started = time.process_time()
        found = estimate(pair.old, pair.new, np.eye(3))
        spent.append(time.process_time() - started)
        before.append(distance(np.eye(3), truth, pair.frame.size))
        apart = distance(found.matrix, truth, pair.frame.size)
        after.append(apart if found.accepted else np.nan)
    errors, offsets = np.array(after), np.array(before)
    kept = errors[~np.isnan(errors)]
    row = {
        "set": name,
        "planted": kind,
        "pairs": len(errors),
        "accepted": len(kept),
        "within 3 px": int((kept <= 3).sum()),
        "within 8 px": int((kept <= 8).sum()),
        "farther than before": int((errors > np.maximum(offsets, 3)).sum()),
        "median error": round(float(np.median(kept)), 2) if len(kept) else None,
        "95 % error": round(float(np.quantile(kept, 0.95)), 2) if len(kept) else None,
        "offset": round(float(offsets.mean()), 1),
        "CPU milliseconds": round(1000 * float(np.median(spent))),
    }
    return row


def together(name: str, images: list[Images]) -> dict[str, Any]:
    """The command, on a set whose x2 all lie (16, 8) pixels off."""
    x, y = RIG
    with TemporaryDirectory() as place:
        for stem, x1, x2 in images:
            pair, truth = moved(x1, x2, moved_by(x, y))
            for side, image in (("old", pair.old), ("new", pair.new)):
                write_png(Path(place, side, f"{stem}.png"), image)
        data = DataConfig(name="pairs", root=f"{place}/old", target=f"{place}/new")
        found = align(AlignConfig(data, f"{place}/out", sample=32, workers=1))
    sizes = [pair.frame.old for pair in found.pairs]
    apart = [distance(p.files, truth, s) for p, s in zip(found.pairs, sizes, strict=True)]
    rig = distance(found.rig.matrix, truth, found.rig.size)
    return {
        "set": name,
        "planted": "rig",
        "pairs": len(found.pairs),
        "accepted": len(found.accepted),
        "rig": found.rig.kind,
        "rig's error": None if found.refused else round(rig, 2),
        "within 3 px": sum(a <= 3 for a in apart),
        "within 8 px": sum(a <= 8 for a in apart),
        "refused": found.refused,
        "planted again": [[p.length, p.found, p.elsewhere, p.pairs] for p in found.planted],
    }


def main() -> None:
    sides = dict.fromkeys([side for pair in SETS.values() for side in pair], "")
    given = settings(__doc__ or "", camvid="", draws=2, **sides)
    rows = []
    for name, images in sets(given):
        for kind in ("shift", "map", "unrelated"):
            draws = given.draws if kind == "shift" else 1
            rows.append(alone(name, kind, images, draws))
            print(rows[-1], flush=True)
        rows.append(together(name, images))
        print(rows[-1], flush=True)
    command = f"benchmarks/align.py --draws {given.draws}"
    about = {"command": command, "host": processor(), "date": time.strftime("%Y-%m-%d")}
    write_json(Path(given.out), about | {"rows": rows})


if __name__ == "__main__":
    main()
