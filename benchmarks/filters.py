"""The filters against GEGL, alone and in a data set's twin, and on batches.

    python benchmarks/filters.py [--rounds 20] [--images DIR] [--size 375 500]
    python benchmarks/filters.py twin [--count 20] [--gegl 3] [--rounds 5]
    python benchmarks/filters.py batched [--batch 4]     # the versions for tensors

The first compares the functions with one bicubic `cv2.remap` of the image, with GEGL in process and
with a `gegl` process for each image.
`twin` is make_distorted_voc with one worker, labels and digests included, against a `gegl` process
for each image and against encoding the same pixels alone: by the product's PNG encoder and by
Pillow's defaults. Its folder is a temporary one (TMPDIR), whose disk counts; what a call does once
counts too, and many images make it small. All run on one core; GEGL is left out where it is not
installed (benchmarks/gegl_once.py says how), and results are compared where it is. Without
--images, photographs that are brought to --size (H W), scenes are drawn.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
import torch
from PIL import Image

import transforms.torch as tensors
from adapt.data.images import png, read_image
from adapt.data.scenes import write_scenes
from adapt.machine.runtime import runtime
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from benchmarks.data_path import jpeg, originals
from benchmarks.measure import Variant, conclude, measure, one_core, settings, timed
from transforms import FILTERS, ripple_displacement

GEGL_DEFAULTS: dict[str, dict[str, Any]] = {
    "photocopy": {},
    "ripple": {"abyss-policy": 1},  # clamp; none, which is transparent, where it is not said
    "cubism": {"bg-color": "#000000"},
}
GIMP = {name: FILTERS[name] for name in GEGL_DEFAULTS}
Images = list[np.ndarray]


def gegl_in_process(op: str, image: np.ndarray) -> tuple[float, np.ndarray]:
    """GEGL's own seconds, and the filtered uint8 (H, W, 3); OSError where it is not installed."""
    height, width = image.shape[:2]
    request = {"op": op, "parameters": GEGL_DEFAULTS[op], "width": width, "height": height}
    done = subprocess.run(
        ["/usr/bin/python3", str(Path(__file__).with_name("gegl_once.py"))],
        input=json.dumps(request).encode() + b"\n" + image.tobytes(), capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise OSError(done.stderr.decode())
    seconds, _, raw = done.stdout.partition(b"\n")
    return float(seconds), np.frombuffer(raw, np.uint8).reshape(image.shape)


def gegl(source: Path, name: str, target: Path, shape: tuple[int, ...]) -> None:
    """One `gegl` process, from a JPEG to an 8-bit PNG."""
    crop = ["gegl:crop", "x=0", "y=0", f"width={shape[1]}", f"height={shape[0]}"]
    save = ["gegl:png-save", f"path={target}", "bitdepth=8"]
    command = ["gegl", str(source), "--", f"gegl:{name}", *crop, *save]
    subprocess.run(command, capture_output=True, check=True)


def speed(given: argparse.Namespace, images: Images, folder: Path) -> None:
    """A filter alone, and from file to file."""
    image, source, target = images[0], folder / "in.jpg", folder / "out.png"
    source.write_bytes(jpeg(image, 92))
    moved = np.indices(image.shape[:2])[::-1] + np.moveaxis(
        ripple_displacement(image.shape[:2]), 2, 0
    )
    remap = partial(cv2.remap, image, *moved.astype(np.float32), cv2.INTER_CUBIC)
    variants: dict[str, Variant] = {"cv2.remap": remap}
    pairs = [(f"{name}: ours", "cv2.remap") for name in GIMP]
    for name, apply in GIMP.items():
        ours, files = f"{name}: ours", f"{name}: ours with files"
        variants[ours] = partial(apply, image)
        variants[files] = lambda f=apply: target.write_bytes(png(f(read_image(source))))
        with suppress(OSError):
            found = gegl_in_process(name, image)[1].astype(int)
            print(f"{name}: largest difference from GEGL {np.abs(found - apply(image)).max()}")
            variants[f"{name}: GEGL"] = lambda n=name: gegl_in_process(n, image)[0]
            pairs.append((f"{name}: GEGL", ours))
        if shutil.which("gegl"):
            process = f"{name}: a gegl process"
            variants[process] = partial(gegl, source, name, target, image.shape)
            pairs += [(process, ours), (process, files)]
    conclude(given.out, measure(variants, given.rounds), pairs, 1, size=given.size)


def pillow(image: np.ndarray) -> bytes:
    """As `Image.save` encodes by default: zlib's level 6, filters chosen row by row."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def twin(given: argparse.Namespace, images: Images, folder: Path) -> None:
    """A whole twin, in seconds an image."""
    root, count, paths = folder / "d1", len(images), []
    write_scenes(root, train=count, val=0, seed=0, size=images[0].shape[:2])
    (root / "ImageSets/Segmentation/val.txt").unlink()
    for drawn, image in zip(sorted((root / "JPEGImages").iterdir()), images, strict=True):
        drawn.unlink()
        paths.append(drawn.with_suffix(".jpg"))
        paths[-1].write_bytes(jpeg(image))
    data = DataConfig(name="voc", root=str(root), train_split="train")
    variants: dict[str, Variant] = {}
    pairs, sizes = [], {}

    def whole(name: str) -> None:
        out = folder / name
        shutil.rmtree(out, ignore_errors=True)
        make_distorted(DistortConfig(data=data, shift=ShiftConfig(name), out=str(out), workers=1))

    def processes(name: str) -> None:
        for path in paths[: given.gegl]:
            gegl(path, name, folder / f"{path.stem}.png", images[0].shape)

    def each(number: int, action: Callable[..., object], *told: object) -> Variant:
        return lambda: timed(partial(action, *told)) / number

    def encoded(encode: Callable[[np.ndarray], bytes], filtered: Images) -> int:
        return sum(len(encode(image)) for image in filtered)

    for name in GIMP:
        whole(name)
        filtered = [read_image(path) for path in sorted((folder / name / "JPEGImages").iterdir())]
        ours, theirs = f"{name}: make_distorted_voc", f"{name}: a gegl process"
        variants[ours] = each(count, whole, name)
        for what, encode in (("our encoder", png), ("Pillow's encoder", pillow)):
            variant = f"{name}: {what}"
            variants[variant] = each(count, encoded, encode, filtered)
            sizes[variant] = encoded(encode, filtered) / count
            pairs.append((ours, variant))
        if shutil.which("gegl"):
            variants[theirs] = each(given.gegl, processes, name)
            pairs.append((theirs, ours))
    print("\n".join(f"{what:<36} {size:10,.0f} bytes an image" for what, size in sizes.items()))
    about = {"size": given.size, "images": count, "bytes": sizes}
    conclude(given.out, measure(variants, given.rounds), pairs, 1, **about)


def batched(given: argparse.Namespace, images: Images, folder: Path) -> None:
    """The versions for tensors, on the GPU where there is one, against those for arrays."""
    torch.set_num_threads(1)
    count, image, device = given.batch, images[0], runtime("auto", "fp32").device
    batch = torch.from_numpy(image).permute(2, 0, 1).repeat(count, 1, 1, 1).to(device)
    variants: dict[str, Variant] = {}
    for name, apply in GIMP.items():
        more = {"seed": list(range(count))} if name == "cubism" else {}
        whole = partial(getattr(tensors, name), batch, **more)
        variants[f"{name}: arrays"] = lambda f=apply: [f(image) for _ in range(count)]
        variants[f"{name}: tensors"] = whole
        apart = np.abs(whole()[0].permute(1, 2, 0).cpu().numpy().astype(int) - apply(image)).max()
        print(f"{name}: arrays and tensors are at most {apart} levels apart")
    pairs = [(f"{name}: arrays", f"{name}: tensors") for name in GIMP]
    conclude(given.out, measure(variants, given.rounds), pairs, count)


WHAT = {"speed": speed, "twin": twin, "batched": batched}


def main() -> None:
    given = settings(
        __doc__, tuple(WHAT), rounds=20, images="", size=[375, 500], count=20, gegl=3, batch=4
    )  # fmt: skip
    one_core()  # GEGL's processes as well
    os.environ["GEGL_THREADS"] = "1"
    cv2.setNumThreads(1)
    images = originals(given.images, given.count if given.what == "twin" else 1, given.size)
    with tempfile.TemporaryDirectory() as folder:
        WHAT[given.what](given, images, Path(folder))


if __name__ == "__main__":
    main()
