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
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adapt.host import processor

Variant = Callable[[], object]
LIBRARIES = ("torch", "numpy", "numba", "opencv-python-headless", "kornia")


def measure(variants: dict[str, Variant], rounds: int) -> dict[str, list[float]]:
    """Seconds of every variant in every round; the order rotates, the first round is dropped.

    A variant that returns a float has timed itself; it is taken at its word.
    """
    wait = gpu_wait()
    names, seconds = list(variants), {name: [] for name in variants}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            wait()
            started = time.perf_counter()
            own = variants[name]()
            wait()
            spent = own if isinstance(own, float) else time.perf_counter() - started
            if number:
                seconds[name].append(spent)
    return seconds


def gpu_wait() -> Callable[[], None]:
    """Waits for the GPU, where torch is loaded and has one."""
    torch = sys.modules.get("torch")
    return torch.cuda.synchronize if torch and torch.cuda.is_available() else lambda: None


def report(
    seconds: dict[str, list[float]], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Print a line for each pair: median and quartiles of the per-round ratios; returns them."""
    rows = []
    for a, b in pairs:
        ratios = [x / y for x, y in zip(seconds[a], seconds[b], strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
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
    torch = sys.modules.get("torch")
    line = {
        "command": " ".join(sys.argv),
        "host": f"{processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in LIBRARIES},
        "date": time.strftime("%Y-%m-%d"),
        "milliseconds": {name: 1000 * value for name, value in medians(seconds).items()},
        "ratios": rows,
        **more,
    }
    with Path(out).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
