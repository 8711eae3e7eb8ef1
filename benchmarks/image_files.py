"""What image files cost: bytes of an image in each format, and images a second of one core.

    python benchmarks/image_files.py [--images DIR] [--size 500 375] [--crop 321] [--count 32]
                                     [--rounds 10] [--out FILE]

The rates are those of the product's own stream of pairs (adapt/data/sampling.py): read strictly,
crop and flip both sides alike, as uint8. `--images` are photographs, which are brought to the size;
without it scenes are drawn.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np

from adapt.data import DataSet, Sample
from adapt.data.images import png, read_image
from adapt.data.sampling import Stream
from adapt.data.scenes import draw_scene
from adapt.settings.groups import DataConfig
from benchmarks.measure import Variant, measure, record

QUALITY = 90


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


FORMATS: dict[str, Callable[[np.ndarray], bytes]] = {"jpeg": jpeg, "png": png}


def originals(folder: str, count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """uint8 (H, W, 3), spread evenly over the folder's images, or drawn."""
    if not folder:
        return [draw_scene(0, index, size)[0] for index in range(count)]
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix in (".png", ".jpg"))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    return [cv2.resize(read_image(path), size[::-1]) for path in chosen]


def stream_of(folder: Path, images: list[np.ndarray], suffix: str, crop: int) -> Stream:
    """Pairs of files, x1 and x2 being different images."""
    paths = [folder / f"{number}.{suffix}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(FORMATS[suffix](image))
    pairs = zip(paths, paths[1:] + paths[:1], strict=True)
    samples = tuple(Sample(one.stem, one, None, other) for one, other in pairs)
    config = DataConfig(crop=[crop, crop], flip=True)
    return Stream(DataSet("none", "train", (), (), samples), config, ("x1", "x2"), seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="", help="a folder of photographs")
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), metavar=("W", "H"))
    parser.add_argument("--crop", type=int, default=321)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", default="benchmarks/image_files.jsonl")
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    width, height = given.size
    images = originals(given.images, given.count, (height, width))
    sizes = {"raw": 3 * width * height}
    variants: dict[str, Variant] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in FORMATS:
            folder = Path(temporary, name)
            folder.mkdir()
            stream = stream_of(folder, images, name, given.crop)
            sizes[name] = round(statistics.mean(p.stat().st_size for p in folder.iterdir()))
            variants[name] = lambda s=stream: len([s[i] for i in range(given.count)])
        seconds = measure(variants, given.rounds)
    rates = {k: 2 * given.count / statistics.median(v) for k, v in seconds.items()}
    print(f"{width}x{height}, JPEG quality {QUALITY}; crop {given.crop}, one core")
    for name, size in sizes.items():
        rate = f"{rates[name]:8.0f} images/s" if name in rates else ""
        print(f"{name:<6} {size:9,} bytes an image {rate}")
    more = {"size": [height, width], "crop": given.crop, "quality": QUALITY, "rates": rates}
    record(given.out, seconds, [], bytes=sizes, photographs=bool(given.images), **more)


if __name__ == "__main__":
    main()
