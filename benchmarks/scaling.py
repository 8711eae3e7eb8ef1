"""Weak scaling: n processes of one core each against one process that is given the same n cores.

    python benchmarks/scaling.py [--processes 1 2 4] [--tap pool5] [--width 0.25] [--size 97]
                                 [--batch 2] [--steps 2] [--rounds 5] [--out FILE]

All settings are started at once, as torchrun starts them (gloo, DistributedDataParallel), stay and
take turns (benchmarks/measure.py); those that wait use no core. A process has `--batch` pairs, the
one process that stands against n of them n times as many.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from adapt.data.sampling import Batch
from adapt.machine.processes import rank, world
from adapt.machine.runtime import runtime
from adapt.networks.taps import LOGITS
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.training.setup import Setup
from adapt.training.train import one_step
from benchmarks.arithmetic import FP32, TAPS, cost, sent
from benchmarks.groups import Group
from benchmarks.measure import Variant, measure, record
from benchmarks.steps import network, prepared

OBJECTIVES = {
    tap: ObjectiveConfig(tap, kd=KDConfig(1.0))
    if LOGITS in layers
    else ObjectiveConfig(tap, RegressionConfig(1.0, dict.fromkeys(layers, 1.0)))
    for tap, layers in TAPS.items()
}


def made(tap: str, given: argparse.Namespace) -> Setup:
    return prepared(network(width=given.width), OBJECTIVES[tap], given.precision, "cpu")


def drawn(batch: int, side: int) -> Batch:
    """So many pairs of noise, other ones in each process."""
    rng = torch.Generator().manual_seed(rank())
    shape = (batch, 3, side, side)
    images = {
        k: torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8) for k in ("x1", "x2")
    }
    return {**images, "name": []}


class Trainer:
    """What a process does when it is its turn; every method returns seconds a step, or sizes."""

    def __init__(self, given: argparse.Namespace, batch: int) -> None:
        self.given, self.batch = given, drawn(batch, given.size)
        self.buckets = [torch.zeros(n // FP32) for n in self.sizes(given.tap)]
        self.setup = made(given.tap, given)

    def timed(self, action: Variant) -> float:
        if world() > 1:
            dist.barrier()
        started = time.perf_counter()
        for _ in range(self.given.steps):
            action()
        return (time.perf_counter() - started) / self.given.steps

    def step(self) -> float:
        return self.timed(lambda: one_step(self.setup, self.batch, 0))

    def apart(self) -> float:
        """Steps in which each process keeps its own gradients."""
        assert isinstance(self.setup.tapped, DistributedDataParallel)
        with self.setup.tapped.no_sync():
            return self.step()

    def reduce(self) -> float:
        """The all-reduce of the gradients alone, in the buckets that training sends."""

        def all_reduce() -> None:
            for work in [dist.all_reduce(bucket, async_op=True) for bucket in self.buckets]:
                work.wait()

        return self.timed(all_reduce)

    def sizes(self, tap: str) -> list[int]:
        """Bytes of every bucket that a step's backward pass hands to the all-reduce."""
        found: list[int] = []

        def counted(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
            found.append(bucket.buffer().nbytes)
            return allreduce_hook(None, bucket)

        if world() == 1:
            return found
        setup = made(tap, self.given)
        assert isinstance(setup.tapped, DistributedDataParallel)
        setup.tapped.register_comm_hook(None, counted)
        one_step(setup, self.batch, 0)
        del setup
        gc.collect()  # it refers to itself
        return found


@contextmanager
def groups(counts: list[int], given: argparse.Namespace) -> Iterator[dict[tuple[int, int], Group]]:
    """(processes, threads of each) -> their group, for every setting and what it stands against."""
    settings = dict.fromkeys([(1, 1), *((n, 1) for n in counts), *((1, n) for n in counts)])
    with ExitStack() as stack:
        yield {
            s: stack.enter_context(closing(Group(*s, Trainer, given, given.batch * s[1])))
            for s in settings
        }


def named(count: int, threads: int) -> str:
    return f"{count} x {threads} core{'s' * (threads > 1)}"


def middle(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"q1": low, "median": median, "q3": high}


def ratio(seconds: dict[str, list[float]], above: str, below: str) -> dict[str, float]:
    """Of the per-round ratios of two settings."""
    return middle([a / b for a, b in zip(seconds[above], seconds[below], strict=True)])


def row(count: int, seconds: dict[str, list[float]], given: argparse.Namespace) -> dict[str, Any]:
    """What several processes gave against one."""
    name, whole, reduced = (
        named(count, 1),
        named(1, count),
        cost(given.tap, given.size, given.width).reduced,
    )
    apart, alone = f"{name}, apart", f"{name}, all-reduce"
    every = zip(*(seconds[k] for k in (name, whole, apart, alone)), strict=True)
    shares, predicted, link = [], [], []
    for step, other, without, moved in every:
        shares.append(1 - without / step)
        predicted.append(other / (without + moved))
        link.append(sent(reduced, count) / moved)
    return {
        "processes": count,
        "milliseconds": 1000 * statistics.median(seconds[name]),
        "one_process": 1000 * statistics.median(seconds[whole]),
        "apart": 1000 * statistics.median(seconds[apart]),
        "all_reduce": 1000 * statistics.median(seconds[alone]),
        "efficiency": ratio(seconds, whole, name),
        "efficiency_one_core": ratio(seconds, named(1, 1), name),
        "share": middle(shares),
        "predicted": middle(predicted),
        "link": middle(link),
    }


def table(rows: list[dict[str, Any]], base: float, given: argparse.Namespace) -> list[str]:
    """The rows as they are printed."""
    flops = given.batch * cost(given.tap, given.size, given.width).pair
    lines = [
        f"1 process of one core: {1000 * base:.1f} ms a step of {given.batch}, "
        f"{flops / base / 1e9:.0f} GFLOP/s"
    ]
    for r in rows:
        n = r["processes"]
        lines.append(
            f"{n} processes: {r['milliseconds']:.1f} ms a step of {n * given.batch}, "
            f"{n * flops / r['milliseconds'] / 1e6:.0f} GFLOP/s; one process with {n} cores "
            f"{r['one_process']:.1f} ms\n"
            f"  efficiency {spread(r['efficiency'])} against it, from parts "
            f"{spread(r['predicted'])}; {spread(r['efficiency_one_core'])} against one core\n"
            f"  without all-reduce {r['apart']:.1f} ms, its share {spread(r['share'])}; alone "
            f"{r['all_reduce']:.1f} ms, {r['link']['median'] / 1e9:.2f} GB/s sent by each process"
        )
    return lines


def spread(values: dict[str, float]) -> str:
    return f"{values['median']:.3f} ({values['q1']:.3f} to {values['q3']:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--tap", choices=TAPS, default="pool5")
    parser.add_argument("--width", type=float, default=0.25, help="of the network; 1 = VGG-16's")
    parser.add_argument("--size", type=int, default=97)
    parser.add_argument("--batch", type=int, default=2, help="pairs of a process of one core")
    parser.add_argument("--steps", type=int, default=2, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--out", default="benchmarks/scaling.jsonl")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    several = sorted({n for n in given.processes if 1 < n <= cores})
    for n in sorted({n for n in given.processes if n > cores}):
        print(f"left out: {n} processes of one core each; {cores} here")
    with groups(several, given) as every:
        counted = {n: {tap: sum(every[n, 1].ask("sizes", tap)[0]) for tap in TAPS} for n in several}
        variants: dict[str, Variant] = {named(*s): g.slowest("step") for s, g in every.items()}
        for n in several:
            variants[f"{named(n, 1)}, apart"] = every[n, 1].slowest("apart")
            variants[f"{named(n, 1)}, all-reduce"] = every[n, 1].slowest("reduce")
        seconds = measure(variants, given.rounds)
    if several:
        print("bytes of gradients all-reduced in a step, by arithmetic and as handed over:")
    for tap in TAPS if several else ():
        found = [f"{n} processes {counted[n][tap]:,}" for n in several]
        print(f"  {tap:<6} {cost(tap, given.size, given.width).reduced:,}; {', '.join(found)}")
    rows = [row(n, seconds, given) for n in several]
    base = statistics.median(seconds[named(1, 1)])
    print("\n".join(table(rows, base, given)))
    asked = {k: getattr(given, k) for k in ("tap", "width", "size", "batch")}
    asked["precision"] = runtime("cpu", given.precision).precision
    more = {"setting": asked, "scaling": rows, "bytes": counted}
    record(given.out, seconds, [], **more)


if __name__ == "__main__":
    main()
