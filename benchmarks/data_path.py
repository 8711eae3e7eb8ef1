"""Decode, paired crop and flip of image pairs: ours against what users write, images a second.

    python benchmarks/data_path.py [--rounds 20] [--images DIR] [--pairs 32] [--size 375 500]
                                   [--crop 321 321] [--quality 95] [--workers 1 2]

Without --images the pairs are embedded scenes; images of a folder are brought to --size (H W).
Ours is `Stream` with all its checks, as training reads it, from JPEG, PNG or memory, and gives
uint8; normalisation follows on the device and is timed apart. `v2` is PIL and torchvision's
transforms v2 up to normalised floats, `v2 uint8` the same without the last two of them;
`albumentations` reads with OpenCV and gives uint8; `bare` is simplejpeg's decoding of both files,
nothing else. First one process on one core; then DataLoader's worker processes, with as many
batches on their way before the clock starts as when it stops.
"""

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from adapt.data import DataSet, Sample
from adapt.data.images import png, read_image
from adapt.data.sampling import Stream, batches
from adapt.data.scenes import draw_scene
from adapt.machine.runtime import runtime
from adapt.networks.preprocessing import as_input
from adapt.settings.groups import DataConfig
from benchmarks.measure import Variant, conclude, measure, one_core, settings, timed
from benchmarks.steps import MEAN, NETWORK, STD

BATCH = 8
Source = Callable[[int], Iterator[Any]]
"""Number of worker processes -> batches without end."""
Read = Callable[[Path, Path], Any]
"""Files of x1 and x2 -> what a batch is made of."""


