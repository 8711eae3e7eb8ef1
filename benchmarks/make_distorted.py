"""scripts/make_distorted_voc.py with one worker, labels and digests included, image by image.

    python benchmarks/make_distorted.py [--images DIR] [--count 20] [--rounds 5] [--gegl 3]

Against one `gegl` process per image, and against encoding the same pixels alone: by the product's
PNG encoder and by Pillow's defaults. All on one core, interleaved (benchmarks/measure.py), in
seconds an image. `--images` are photographs, which are brought to the size and saved as JPEG;
without it scenes are drawn. The folder is a temporary one (TMPDIR), whose disk counts, and so does
what a call does once (it empties the folder, flushes the disk): many images make it small.
"""

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
from PIL import Image

from adapt.data.images import png, read_image, write_png
from adapt.data.scenes import draw_scene
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from benchmarks.image_files import jpeg, originals
from benchmarks.measure import Variant, measure, record, report
from transforms import FILTERS


def write_tree(root: Path, images: list[np.ndarray]) -> None:
    """The images as VOC's layout has them: JPEG, palette masks (of scenes), a list."""
    lists = root / "ImageSets" / "Segmentation"
    for folder in (root / "JPEGImages", root / "SegmentationClass", lists):
        folder.mkdir(parents=True)
    for number, image in enumerate(images):
        label = draw_scene(0, number, image.shape[:2])[1]
        (root / "JPEGImages" / f"{number:06d}.jpg").write_bytes(jpeg(image))
        write_png(root / "SegmentationClass" / f"{number:06d}.png", label, [0] * 768)
    names = "".join(f"{number:06d}\n" for number in range(len(images)))
    (lists / "train.txt").write_text(names)


def whole(root: Path, out: Path, name: str) -> None:
    """The product's own path, into a new folder."""
    shutil.rmtree(out, ignore_errors=True)
    data = DataConfig(name="voc", root=str(root), train_split="train")
    make_distorted(DistortConfig(data=data, shift=ShiftConfig(name), out=str(out), workers=1))


def each(count: int, action: Callable[..., object], *given: object) -> Variant:
    """`action(*given)` on so many images, as a variant that tells its seconds an image."""

    def timed() -> float:
        started = time.perf_counter()
        action(*given)
        return (time.perf_counter() - started) / count

    return timed


def encoded(encode: Callable[[np.ndarray], bytes], images: list[np.ndarray]) -> int:
    """Bytes of all images."""
    return sum(len(encode(image)) for image in images)


def pillow(image: np.ndarray) -> bytes:
    """As `Image.save` encodes by default: zlib's level 6, filters chosen row by row."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def processes(root: Path, folder: Path, name: str, size: tuple[int, int], count: int) -> None:
    """One `gegl` process an image, from JPEG to 8-bit PNG."""
    height, width = size
    crop = ["gegl:crop", "x=0", "y=0", f"width={width}", f"height={height}"]
    for path in sorted((root / "JPEGImages").iterdir())[:count]:
        save = ["gegl:png-save", f"path={folder / path.stem}.png", "bitdepth=8"]
        line = ["gegl", str(path), "--", f"gegl:{name}", *crop, *save]
        subprocess.run(line, capture_output=True, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="", help="a folder of photographs")
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), metavar=("W", "H"))
    parser.add_argument("--count", type=int, default=20, help="images of a turn")
    parser.add_argument("--gegl", type=int, default=3, help="gegl processes of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="benchmarks/make_distorted.jsonl")
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # gegl's processes as well
    cv2.setNumThreads(1)
    width, height = given.size
    variants: dict[str, Variant] = {}
    pairs, sizes = [], {}
    if there := shutil.which("gegl") is not None:
        os.environ["GEGL_THREADS"] = "1"
    else:
        print("gegl processes are left out: no program `gegl` is installed")
    with tempfile.TemporaryDirectory() as temporary:
        root, saved = Path(temporary, "d1"), Path(temporary, "gegl")
        saved.mkdir()
        write_tree(root, originals(given.images, given.count, (height, width)))
        for name in FILTERS:
            out = Path(temporary, name)
            whole(root, out, name)
            files = sorted((out / "JPEGImages").iterdir())
            filtered = [read_image(path) for path in files]
            ours = f"{name}: make_distorted_voc"
            variants[ours] = each(given.count, whole, root, out, name)
            for what, encode in (("our encoder", png), ("Pillow's encoder", pillow)):
                sizes[f"{name}, {what}"] = encoded(encode, filtered) / given.count
                variants[f"{name}: {what}"] = each(given.count, encoded, encode, filtered)
                pairs.append((ours, f"{name}: {what}"))
            if there:
                theirs = f"{name}: a gegl process"
                to = (root, saved, name, (height, width), given.gegl)
                variants[theirs] = each(given.gegl, processes, *to)
                pairs.append((theirs, ours))
        seconds = measure(variants, given.rounds)
    print()
    for what, values in seconds.items():
        middle = statistics.median(values)
        print(f"{what:<36} {1 / middle:8.1f} images/s {1000 * middle:8.2f} ms")
    for what, size in sizes.items():
        print(f"{what:<36} {size:10,.0f} bytes an image")
    more = {"size": [height, width], "images": given.count, "bytes": sizes}
    record(given.out, seconds, report(seconds, pairs), photographs=bool(given.images), **more)


if __name__ == "__main__":
    main()
