"""What all benchmarks share: the command line, variants that take turns, and a table of ratios.

Times alone mean little on a shared machine. Every round gives one ratio for each pair of variants,
and the table has the median and the quartiles over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.machine.runtime import processor

Variant = Callable[[], object]
Seconds = dict[str, list[float]]
"""Of every variant in every round."""
GPU = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
LIBRARIES = (
    "torch", "torchvision", "numpy", "numba", "opencv-python-headless", "pillow", "kornia",
    "albumentations",
)  # fmt: skip

PEAKS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H200 NVL": 835, "H100": 989, "H200": 989, "A100": 312,
    "L40S": 362,
}  # fmt: skip
"""TFLOP/s of GPUs in bf16 with fp32 sums, dense, from the data sheets; the first name that a
device's contains counts."""


def settings(doc: str, what: Sequence[str] = (), **defaults: Any) -> argparse.Namespace:
    """The command line of a script: an option for each default, of the default's type.

    A list takes several values. `what` are the choices of a first word, of which the first is the
    default. Every script has `--out`, the file of JSON lines that it appends to.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=layout)
    if what:
        parser.add_argument("what", nargs="?", default=what[0], choices=what)
    out = f"benchmarks/{Path(sys.argv[0]).stem}.jsonl"
    for name, default in {"out": out, **defaults}.items():
        kind, nargs = type(default), None
        if isinstance(default, list):
            kind, nargs = type(default[0]), "*"
        parser.add_argument(f"--{name}", type=kind, default=default, nargs=nargs)
    return parser.parse_args()


def in_own_process(*more: str) -> Any:
    """What this script prints last, as JSON, when a new process runs it with more options."""
    command = [sys.executable, *sys.argv, *more]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def one_core() -> None:
    """Keep this process, its threads and its children on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(variants: dict[str, Variant], rounds: int, repeat: int = 1) -> Seconds:
    """Seconds of one call of every variant in every round, each coming first in turn; the first
    round is dropped.

    A variant that returns a float has measured itself and is believed. `repeat` calls in a row make
    one measurement: what the host does for the next call then overlaps with what a GPU still does
    for this one, as in a loop.
    """
    names, seconds = list(variants), {name: list[float]() for name in variants}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            spent = timed(variants[name], repeat)
            if number:
                seconds[name].append(spent)
    return seconds


def timed(variant: Variant, repeat: int = 1) -> float:
    """Seconds of one of `repeat` calls in a row, up to when a GPU has done its part."""
    gpu_wait()
    started = time.perf_counter()
    found = [variant() for _ in range(repeat)]
    gpu_wait()
    spent = time.perf_counter() - started
    own = [value for value in found if isinstance(value, float)]
    return (sum(own) if own else spent) / repeat


def gpu_wait() -> None:
    """Wait for the GPU, where there is one."""
    if GPU:
        torch.cuda.synchronize()


def resident(peak: bool = False) -> int:
    """Bytes of this process (Linux): now, or at most since `peak` began."""
    entry = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(entry))


def in_use(peak: bool = False) -> int:
    """Bytes of the GPU's memory where there is one, else of this process."""
    if not GPU:
        return resident(peak)
    return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()


def peak(action: Variant) -> int:
    """Bytes that an action takes at most beyond what is in use before it."""
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    before = in_use()
    action()
    return in_use(peak=True) - before


def medians(seconds: Seconds) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items() if values}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    found = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return dict(zip(("q1", "median", "q3"), found, strict=True))


def report(seconds: Seconds, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Print and return, for each pair, median and quartiles of the rounds' ratios."""
    rows = []
    for a, b in pairs:
        found = quartiles([x / y for x, y in zip(seconds[a], seconds[b], strict=True)])
        rows.append({"ratio": f"{a} / {b}", **found})
        print(f"{a + ' / ' + b:<52} median {found['median']:8.3f}   "
              f"quartiles {found['q1']:8.3f} {found['q3']:8.3f}")  # fmt: skip
    return rows


def peak_of(gpu: str) -> float:
    """FLOP/s of a GPU by its name; 0 = not in the table."""
    return next((1e12 * rate for name, rate in PEAKS.items() if name in gpu), 0.0)


def conclude(
    out: str, seconds: Seconds, pairs: Sequence[tuple[str, str]] = (), count: int = 0,
    flops: float | Mapping[str, float] = 0.0, **more: Any,
) -> None:  # fmt: skip
    """Print medians and ratios, and append a line of JSON with them, circumstances and `more`.

    With `count` images a call, images a second as well; with the FLOPs of an image (of each
    variant, where they differ) what share of a known GPU's peak that is, and how long the 200,000
    images of the paper's trainings take.
    """
    peak, rates = peak_of(GPU), {}
    for name, middle in medians(seconds).items():
        line = f"{name:<40}{1000 * middle:10.2f} ms"
        if count:
            rates[name] = count / middle
            line += f"{rates[name]:10.1f} images/s"
        if each := flops[name] if isinstance(flops, Mapping) else flops:
            line += f"{rates[name] * each / 1e12:8.2f} TFLOP/s"
            if peak:
                line += f" = {100 * rates[name] * each / peak:.1f} % of the data sheet's; the "
                line += f"paper's training {200_000 / rates[name] / 60:.2f} min"
        print(line)
    times = {name: 1000 * middle for name, middle in medians(seconds).items()}
    more |= {"rates": rates, "peak": peak, "ratios": report(seconds, pairs)}
    append(out, milliseconds=times, **more)


def append(out: str, **more: Any) -> None:
    """One line of JSON: command, host, GPU, versions of the libraries, date, and more."""
    about = {
        "command": " ".join(sys.argv),
        "host": f"{processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "gpu": GPU or None,
        "versions": {name: version(name) for name in LIBRARIES},
        "date": time.strftime("%Y-%m-%d"),
    }
    with Path(out).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({**about, **more}) + "\n")