def originals(folder: str, count: int, size: Sequence[int]) -> list[np.ndarray]:
    """uint8 (H, W, 3): images spread evenly over a folder and brought to a size, or drawn."""
    height, width = size
    if not folder:
        return [draw_scene(0, index, (height, width))[0] for index in range(count)]
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix in (".png", ".jpg"))
    found = (read_image(paths[index * len(paths) // count]) for index in range(count))
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in found]


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def write_pairs(folder: Path, suffix: str, encoded: list[bytes]) -> list[Sample]:
    """Files of images, neighbours as x1 and x2."""
    paths = [folder / f"{number:05d}.{suffix}" for number in range(len(encoded))]
    for path, content in zip(paths, encoded, strict=True):
        path.write_bytes(content)
    return [Sample(a.stem, a, x2=b) for a, b in zip(paths[::2], paths[1::2], strict=True)]


def torchvision_pair(crop: list[int], *, floats: bool) -> Read:
    """As torchvision's documentation reads pairs: one transform for both images."""
    steps: list[torch.nn.Module] = [v2.RandomCrop(crop), v2.RandomHorizontalFlip()]
    if floats:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    transform = v2.Compose(steps)

    def read(*paths: Path) -> Any:
        return transform(*(tv_tensors.Image(Image.open(path).convert("RGB")) for path in paths))

    return read


def albumentations_pair(crop: list[int]) -> Read:
    """OpenCV and one albumentations.Compose."""
    import albumentations as A  # after adapt, which tells it not to ask the network for news

    steps = [A.RandomCrop(*crop), A.HorizontalFlip()]
    transform = A.Compose(steps, additional_targets={"x2": "image"})

    def read(*paths: Path) -> Any:
        x1, x2 = (cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in paths)
        moved = transform(image=x1, x2=x2)
        arrays = (np.ascontiguousarray(moved[key]) for key in ("image", "x2"))
        return tuple(torch.from_numpy(array).permute(2, 0, 1) for array in arrays)

    return read


class Usual(Dataset[Any]):
    def __init__(self, pairs: Sequence[Sample], read: Read) -> None:
        self.pairs, self.read = pairs, read

    def __getitem__(self, position: int) -> Any:
        pair = self.pairs[position % len(self.pairs)]
        return self.read(pair.x1, pair.x2)


def ours(pairs: list[Sample], crop: list[int], cache: bool = False) -> Source:
    data = DataSet("pairs", "train", (), (), tuple(pairs))
    stream = Stream(data, DataConfig(crop=crop, cache=cache), ("x1", "x2"), 0)
    for sample in pairs if cache else ():
        stream.decode(sample)
    return lambda workers: batches(stream, BATCH, 0, 10**4, workers)


def usual(pairs: list[Sample], read: Read) -> Source:
    def endless(workers: int) -> Iterator[Any]:
        every = ([BATCH * t + i for i in range(BATCH)] for t in itertools.count())
        return iter(DataLoader(Usual(pairs, read), batch_sampler=every, num_workers=workers))

    return endless


def shared(source: Source, count: int, workers: int) -> Variant:
    """Seconds for `count` batches by worker processes that are under way."""

    def measured() -> float:
        found = source(workers)
        for _ in range(2 * workers + 1):  # DataLoader's prefetch_factor is 2
            next(found)
        return timed(lambda: [next(found) for _ in range(count)])

    return measured


def main() -> None:
    given = settings(
        __doc__, rounds=20, images="", pairs=32, size=[375, 500], crop=[321, 321], quality=95,
        workers=[1, 2],
    )  # fmt: skip
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = originals(given.images, 2 * given.pairs, given.size)
    with tempfile.TemporaryDirectory() as temporary:
        folder, cores = Path(temporary), os.sched_getaffinity(0)
        encoded = {"jpeg": [jpeg(image, given.quality) for image in images]}
        encoded["png"] = [png(image) for image in images]
        sizes = {kind: round(statistics.mean(map(len, found))) for kind, found in encoded.items()}
        sizes["raw"] = images[0].size
        pairs = write_pairs(folder, "jpg", encoded["jpeg"])
        every = {
            "ours": ours(pairs, given.crop),
            "ours PNG": ours(write_pairs(folder, "png", encoded["png"]), given.crop),
            "ours cached": ours(pairs, given.crop, cache=True),
            "v2": usual(pairs, torchvision_pair(given.crop, floats=True)),
            "v2 uint8": usual(pairs, torchvision_pair(given.crop, floats=False)),
            "albumentations": usual(pairs, albumentations_pair(given.crop)),
        }
        count, machine = max(1, given.pairs // BATCH), runtime("auto", "fp32")
        streams = {name: source(0) for name, source in every.items()}
        variants: dict[str, Variant] = {
            name: lambda found=found: [next(found) for _ in range(count)]
            for name, found in streams.items()
        }
        files = [p for pair in pairs[: BATCH * count] for p in (pair.x1, pair.x2) if p]
        variants["bare"] = lambda: [simplejpeg.decode_jpeg(p.read_bytes()) for p in files]
        sides = [next(every["ours"](0))[side] for _ in range(count) for side in ("x1", "x2")]
        variants["normalise"] = lambda: [as_input(machine.images(x), NETWORK) for x in sides]
        one_core()
        seconds = measure(variants, given.rounds)
        os.sched_setaffinity(0, cores)
        crowd = {
            f"{name}, {workers} workers": shared(every[name], count, workers)
            for workers in given.workers
            for name in ("ours", "ours cached", "v2")
        }
        seconds |= measure(crowd, given.rounds) if crowd else {}
    both = zip(seconds["ours"], seconds["normalise"], strict=True)
    seconds["ours, normalised"] = [reading + rest for reading, rest in both]
    wanted = [(a, b) for a in ("v2", "v2 uint8", "albumentations") for b in ("ours", "ours cached")]
    wanted += [("v2", "ours, normalised"), ("bare", "ours")]
    print(", ".join(f"{kind} {size:,} bytes an image" for kind, size in sizes.items()))
    about = {"bytes": sizes, "size": given.size, "quality": given.quality}
    conclude(given.out, seconds, wanted, 2 * BATCH * count, **about)


if __name__ == "__main__":
    main()
