"""What all benchmarks share: variants interleaved in one process, and a table of their ratios.

Times alone mean little on a shared machine: a round gives one ratio for each pair, and the table
shows medians and quartiles over the rounds.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import Distribution, version
from pathlib import Path
from typing import Any

import numpy as np

from adapt.machine.runtime import processor

Variant = Callable[[], object]
LIBRARIES = ("torch", "numpy", "numba", "opencv-python-headless", "kornia")


def measure(variants: dict[str, Variant], rounds: int, repeat: int = 1) -> dict[str, list[float]]:
    """Seconds of one call of every variant in every round; the order rotates, the first round is
    dropped.

    A variant that returns a float has timed itself; it is taken at its word. `repeat` calls in a
    row make one measurement: what the host does for the next call then overlaps with what a GPU
    still does for this one, as in a loop.
    """
    names, seconds = list(variants), {name: [] for name in variants}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            spent = timed(variants[name], repeat)
            if number:
                seconds[name].append(spent)
    return seconds


def timed(variant: Variant, repeat: int = 1) -> float:
    """Seconds of one of `repeat` calls: by the device's own events where torch is loaded and has a
    GPU, else by the wall clock."""
    gpu = cuda()
    if gpu is None:
        started = time.perf_counter()
        own = called(variant, repeat)
        spent = time.perf_counter() - started
    else:
        begin, end = (gpu.Event(enable_timing=True) for _ in range(2))
        gpu.synchronize()
        begin.record()
        own = called(variant, repeat)
        end.record()
        gpu.synchronize()
        spent = begin.elapsed_time(end) / 1000
    return (spent if own is None else own) / repeat


def called(variant: Variant, repeat: int) -> float | None:
    """Call it; the seconds that it says itself, if it does."""
    owns = [own for own in (variant() for _ in range(repeat)) if isinstance(own, float)]
    return sum(owns) if owns else None


def cuda() -> Any:
    """`torch.cuda`, where torch is loaded and has a GPU."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() else None


def gpu_wait() -> Callable[[], None]:
    """Waits for the GPU, where torch is loaded and has one."""
    gpu = cuda()
    return gpu.synchronize if gpu else lambda: None


def resident(entry: str) -> int:
    """Bytes of an entry of /proc/self/status: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(entry))


def in_use(peak: bool = False) -> int:
    """Bytes of the GPU's memory, or of this process (Linux), in use or at most since `forget`."""
    gpu = cuda()
    if gpu:
        return gpu.max_memory_allocated() if peak else gpu.memory_allocated()
    return resident("VmHWM:" if peak else "VmRSS:")


def forget() -> None:
    """The peak is counted anew from here on."""
    gpu = cuda()
    if gpu:
        gpu.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def report(
    seconds: dict[str, list[float]], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Print a line for each pair: median and quartiles of the per-round ratios; returns them."""
    rows = []
    for a, b in pairs:
        ratios = [x / y for x, y in zip(seconds[a], seconds[b], strict=True)]
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
        rows.append({"ratio": f"{a} / {b}", "q1": low, "median": median, "q3": high})
        print(f"{a + ' / ' + b:<52} median {median:8.3f}   quartiles {low:8.3f} {high:8.3f}")
    return rows


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Of every variant over the rounds."""
    return {name: statistics.median(values) for name, values in seconds.items() if values}


def record(
    out: str, seconds: dict[str, list[float]], rows: list[dict[str, Any]], **more: Any
) -> None:
    """Append one line of JSON: command, host, versions, date, medians in ms, ratios."""
    line = {
        **circumstances(),
        "milliseconds": {name: 1000 * value for name, value in medians(seconds).items()},
        "ratios": rows,
        **more,
    }
    with Path(out).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def circumstances() -> dict[str, Any]:
    """Command, host, GPU, versions of what is installed, date."""
    gpu = cuda()
    return {
        "command": " ".join(sys.argv),
        "host": f"{processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "gpu": gpu.get_device_name() if gpu else None,
        "versions": {name: version(name) for name in LIBRARIES if installed(name)},
        "date": time.strftime("%Y-%m-%d"),
    }


def installed(name: str) -> bool:
    return any(True for _ in Distribution.discover(name=name))
