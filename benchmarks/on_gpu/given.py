"""What every part of benchmarks/gpu.py is told, and how it tries its variants."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from adapt.machine.runtime import Runtime, runtime
from benchmarks.measure import Variant, measure, record, report, timed

MIB = 2**20
LEAST = 3
"""Rounds, however little time is left."""
FAILURES = (
    RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ImportError,
    OSError,
)  # fmt: skip
"""What compilers, graph capture and a full memory raise while a variant is tried."""


@dataclass(frozen=True)
class Given:
    """Settings of a part; the defaults are those of a large GPU."""

    part: str = ""
    device: str = "cuda"
    out: str = "benchmarks/gpu.jsonl"
    seconds: float = 120.0
    """What the part may take."""
    camvid: str = ""
    small: bool = False
    """Runs everything, measures nothing: for tests."""
    size: int = 321
    width: float = 1.0
    classes: int = 21
    batches: tuple[int, ...] = (10, 64)
    filtered: tuple[int, ...] = (1, 8, 64)
    """Batches of the filters."""
    image: tuple[int, int] = (375, 500)
    """(H, W) of what is filtered and scored."""
    matrix: int = 8192
    evaluations: int = 60
    """Of an inversion."""
    steps: int = 400
    """Of the training on CamVid."""
    rounds: int = 10
    repeat: int = 5
    """Calls in a row, in a measurement of steps."""
    search: bool = False
    """Let cuDNN try its algorithms and take the fastest. One choice for a process: what it found,
    or took unsought, it keeps for every later convolution of that shape."""
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    @property
    def machine(self) -> Runtime:
        """bf16, whatever the device computes natively."""
        return runtime(self.device, "bf16")

    @property
    def on_gpu(self) -> bool:
        return self.machine.device.type == "cuda"


SMALL = {
    "small": True, "size": 33, "width": 1 / 16, "batches": (2,), "filtered": (1, 2),
    "image": (30, 40), "matrix": 64, "evaluations": 3, "steps": 4, "rounds": LEAST, "repeat": 1,
}  # fmt: skip


@dataclass
class Tried:
    """What became of the variants of one comparison."""

    seconds: dict[str, list[float]]
    rows: list[dict[str, Any]]
    more: dict[str, Any]
    """For the record: failed, first_call_seconds, peak_mib, resident_mib, first and last_loss."""

    def median(self, name: str) -> float | None:
        """Seconds; None = it failed."""
        return statistics.median(self.seconds[name]) if name in self.seconds else None


def tried(
    given: Given,
    makers: dict[str, Callable[[], Variant]],
    pairs: Sequence[tuple[str, str]],
    share: float = 1.0,
    repeat: int = 0,
) -> Tried:
    """Make, warm up and measure variants, interleaved; one that fails is named and left out.

    Rounds are as many as fit into `share` of the time that is left, 3 at least, `given.rounds` at
    most. The first calls are timed apart: compilers and searches for algorithms work in them.
    """
    until = given.left * (1 - share)
    variants: dict[str, Variant] = {}
    failed: dict[str, str] = {}
    first: dict[str, float] = {}
    learning: dict[str, float | None] = {}
    peaks: dict[str, dict[str, int]] = {"peak_mib": {}, "resident_mib": {}}
    for name, make in makers.items():
        if given.left < until:
            failed[name] = "no time was left to try it"
            continue
        before = allocated()
        try:
            variant = make()
            first[name] = timed(variant)
            learning[name] = steady(variant, name, before, peaks)
        except FAILURES as error:
            said = str(error).strip().splitlines() or [""]
            failed[name] = f"{type(error).__name__}: {said[0][:300]}"
            print(f"{name}: failed: {failed[name]}", flush=True)
            forget()
            continue
        variants[name] = variant
    repeat = repeat or given.repeat
    seconds: dict[str, list[float]] = {}
    if variants:
        a_round = repeat * sum(timed(variant) for variant in variants.values())
        rounds = int((given.left - until) / a_round) - 1
        seconds = measure(variants, max(LEAST, min(given.rounds, rounds)), repeat)
    losses = {k: last_loss(v()) for k, v in variants.items() if learning[k] is not None}
    more = {
        "failed": failed,
        "first_call_seconds": first,
        "calls_in_a_row": repeat,
        **(peaks if torch.cuda.is_available() else {}),
        "first_loss": {k: learning[k] for k in losses},
        "last_loss": losses,
    }
    variants.clear()
    forget()
    there = [(a, b) for a, b in pairs if a in seconds and b in seconds]
    return Tried(seconds, report(seconds, there), more)


def allocated() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def steady(
    variant: Variant, name: str, before: int, peaks: dict[str, dict[str, int]]
) -> float | None:
    """One more call, with the GPU's memory noted: what the variant holds between its calls, and
    that with the most that a call takes beside it; its loss, if it has one."""
    if not torch.cuda.is_available():
        return last_loss(variant())
    held = allocated()
    torch.cuda.reset_peak_memory_stats()
    loss = last_loss(variant())
    torch.cuda.synchronize()
    peaks["resident_mib"][name] = (held - before) // MIB
    peaks["peak_mib"][name] = (torch.cuda.max_memory_allocated() - before) // MIB
    return loss


def last_loss(found: object) -> float | None:
    """Of a step's result: a dict with `loss`, or the loss as a tensor."""
    if isinstance(found, dict):
        return found["loss"]
    return found.item() if isinstance(found, torch.Tensor) and found.ndim == 0 else None


def forget() -> None:
    """Hand back what earlier variants held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def note(given: Given, found: Tried, headlines: list[str], **more: Any) -> None:
    """Print the headlines and append the part's line of JSON."""
    for line in headlines:
        print(f"  {line}")
    shared = {"part": given.part, "small": given.small, "headlines": headlines}
    record(given.out, found.seconds, found.rows, **shared, **found.more, **more)


NOTHING = Tried({}, [], {})
"""For parts that compare nothing."""
