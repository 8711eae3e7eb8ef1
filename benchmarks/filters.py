"""The filters against GEGL in process, a `gegl` process per image, and the image files' own cost.

    python benchmarks/filters.py [--rounds 20] [--image FILE] [--size 500 375]
    python benchmarks/filters.py memory     # resident memory over 10,000 images
    python benchmarks/filters.py twin       # make_distorted_voc against file I/O and filter alone
    python benchmarks/filters.py batched    # images a second of the versions for tensors

All on one core, interleaved in one run (benchmarks/measure.py). GEGL is left out where it is not
installed (benchmarks/gegl_server.py says how); where it is, results are compared too.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np

from adapt.data.images import png, read_image, read_indices
from adapt.data.scenes import draw_scene, write_scenes
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import apply_shift, make_distorted
from benchmarks.measure import Variant, measure, record, report
from transforms import FILTERS

HERE = Path(__file__).resolve().parent
SYSTEM_PYTHON = "/usr/bin/python3"
GEGL_DEFAULTS: dict[str, dict[str, Any]] = {
    "photocopy": {},
    "ripple": {"abyss_policy": 1},  # clamp; none, which is transparent, where it is not said
    "cubism": {"bg_color": [0, 0, 0]},
}


class Server:
    """GEGL in a process of its own that stays; it times itself, without the pipe."""

    def __init__(self) -> None:
        command = [SYSTEM_PYTHON, str(HERE / "gegl_server.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def filter(self, op: str, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Seconds, and the filtered uint8 (H, W, 3)."""
        assert self.process.stdin and self.process.stdout
        height, width = image.shape[:2]
        request = {"op": op, "parameters": GEGL_DEFAULTS[op], "width": width, "height": height}
        self.process.stdin.write(json.dumps(request).encode() + b"\n" + image.tobytes())
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        raw = self.process.stdout.read(answer["bytes"])
        return answer["seconds"], np.frombuffer(raw, np.uint8).reshape(image.shape)


def server(image: np.ndarray) -> Server | None:
    """GEGL in process, if it is installed."""
    try:
        made = Server()
        made.filter("cubism", image)
    except (OSError, ValueError):
        return None
    return made


