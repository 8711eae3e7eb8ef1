"""Everything that is measured on a GPU, as one command.

    python benchmarks/gpu.py [--minutes 8] [--out FILE] [--camvid DIR] [--parts NAME ...]
    python benchmarks/gpu.py --arithmetic      # the tables of docs/gpu.md, no GPU needed

Each part is a process of its own: what one of them runs into ends that part, is printed and
recorded, and the others go on. A part appends a line of JSON for each comparison as soon as it is
made (benchmarks/measure.py), the command one for each part that fails; the headlines of all are
printed once more at the end. Parts take turns within `--minutes`, by their shares, the time that
one does not need going to the next. `--device cpu --small` runs all of it in minutes and
measures nothing: that is for tests.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import torch

from benchmarks.measure import circumstances
from benchmarks.on_gpu.adaptation import adaptation
from benchmarks.on_gpu.device import device, layers
from benchmarks.on_gpu.flops import arithmetic
from benchmarks.on_gpu.given import SMALL, Given
from benchmarks.on_gpu.graphs import compiled, compiled_adaptation, graphs
from benchmarks.on_gpu.images import evaluation, filters, inversion
from benchmarks.on_gpu.supervised import supervised
from benchmarks.on_gpu.training import camvid, profiled

GRACE = 20.0
"""Seconds beyond its share after which a part is ended."""


Run = Callable[[Given], None]


class Part(NamedTuple):
    run: Run
    share: float
    """Of the time, against the others'."""
    search: bool = False


def both(first: Run, second: Run) -> Run:
    def run(given: Given) -> None:
        first(given)
        second(given)

    return run


PARTS = {
    "device": Part(both(device, layers), 2),
    "supervised": Part(supervised, 4),
    "searched": Part(both(supervised, layers), 3, search=True),
    "adaptation": Part(adaptation, 5),
    "profile": Part(profiled, 1),
    "filters": Part(filters, 2),
    "evaluation": Part(evaluation, 1),
    "inversion": Part(inversion, 3),
    "camvid": Part(camvid, 3),
    "graphs": Part(graphs, 3),
    "compiled": Part(compiled, 6),
    "compiled_adaptation": Part(compiled_adaptation, 3),
}
"""In the order in which they run: what may hang or break comes last."""


def given_of(arguments: argparse.Namespace, name: str) -> Given:
    told = {k: getattr(arguments, k) for k in ("device", "out", "seconds", "camvid")}
    small = SMALL if arguments.small else {}
    return Given(part=name, search=PARTS[name].search, **told, **small)


def run(name: str, given: Given) -> None:
    """One part, in this process."""
    torch.backends.cudnn.benchmark = given.search
    PARTS[name].run(given)


def started(name: str, arguments: argparse.Namespace, seconds: float, limit: float) -> str:
    """One part in a process of its own; what ended it, empty = nothing."""
    command = [sys.executable, str(Path(__file__).resolve()), "--part", name]
    command += ["--seconds", f"{seconds:.0f}", "--device", arguments.device]
    command += ["--out", arguments.out, "--camvid", arguments.camvid]
    command += ["--small"] * arguments.small
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if arguments.device == "cpu" else {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stderr=errors, env=os.environ | hidden, start_new_session=True
        )
        try:
            status = process.wait(limit)
            ended = f"exit status {status}" if status else ""
        except subprocess.TimeoutExpired:
            ended = f"ended after {limit:.0f} s"
            os.killpg(process.pid, signal.SIGKILL)  # loaders and compilers with it
            process.wait()
        errors.seek(0)
        said = errors.read().strip()
    if ended:
        print(said[-3000:], flush=True)
        ended = f"{ended}: {said.splitlines()[-1] if said else 'it said nothing'}"
    return ended


def run_all(arguments: argparse.Namespace) -> int:
    """Every part; the number of those that failed."""
    end, failed = time.monotonic() + 60 * arguments.minutes, 0
    out = Path(arguments.out)
    before = len(lines_of(out))
    waiting = [name for name in PARTS if name in arguments.parts]
    if not arguments.camvid and "camvid" in waiting:
        waiting.remove("camvid")
        print("camvid: left out, --camvid is not given")
    while waiting:
        name, left = waiting[0], end - time.monotonic()
        seconds = left * PARTS[name].share / sum(PARTS[other].share for other in waiting)
        waiting.pop(0)
        print(f"\n== {name} ({seconds:.0f} s)", flush=True)
        if ended := started(name, arguments, seconds, max(1.0, min(left, seconds + GRACE))):
            failed += 1
            print(f"{name}: {ended}", flush=True)
            line = {**circumstances(), "part": name, "error": ended}
            with out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
    print("\n== all")
    for line in lines_of(out)[before:]:
        found = json.loads(line)
        for headline in found.get("headlines", [f"failed: {found.get('error')}"]):
            print(f"{found['part']}: {headline}")
        for variant, why in found.get("failed", {}).items():
            print(f"{found['part']}: {variant} failed: {why}")
    return failed


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", default="benchmarks/gpu.jsonl")
    parser.add_argument("--camvid", default="", help="CamVid in SegNet's layout")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny settings, for tests")
    parser.add_argument("--arithmetic", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arithmetic:
        print(arithmetic())
        return 0
    if given.device == "cpu" and not given.small:
        parser.error("--device cpu would take hours at these sizes; it goes with --small")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU is there; --arithmetic needs none, --device cpu --small tries")
    if given.camvid and not Path(given.camvid).is_dir():
        parser.error(f"--camvid: no such folder: {given.camvid}")
    if given.part:
        run(given.part, given_of(given, given.part))
        return 0
    return 1 if run_all(given) else 0


if __name__ == "__main__":
    sys.exit(main())
