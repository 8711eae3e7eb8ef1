"""How well scan finds swapped files and copies in a real data set, and what it takes.

    python benchmarks/scan.py swaps --data camvid --root DIR --target photocopy=DIR2 ripple=DIR3 …
        [--share 0.05] [--seeds 10] [--out results/scan_swaps.json]
    python benchmarks/scan.py near --data camvid --root DIR [--out results/scan_near.json]
    python benchmarks/scan.py size [--images 100000]

`swaps` exchanges partners in the lists, among a random share of the pairs, each seed anew, so that
every chosen x2 gets the x1 of another; `neighbour` exchanges the x2 of successive names, which in a
video show nearly the same. `near` counts in how many of 256 bits the hashes differ: of copies of
every fourth image, of successive names of a list, and of all pairs of a training with an evaluation
image. `size` has no images: the descriptors of a pair share a random scene of 40 numbers, and 5 %
of the pairs are exchanged.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np

from adapt.data import Sample
from adapt.data.images import read_image
from adapt.disk.files import write_json
from adapt.machine.runtime import progress
from adapt.scan import checks
from adapt.scan.measure import (
    IMAGE,
    Record,
    Records,
    apart,
    grey,
    measure,
    of_all,
    perceptual_hash,
)
from adapt.scan.members import ERROR, Members, members
from adapt.scan.pairs import content
from adapt.settings.commands import ScanConfig
from adapt.settings.groups import DataConfig
from benchmarks.measure import resident, settings

Rng = np.random.Generator

# ---- swaps


def at_random(count: int, chosen: int, rng: Rng) -> np.ndarray:
    """(N,) whose x2 the pair at each place gets."""
    places, order = rng.choice(count, chosen, replace=False), np.arange(count)
    order[places] = np.roll(places, 1)
    return order


def neighbours(count: int, chosen: int, rng: Rng) -> np.ndarray:
    order = np.arange(count)
    for first in 2 * rng.choice(count // 2, max(1, chosen // 2), replace=False):
        order[[first, first + 1]] = first + 1, first
    return order


def judged(found: Members, order: np.ndarray, records: Records, scan: ScanConfig) -> Counter[str]:
    """What scan says of the pairs in another order of x2, counted."""
    pairs = sorted(found.paired, key=lambda s: s.name)
    shuffled = [replace(s, x2=pairs[k].x2) for s, k in zip(pairs, order, strict=True)]
    findings, _ = content(replace(found, lists={"all": shuffled}), records, scan)
    marked = {f.details["name"]: f for f in findings if f.kind == "pair"}
    counts = Counter(pairs=len(pairs))
    for sample, k in zip(shuffled, order, strict=True):
        wrong, finding = sample.name != pairs[k].name, marked.get(sample.name)
        counts["planted"] += wrong
        if finding is not None:
            right = "found" if wrong else "false"
            counts[right] += 1
            counts[f"{right} as error"] += finding.severity == ERROR
            counts["named"] += wrong and finding.details.get("partner") == pairs[k].name
    return counts


def rates(counts: Counter[str]) -> dict[str, float]:
    """Recall and precision of all findings and of errors, and how often the partner is named."""

    def share(part: str, *whole: str) -> float:
        every = sum(counts[name] for name in whole)
        return counts[part] / every if every else float("nan")

    return {
        "pairs": counts["pairs"],
        "planted": counts["planted"],
        "recall": share("found", "planted"),
        "precision": share("found", "found", "false"),
        "recall_errors": share("found as error", "planted"),
        "precision_errors": share("found as error", "found as error", "false as error"),
        "partner_named": share("named", "found"),
        "false_alarms": counts["false"],
        "false_errors": counts["false as error"],
    }


def swaps(given: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for target in given.target:
        shift, _, folder = target.partition("=")
        scan = ScanConfig(DataConfig(name=given.data, root=given.root, target=folder))
        found = members(scan.data)
        count = len(found.paired)
        jobs = found.jobs(described=True)
        records, _ = apart(of_all(measure, jobs, scan.workers, "scan"))
        trials = [("none", 0.0, [np.arange(count)])]
        for share in given.share:
            chosen = max(2, round(share * count))
            for kind, swap in (("random", at_random), ("neighbour", neighbours)):
                seeds = (np.random.default_rng(seed) for seed in range(given.seeds))
                trials.append((kind, share, [swap(count, chosen, seed) for seed in seeds]))
        for kind, share, orders in trials:
            counts = sum((judged(found, order, records, scan) for order in orders), Counter())
            rows.append({"shift": shift, "swapped": kind, "share": share, **rates(counts)})
            row = rows[-1].values()
            print(" ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    return rows


# ---- near


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def cut(image: np.ndarray, share: float) -> np.ndarray:
    """Without a margin, in all `share` of each side."""
    rows, columns = (round(share / 2 * n) for n in image.shape[:2])
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def bytes_of(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def stamped(image: np.ndarray) -> np.ndarray:
    """A white box in the corner, a sixth of each side."""
    copy = image.copy()
    copy[: image.shape[0] // 6, : image.shape[1] // 6] = 255
    return copy


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 90": lambda a: jpeg(a, 90),
    "JPEG, quality 30": lambda a: jpeg(a, 30),
    "half the size": lambda a: cv2.resize(a, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "Gaussian blur, 2 pixels": lambda a: cv2.GaussianBlur(a, (0, 0), 2),
    "noise, 10 of 255": lambda a: bytes_of(a + np.random.default_rng(0).normal(0, 10, a.shape)),
    "1.2 times brighter and 10 more": lambda a: bytes_of(1.2 * a + 10),
    "gamma 0.8": lambda a: bytes_of(255 * (a / 255) ** 0.8),
    "margins of 2 % cut off": lambda a: cut(a, 0.02),
    "margins of 5 % cut off": lambda a: cut(a, 0.05),
    "a white box in the corner": stamped,
}


def hashed(image: np.ndarray) -> np.ndarray:
    return perceptual_hash(cv2.resize(grey(image), (64, 64), interpolation=cv2.INTER_AREA))


def bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a ^ b).sum(axis=-1)


def near(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    found = members(DataConfig(name=given.data, root=given.root))
    distances: dict[str, list[int]] = {name: [] for name in COPIES}
    hashes: dict[str, np.ndarray] = {}
    for split, samples in found.lists.items():
        listed = []
        for place, sample in enumerate(progress(samples, what=split)):
            image = read_image(sample.x1)
            listed.append(hashed(image))
            if place % 4 == 0:
                for name, change in COPIES.items():
                    distances[name].append(int(bits(hashed(change(image)), listed[-1])))
        hashes[split] = np.stack(listed)
        distances[f"successive in {split}"] = bits(hashes[split][1:], hashes[split][:-1]).tolist()
    for split in found.evaluated:
        apart = bits(hashes[found.training][:, None], hashes[split][None])
        distances[f"{found.training} and {split}"] = apart.ravel().tolist()
    heads = ("least", "median", "greatest")
    rows = {
        name: dict(zip(heads, np.quantile(values, (0, 0.5, 1)).tolist(), strict=True))
        for name, values in distances.items()
    }
    for name, row in rows.items():
        print(f"{name:<32}" + "".join(f"{value:>8.0f}" for value in row.values()))
    return rows


# ---- size


def made(count: int) -> tuple[Members, dict[tuple[Path, str], Record]]:
    """Members with 90 % of the pairs for training, and their records."""
    rng, dimensions, scene_size = np.random.default_rng(0), 576, 40
    old, new = rng.normal(size=(2, scene_size, dimensions))
    new = 0.7 * old + 0.3 * new
    scenes = rng.normal(size=(count, scene_size)).astype(np.float32)
    order = at_random(count, count // 20, rng)
    records: dict[tuple[Path, str], Record] = {}
    samples = []
    for i in range(count):
        paths = Path(f"old/{i:08d}.png"), Path(f"new/{i:08d}.png")
        for path, scene, mixing in zip(paths, (i, order[i]), (old, new), strict=True):
            values = scenes[scene] @ mixing + 3 * rng.normal(size=dimensions)
            records[path, IMAGE] = Record(
                path, IMAGE, mode="RGB", size=(360, 480), digest=rng.bytes(32),
                hashes=rng.integers(0, 2**64, (2, 4), np.uint64),
                descriptor=values.astype(np.float16),
            )  # fmt: skip
        samples.append(Sample(f"{i:08d}", paths[0], x2=paths[1]))
    lists = {"train": samples[: 9 * count // 10], "val": samples[9 * count // 10 :]}
    return Members(lists, "train"), records


def size(given: argparse.Namespace) -> dict[str, float]:
    (found, records), config = made(given.images), ScanConfig()
    rows = {"exchanged": given.images // 20, "MB before": resident() / 2**20}
    start = time.perf_counter()
    rows["doubted"] = len(content(found, records, config)[0])
    middle = time.perf_counter()
    for side in ("x1", "x2"):
        list(checks.exact(found, records, side))
        checks.near(found, records, side, config.near)
    rows |= {"s for the pairs": middle - start, "s for duplicates": time.perf_counter() - middle}
    rows["MB at most"] = resident(peak=True) / 2**20
    print("\n".join(f"{name:<24}{value:10.0f}" for name, value in rows.items()))
    return rows


WHAT = {"swaps": swaps, "near": near, "size": size}


def main() -> None:
    given = settings(
        __doc__, tuple(WHAT), data="camvid", root="", target=[""], share=[0.05], seeds=10,
        images=100_000,
    )  # fmt: skip
    found = WHAT[given.what](given)
    if given.out.endswith(".json"):
        write_json(Path(given.out), found)


if __name__ == "__main__":
    main()
