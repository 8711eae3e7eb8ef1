"""Everything that is measured on a GPU, as one command.

    python benchmarks/gpu.py [--minutes 8] [--out FILE] [--camvid DIR] [--parts NAME ...]

Each part is one or several commands, each a process of its own: what one of them runs into ends it
and is recorded, and the others go on. Lines of JSON are appended as soon as a comparison is made.
Parts take turns within `--minutes`, by their shares, the time that one does not need going to the
next. `--device cpu --small 1` tries all of it without a GPU and measures nothing: for tests.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)

import torch

from benchmarks.measure import append, settings

PARTS = {
    "device": (2, ["gpu_parts.py device", "gpu_parts.py layers"]),
    "supervised": (4, ["gpu_parts.py supervised"]),
    "searched": (3, [f"gpu_parts.py {what} --search 1" for what in ("searched", "layers")]),
    "adaptation": (5, [
        f"step.py --taps {taps} --rounds 5 --batch {n}"
        for taps in ("pool3 pool5 --size 321 321", "pool5 --size 360 480") for n in (10, 64)
    ]),
    "memory": (1, ["step.py memory --taps pool3 pool5 --size 321 321 --batch 64 --rounds 1"]),
    "profile": (1, ["gpu_parts.py profile"]),
    "decode": (1, ["gpu_parts.py decode"]),
    "filters": (2, [f"filters.py batched --rounds 5 --batch {n}" for n in (1, 8, 64)]),
    "evaluation": (1, ["evaluation.py --rounds 10 --size 375 500"]),
    "inversion": (3, ["inversion.py --rounds 3"]),
    "camvid": (3, ["gpu_parts.py camvid"]),
    "graphs": (3, ["gpu_parts.py graphs"]),
    "compiled": (6, ["gpu_parts.py compiled"]),
    "compiled_adaptation": (3, ["gpu_parts.py compiled_adaptation"]),
}  # fmt: skip
"""Share of the time and commands, in the order in which they run: what may hang or break comes
last."""
SMALL = {
    "gpu_parts.py": "--small 1", "filters.py": "--rounds 1 --size 30 40 --batch 2",
    "step.py": "--rounds 1 --size 33 33 --width 0.0625 --batch 2 --threads 1",
    "evaluation.py": "--rounds 1 --size 30 40 --batch 2",
    "inversion.py": "--rounds 1 --size 32 --width 0.0625 --evaluations 3 --threads 1",
}  # fmt: skip
"""More options of each script, for tests."""
GRACE = 20.0
"""Seconds beyond its share after which a command is ended."""


def started(given: argparse.Namespace, command: str, limit: float) -> str:
    """One command; what ended it, empty = nothing."""
    script, *words = command.split()
    words += [*(SMALL[script].split() if given.small else ()), "--out", given.out]
    if script == "gpu_parts.py" and given.camvid:
        words += ["--camvid", given.camvid]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if given.device == "cpu" else {}
    line = [sys.executable, str(HERE / script), *words]
    process = subprocess.Popen(line, env=os.environ | hidden, start_new_session=True)
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # loaders and compilers with it
        process.wait()
        return f"ended after {limit:.0f} s"
    return f"exit status {status}" if status else ""


def main() -> int:
    given = settings(__doc__, minutes=8.0, camvid="", parts=list(PARTS), device="cuda", small=0)
    if given.device == "cpu" and not given.small:
        sys.exit("--device cpu would take hours at these sizes; it goes with --small 1")
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA GPU is there; --device cpu --small 1 tries everything without one")
    if given.camvid and not Path(given.camvid).is_dir():
        sys.exit(f"--camvid: no such folder: {given.camvid}")
    end, failed = time.monotonic() + 60 * given.minutes, False
    names = [name for name in PARTS if name in given.parts and (name != "camvid" or given.camvid)]
    waiting = [(n, PARTS[n][0] / len(PARTS[n][1]), c) for n in names for c in PARTS[n][1]]
    while waiting:
        left, shares = end - time.monotonic(), sum(share for _, share, _ in waiting)
        part, share, command = waiting.pop(0)
        seconds = left * share / shares
        print(f"\n== {part}: {command} ({seconds:.0f} s)", flush=True)
        if ended := started(given, command, max(1.0, min(left, seconds + GRACE))):
            failed = True
            print(f"{part}: {ended}", flush=True)
            append(given.out, part=part, failed=command, error=ended)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
