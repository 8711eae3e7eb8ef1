"""Weak scaling: n processes of one core each against one process that is given the same n cores.

    python benchmarks/scaling.py [--processes 1 2 4] [--tap pool5] [--width 0.25] [--size 97]
                                 [--batch 2] [--steps 4] [--rounds 5] [--precision auto]

Each measurement is a torchrun of its own (gloo and DistributedDataParallel) that takes a step to
warm up; those of a round take turns. A process of one core has `--batch` pairs, the one process
that stands against n of them n times as many.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from adapt.machine.processes import processes, rank, world
from adapt.machine.runtime import runtime
from adapt.networks.taps import LOGITS
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.training.train import one_step
from benchmarks.arithmetic import FP32, TAPS, cost, sent
from benchmarks.measure import conclude, quartiles, settings, timed
from benchmarks.steps import network, pairs, prepared

BUCKET = 25 << 20
"""Bytes that DistributedDataParallel sends at once."""


def objective_of(tap: str) -> ObjectiveConfig:
    """Regression to the layers of TAPS, or distillation of the logits."""
    if LOGITS in TAPS[tap]:
        return ObjectiveConfig(tap, kd=KDConfig(1.0))
    return ObjectiveConfig(tap, RegressionConfig(1.0, dict.fromkeys(TAPS[tap], 1.0)))


def worker(given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step in this process and the others; of one whose gradients stay where they are
    (`apart`); and of the all-reduce of as many gradients alone."""
    cores, first = sorted(os.sched_getaffinity(0)), given.threads * rank()
    os.sched_setaffinity(0, cores[first : first + given.threads])
    torch.set_num_threads(given.threads)
    net = network(width=given.width)
    setup = prepared(net, objective_of(given.tap), given.precision, "cpu")
    torch.manual_seed(rank())  # other pairs in each process
    batch = {**pairs(given.batch * given.threads, (given.size, given.size)), "name": []}
    gradients = torch.zeros(cost(given.tap, given.size, given.width).reduced // FP32)
    buckets = gradients.split(BUCKET // FP32)

    def together(action: Callable[[], object]) -> float:
        def act() -> None:
            for _ in range(given.steps):
                action()
            if world() > 1:
                dist.barrier()

        return timed(act) / given.steps

    def all_reduce() -> None:
        for work in [dist.all_reduce(bucket, async_op=True) for bucket in buckets]:
            work.wait()

    def step() -> None:
        one_step(setup, batch, 0)

    together(step)
    found = {"step": together(step)}
    if isinstance(setup.tapped, DistributedDataParallel):
        with setup.tapped.no_sync():
            found["apart"] = together(step)
        found["all-reduce"] = together(all_reduce)
    return found


def launched(count: int, threads: int) -> dict[str, float]:
    """What `count` processes with so many cores each measure."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, *torchrun, *sys.argv, "--threads", str(threads)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def named(count: int, threads: int, what: str = "step") -> str:
    cores = f"{count} x {threads} core{'s' * (threads > 1)}"
    return cores if what == "step" else f"{cores}, {what}"


def row(count: int, seconds: dict[str, list[float]], given: argparse.Namespace) -> dict[str, Any]:
    """What several processes gave against one."""
    reduced = cost(given.tap, given.size, given.width).reduced
    kinds = [named(count, 1), named(1, count), named(count, 1, "apart")]
    kinds += [named(count, 1, "all-reduce"), named(1, 1)]
    rounds = list(zip(*(seconds[kind] for kind in kinds), strict=True))
    middles = [1000 * quartiles(seconds[kind])["median"] for kind in kinds[:4]]
    return {
        "processes": count,
        **dict(zip(("milliseconds", "one_process", "apart", "all_reduce"), middles, strict=True)),
        "efficiency": quartiles([one / step for step, one, *_ in rounds]),
        "efficiency_one_core": quartiles([core / step for step, *_, core in rounds]),
        "share": quartiles([1 - apart / step for step, _, apart, *_ in rounds]),
        "predicted": quartiles([one / (apart + moved) for _, one, apart, moved, _ in rounds]),
        "link": quartiles([sent(reduced, count) / moved for *_, moved, _ in rounds]),
    }


def main() -> None:
    given = settings(
        __doc__, processes=[1, 2, 4], tap="pool5", width=0.25, size=97, batch=2, steps=4, rounds=5,
        precision="auto", threads=0,
    )  # fmt: skip
    if given.threads:
        with processes():
            found = worker(given)
            if rank() == 0:
                print(json.dumps(found))
        return
    cores = len(os.sched_getaffinity(0))
    several = sorted({n for n in given.processes if 1 < n <= cores})
    print(f"{cores} cores: {several} processes")
    seconds: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for count, threads in [(1, 1), *((n, 1) for n in several), *((1, n) for n in several)]:
            for what, spent in launched(count, threads).items():
                seconds.setdefault(named(count, threads, what), []).append(spent)
    asked = {k: getattr(given, k) for k in ("tap", "width", "size", "batch")}
    asked["precision"] = runtime("cpu", given.precision).precision
    rows = [row(n, seconds, given) for n in several]
    ratios = [(named(1, n), named(n, 1)) for n in several]
    conclude(given.out, seconds, ratios, setting=asked, scaling=rows)


if __name__ == "__main__":
    main()
