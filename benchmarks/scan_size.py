"""Seconds and memory that scan needs beside decoding, on records of images that do not exist.

    python benchmarks/scan_size.py [--images 100000]

The descriptors of a pair share a random scene of 40 numbers; 5 % of the pairs are exchanged.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from adapt.data import Sample
from adapt.scan.checks import exact, near
from adapt.scan.measure import IMAGE, Record
from adapt.scan.members import Members
from adapt.scan.pairs import content
from adapt.settings.commands import ScanConfig

DIMENSIONS, SCENE, NOISE = 576, 40, 3.0


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made(count: int) -> tuple[Members, dict[tuple[Path, str], Record], int]:
    """Members with 90 % of the pairs for training, their records, and how many are exchanged."""
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, SCENE, DIMENSIONS))
    new = 0.7 * old + 0.3 * new
    scenes = rng.normal(size=(count, SCENE)).astype(np.float32)
    order = np.arange(count)
    wrong = rng.choice(count, count // 20, replace=False)
    order[wrong] = np.roll(wrong, 1)
    records = {}
    lists: dict[str, list[Sample]] = {"train": [], "val": []}
    for i in range(count):
        paths = Path(f"old/{i:08d}.png"), Path(f"new/{i:08d}.png")
        for path, scene, mixing in zip(paths, (i, order[i]), (old, new), strict=True):
            values = scenes[scene] @ mixing + NOISE * rng.normal(size=DIMENSIONS)
            records[path, IMAGE] = Record(
                path, IMAGE, mode="RGB", size=(360, 480), digest=rng.bytes(32),
                hashes=rng.integers(0, 2**64, (2, 4), np.uint64),
                descriptor=values.astype(np.float16),
            )  # fmt: skip
        lists["train" if i < 0.9 * count else "val"].append(
            Sample(f"{i:08d}", paths[0], x2=paths[1])
        )
    return Members(lists, "train"), records, len(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    given = parser.parse_args()
    print(f"{megabytes():6.0f} MB before")
    members, records, wrong = made(given.images)
    print(f"{megabytes():6.0f} MB with {len(records)} records")
    start = time.perf_counter()
    findings, _ = content(members, records, ScanConfig())
    print(f"{megabytes():6.0f} MB, {time.perf_counter() - start:.0f} s for the pairs: "
          f"{len(findings)} doubted, {wrong} exchanged")  # fmt: skip
    start = time.perf_counter()
    for side in ("x1", "x2"):
        list(exact(members, records, side))
        near(members, records, side, ScanConfig().near)
    print(f"{megabytes():6.0f} MB, {time.perf_counter() - start:.0f} s for the duplicates")


if __name__ == "__main__":
    main()