def speed(image: np.ndarray, given: argparse.Namespace, folder: Path) -> None:
    """Filter alone and from file to file."""
    height, width = image.shape[:2]
    source, target = folder / "in.jpg", folder / "out.png"
    cv2.imwrite(str(source), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    in_process, command = server(image), shutil.which("gegl")
    variants: dict[str, Variant] = {}
    pairs = []
    for name, apply in FILTERS.items():
        ours, files = f"{name}: ours", f"{name}: ours with files"
        variants[ours] = lambda apply=apply: apply(image) is None
        variants[files] = lambda apply=apply: target.write_bytes(png(apply(read_image(source))))
        if in_process is not None:
            theirs = f"{name}: GEGL"
            variants[theirs] = lambda name=name: in_process.filter(name, image)[0]
            pairs.append((theirs, ours))
            worst = np.abs(in_process.filter(name, image)[1].astype(int) - apply(image)).max()
            print(f"{name}: largest difference from GEGL {worst} levels")
        if command is not None:
            process = f"{name}: a gegl process"
            crop = ["gegl:crop", "x=0", "y=0", f"width={width}", f"height={height}"]
            save = ["gegl:png-save", f"path={target}", "bitdepth=8"]
            line = [command, str(source), "--", f"gegl:{name}", *crop, *save]
            variants[process] = lambda line=line: subprocess.run(line, capture_output=True)
            pairs += [(process, ours), (process, files)]
    seconds = measure(variants, given.rounds)
    for name, values in seconds.items():
        print(f"{name:<36} {1000 * sorted(values)[len(values) // 2]:8.2f} ms")
    record(given.out, seconds, report(seconds, pairs), size=[height, width])


def memory(image: np.ndarray, given: argparse.Namespace, folder: Path) -> None:
    """Resident memory over 10,000 images of many sizes and parameters."""
    rng = np.random.default_rng(0)
    pages = Path("/proc/self/statm")
    used = []
    for number in range(10_001):
        rows, columns = rng.integers(40, 161, 2)
        part = image[:rows, :columns]
        FILTERS["photocopy"](part, mask_radius=rng.uniform(0, 50))
        FILTERS["ripple"](part, angle=rng.uniform(-180, 180))
        FILTERS["cubism"](part, seed=number)
        if number % 1000 == 0:
            used.append(int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20)
            print(f"{number:6} images: {used[-1]:7.1f} MiB")
    record(given.out, {}, [], mebibytes=used)


def twin(image: np.ndarray, given: argparse.Namespace, folder: Path) -> None:
    """make_distorted_voc with one worker against reading, filtering and encoding alone."""
    count, size = 10 * given.rounds, image.shape[:2]
    write_scenes(folder / "d1", train=count - 1, val=1, seed=0, size=size)
    images = sorted((folder / "d1" / "JPEGImages").iterdir())
    labels = sorted((folder / "d1" / "SegmentationClass").iterdir())
    data = DataConfig(name="scenes", root=str(folder / "d1"))

    def bare(shift: ShiftConfig) -> None:
        for path, label in zip(images, labels, strict=True):
            (folder / "bare.png").write_bytes(png(apply_shift(read_image(path), shift, 0)))
            (folder / "label.png").write_bytes(label.read_bytes())

    def whole(shift: ShiftConfig) -> None:
        shutil.rmtree(folder / "d2", ignore_errors=True)
        make_distorted(DistortConfig(data=data, shift=shift, out=str(folder / "d2"), workers=1))

    assert read_indices(labels[0]).shape == size
    variants: dict[str, Variant] = {}
    for name in FILTERS:
        variants[f"{name}: I/O and filter"] = lambda name=name: bare(ShiftConfig(name))
        variants[f"{name}: make_distorted_voc"] = lambda name=name: whole(ShiftConfig(name))
    seconds = measure(variants, 5)
    pairs = [(f"{name}: make_distorted_voc", f"{name}: I/O and filter") for name in FILTERS]
    for name, values in seconds.items():
        print(f"{name:<36} {count / sorted(values)[len(values) // 2]:8.1f} images/s")
    record(given.out, seconds, report(seconds, pairs), images=count)


def batched(image: np.ndarray, given: argparse.Namespace, folder: Path) -> None:
    """The versions for tensors, on the GPU where there is one, against those for arrays."""
    import torch

    import transforms.torch as tensors

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    count = 32 if device == "cuda" else 4
    batch = torch.from_numpy(image).permute(2, 0, 1).repeat(count, 1, 1, 1).to(device)
    seeds = list(range(count))
    variants: dict[str, Variant] = {}
    for name, apply in FILTERS.items():
        more = {"seed": seeds} if name == "cubism" else {}
        one = getattr(tensors, name)
        variants[f"{name}: arrays"] = lambda apply=apply: [apply(image) for _ in range(count)]
        variants[f"{name}: {device}"] = lambda one=one, more=more: one(batch, **more)
    seconds = measure(variants, given.rounds)
    for name, values in seconds.items():
        print(f"{name:<36} {count / sorted(values)[len(values) // 2]:8.1f} images/s")
    pairs = [(f"{name}: arrays", f"{name}: {device}") for name in FILTERS]
    record(given.out, seconds, report(seconds, pairs), batch=count)


WHAT = {"speed": speed, "memory": memory, "twin": twin, "batched": batched}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="speed", choices=WHAT)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--image", default="", help="a photograph; else an embedded scene")
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), metavar=("W", "H"))
    parser.add_argument("--out", default="benchmarks/filters.jsonl")
    given = parser.parse_args()
    width, height = given.size
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # children as well
    cv2.setNumThreads(1)
    image = draw_scene(0, 4, (height, width))[0]
    if given.image:
        image = cv2.resize(read_image(Path(given.image)), (width, height))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        WHAT[given.what](image, given, Path(folder))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
