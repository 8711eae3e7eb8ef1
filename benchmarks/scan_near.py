"""In how many of 256 bits the hashes of copies, of successive frames and of other images differ.

    python benchmarks/scan_near.py --data camvid --root DIR [--out results/scan_near.json]

Copies are made of every fourth image of every list; successive are the names of a list in order,
which in a video are frames; others are all pairs of a training with an evaluation image.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np

from adapt.data.images import read_image
from adapt.disk.files import write_json
from adapt.machine.runtime import progress
from adapt.scan.measure import grey, perceptual_hash
from adapt.scan.members import members
from adapt.settings.groups import DataConfig


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def cut(image: np.ndarray, share: float) -> np.ndarray:
    """Without a margin, in all `share` of each side."""
    rows, columns = (round(share / 2 * n) for n in image.shape[:2])
    return image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def stamped(image: np.ndarray) -> np.ndarray:
    """A white box in the corner, a sixth of each side."""
    height, width = image.shape[:2]
    copy = image.copy()
    copy[: height // 6, : width // 6] = 255
    return copy


def noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 10, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 90": lambda a: jpeg(a, 90),
    "JPEG, quality 30": lambda a: jpeg(a, 30),
    "half the size": lambda a: cv2.resize(a, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "Gaussian blur, 2 pixels": lambda a: cv2.GaussianBlur(a, (0, 0), 2),
    "noise, 10 of 255": noisy,
    "1.2 times brighter and 10 more": lambda a: np.clip(1.2 * a + 10, 0, 255).astype(np.uint8),
    "gamma 0.8": lambda a: (255 * (a / 255) ** 0.8).astype(np.uint8),
    "margins of 2 % cut off": lambda a: cut(a, 0.02),
    "margins of 5 % cut off": lambda a: cut(a, 0.05),
    "a white box in the corner": stamped,
}


def hashed(image: np.ndarray) -> np.ndarray:
    return perceptual_hash(cv2.resize(grey(image), (64, 64), interpolation=cv2.INTER_AREA))


def bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(a ^ b).sum(axis=-1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="camvid")
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", default="")
    given = parser.parse_args()
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
    rows = {
        name: dict(zip(("least", "median", "greatest"), np.quantile(d, (0, 0.5, 1)), strict=True))
        for name, d in distances.items()
    }
    for name, row in rows.items():
        print(f"{name:<32}" + "".join(f"{value:>8.0f}" for value in row.values()))
    if given.out:
        write_json(Path(given.out), rows)


if __name__ == "__main__":
    main()
