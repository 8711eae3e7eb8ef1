"""Decode, paired crop and flip of JPEG pairs: ours against what users write, images a second.

    python benchmarks/data_path.py [--rounds 20] [--images DIR] [--pairs 32] [--size 375 500]
                                   [--crop 321 321] [--quality 95] [--workers 1 2]

Without --images the pairs are the embedded scenes drawn at --size; those of a folder are brought
to it. Ours is `Stream` with all its checks, as training reads it, and gives uint8; normalisation
follows on the device and is timed apart. `v2` is PIL and torchvision's transforms v2 up to
normalised floats, `v2 uint8` the same without the last two of them; `albumentations` reads with
OpenCV and gives uint8. First one process on one core; then DataLoader's worker processes, so many
batches on their way before the clock starts as when it stops.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from adapt.data import DataSet, Sample
from adapt.data.files import stems
from adapt.data.images import read_image
from adapt.data.sampling import Stream, batches
from adapt.data.scenes import draw_scene
from adapt.machine.runtime import runtime
from adapt.networks.taps import normalise
from adapt.settings.groups import IMAGENET_MEAN, IMAGENET_STD, DataConfig
from benchmarks.measure import Variant, measure, record, report

BATCH = 8
GPU_RATES = (2300, 6400)
"""Images a second that an H100 takes, from a slow step to a fast one."""


class Usual(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs as torchvision's documentation reads them: one transform for both images."""

    def __init__(self, pairs: Sequence[Sample], crop: Sequence[int], *, floats: bool) -> None:
        steps: list[torch.nn.Module] = [v2.RandomCrop(list(crop)), v2.RandomHorizontalFlip()]
        if floats:
            steps += [v2.ToDtype(torch.float32, scale=True)]
            steps += [v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        self.pairs, self.transform = pairs, v2.Compose(steps)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        pair = self.pairs[position % len(self.pairs)]
        opened = (Image.open(path).convert("RGB") for path in (pair.x1, pair.x2))
        return self.transform(*(tv_tensors.Image(image) for image in opened))


class Albumentations(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs by OpenCV and one albumentations.Compose."""

    def __init__(self, pairs: Sequence[Sample], crop: Sequence[int]) -> None:
        steps = [A.RandomCrop(*crop), A.HorizontalFlip()]
        self.transform = A.Compose(steps, additional_targets={"x2": "image"})
        self.pairs = pairs

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        pair = self.pairs[position % len(self.pairs)]
        x1, x2 = (cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in (pair.x1, pair.x2))
        moved = self.transform(image=x1, x2=x2)
        x1, x2 = (torch.from_numpy(np.ascontiguousarray(moved[k])) for k in ("image", "x2"))
        return x1.permute(2, 0, 1), x2.permute(2, 0, 1)


def write_pairs(folder: Path, given: argparse.Namespace) -> list[Sample]:
    """JPEG pairs of the asked size: neighbours in --images, or the embedded scenes."""
    height, width = given.size
    files = list(stems(Path(given.images)).values()) if given.images else []
    paths = []
    for i in range(2 * given.pairs):
        if files:
            found = read_image(files[i % len(files)])
            pixels = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA)
        else:
            pixels = draw_scene(0, i, (height, width))[0]
        paths.append(folder / f"{i:05d}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=given.quality)
    return [
        Sample(f"s{i}", a, x2=b)
        for i, (a, b) in enumerate(zip(paths[::2], paths[1::2], strict=True))
    ]


Source = Callable[[int], Iterator[Any]]
"""Number of worker processes -> batches without end."""


def sources(pairs: list[Sample], crop: list[int]) -> dict[str, Source]:
    data = DataSet("pairs", "train", (), (), tuple(pairs))

    def ours(cache: bool) -> Source:
        stream = Stream(data, DataConfig(crop=crop, cache=cache), ("x1", "x2"), 0)
        for sample in pairs if cache else ():
            stream.decode(sample)
        return lambda workers: batches(stream, BATCH, 0, 10**6, workers)

    def usual(dataset: Dataset) -> Source:
        def endless(workers: int) -> Iterator[Any]:
            every = ([BATCH * t + i for i in range(BATCH)] for t in itertools.count())
            return iter(DataLoader(dataset, batch_sampler=every, num_workers=workers))

        return endless

    return {
        "ours": ours(cache=False),
        "ours cached": ours(cache=True),
        "v2": usual(Usual(pairs, crop, floats=True)),
        "v2 uint8": usual(Usual(pairs, crop, floats=False)),
        "albumentations": usual(Albumentations(pairs, crop)),
    }


def alone(source: Source, count: int) -> Variant:
    """Seconds for `count` batches in this process."""
    found = source(0)

    def timed() -> float:
        started = time.perf_counter()
        for _ in range(count):
            next(found)
        return time.perf_counter() - started

    return timed


def shared(source: Source, count: int, workers: int) -> Variant:
    """Seconds for `count` batches by worker processes that are under way."""

    def timed() -> float:
        found = source(workers)
        for _ in range(2 * workers + 1):  # DataLoader's prefetch_factor is 2
            next(found)
        started = time.perf_counter()
        for _ in range(count):
            next(found)
        return time.perf_counter() - started

    return timed


def on_device(source: Source, count: int) -> Variant:
    """Bring `count` batches to the device and normalise them: what ours leaves to it."""
    machine = runtime("auto", "fp32")
    batch = next(source(0))

    def step() -> None:
        for _ in range(count):
            for side in ("x1", "x2"):
                normalise(machine.images(batch[side]), IMAGENET_MEAN, IMAGENET_STD)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", default="", help="folder of images; default: embedded scenes")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=[375, 500])
    parser.add_argument("--crop", type=int, nargs=2, default=[321, 321])
    parser.add_argument("--quality", type=int, default=95)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--out", default="benchmarks/data_path.jsonl")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count = max(1, given.pairs // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), given)
        size = statistics.mean(p.stat().st_size for p in Path(folder).iterdir())
        print(f"{2 * given.pairs} JPEGs of {given.size[0]}x{given.size[1]}, {size / 1e3:.0f} kB "
              f"each, from {given.images or 'the embedded scenes'}")  # fmt: skip
        every, cores = sources(pairs, given.crop), os.sched_getaffinity(0)
        variants = {name: alone(source, count) for name, source in every.items()}
        variants["normalise"] = on_device(every["ours"], count)
        os.sched_setaffinity(0, {max(cores)})
        seconds = measure(variants, given.rounds)
        os.sched_setaffinity(0, cores)
        crowd = {
            f"{name}, {workers} workers": shared(every[name], count, workers)
            for workers in given.workers
            for name in ("ours", "ours cached", "v2")
        }
        seconds |= measure(crowd, given.rounds) if crowd else {}
    seconds["ours, normalised"] = [
        a + b for a, b in zip(seconds["ours"], seconds["normalise"], strict=True)
    ]
    others = ("v2", "v2 uint8", "albumentations")
    ratios = [(a, b) for a in others for b in ("ours", "ours cached")]
    rows = report(seconds, [*ratios, ("v2", "ours, normalised")])
    rates = {k: 2 * BATCH * count / statistics.median(v) for k, v in seconds.items()}
    table(rates, given.workers)
    libraries = ("albumentations", "pillow", "torchvision")
    more = {"peers": {name: version(name) for name in libraries}, "kilobytes": size / 1e3}
    record(given.out, seconds, rows, images_per_second=rates, **more)


def table(rates: dict[str, float], workers: Sequence[int]) -> None:
    """Images a second, and the cores that feed an H100, by how many processes read."""
    wanted = "".join(f"{f'cores for {rate:,}/s':>20}" for rate in GPU_RATES)
    print(f"\n{'':<28}{'images/s':>10}{'per process':>13}{wanted}")
    for name, rate in rates.items():
        crowd = next((w for w in workers if name.endswith(f", {w} workers")), 1)
        needed = "".join(f"{wish / rate * crowd:>20.1f}" for wish in GPU_RATES)
        print(f"{name:<28}{rate:>10,.0f}{rate / crowd:>13,.0f}{needed}")


if __name__ == "__main__":
    main()
