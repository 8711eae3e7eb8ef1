"""Adaptation step: ours against a bare floor, against hooks and MSE, and against torchdistill.

    python benchmarks/step.py [--rounds 10] [--size 160 160] [--batch 4] [--taps pool3 pool5 all]
                              [--threads 2] [--precisions fp32 bf16]
    python benchmarks/step.py memory [--rounds 1] [--size 321 321] [--network deeplab_vgg16]

DeepLab-LargeFOV VGG-16 with 21 classes. The floor is the student's forward and backward pass to the
deepest tap, with a truncated teacher or (`student`) with fixed targets. All variants of a tap take
turns in one process. Torchdistill is left out where it is missing (`pip install .[peers]`).

`memory` is the peak of two steps, each variant in a process of its own, above what networks and
batch take before the first step: activations, gradients and momentum. Of a CPU it is resident
memory (Linux: VmHWM, set back in between), of a GPU what was allocated.
"""

import argparse
import json
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from adapt.machine.runtime import runtime
from benchmarks.arithmetic import cost
from benchmarks.measure import (
    append,
    conclude,
    in_own_process,
    measure,
    medians,
    peak,
    report,
    settings,
)
from benchmarks.steps import TAPS, floor, naive, network, ours, pairs, torchdistill

IN_MEMORY = ("naive fp32", "ours fp32", "ours", "ours, checkpointing")


def speed(given: argparse.Namespace) -> None:
    net, batch = network(given.network, width=given.width), pairs(given.batch, given.size)
    peer = find_spec("torchdistill") is not None
    for tap in given.taps:
        told = (net, batch, TAPS[tap])
        steps = {"naive fp32": naive(*told)}
        if peer:
            steps["torchdistill fp32"] = torchdistill(*told)
        wanted = []
        for p in given.precisions:
            steps |= {
                f"floor {p}": floor(*told, p),
                f"student {p}": floor(*told, p, teacher=False),
                f"ours {p}": ours(*told, p),
                f"ours, cached {p}": ours(*told, p, cached=True),
                f"ours, checkpointing {p}": ours(*told, p, checkpointing=True),
            }
            wanted += [
                (f"ours {p}", f"floor {p}"),
                (f"ours, cached {p}", f"student {p}"),
                (f"ours, checkpointing {p}", f"ours {p}"),
                ("naive fp32", f"ours {p}"),
            ]
            if peer:
                tuned = f"torchdistill, tuned {p}"
                steps[tuned] = torchdistill(*told, runtime("auto", p))
                wanted += [("torchdistill fp32", f"ours {p}"), (tuned, f"ours {p}")]
        print(f"\n{tap}, batch {given.batch} of {given.size}")
        seconds = measure({name: step for name, (step, _) in steps.items()}, given.rounds)
        needed = cost(tap, given.size[0], given.width)  # without the teacher, if its maps are there
        flops = {
            k: needed.supervised if k.startswith(("student", "ours, cached")) else needed.pair
            for k in seconds
        }
        size = [given.batch, *given.size]
        conclude(given.out, seconds, wanted, given.batch, flops, tap=tap, size=size)


def own_peak(given: argparse.Namespace) -> int:
    """Bytes that two steps of a variant take in this process."""
    net, batch = network(given.network, width=given.width), pairs(given.batch, given.size)
    told, precision = (net, batch, TAPS[given.taps[0]]), "fp32" if "fp32" in given.only else "auto"
    if given.only.startswith("naive"):
        step, _ = naive(*told)
    else:
        step, _ = ours(*told, precision, checkpointing="checkpointing" in given.only)
    del net, told
    return peak(lambda: (step(), step()))


def memory(given: argparse.Namespace) -> None:
    first, *others = IN_MEMORY
    wanted = [*((name, first) for name in others), (others[-1], others[-2])]
    for tap in given.taps:
        print(f"\n{given.network}, {tap}, batch {given.batch} of {given.size}")
        own = partial(in_own_process, "--taps", tap, "--only")
        found = measure({n: lambda n=n, own=own: float(own(n)) for n in IN_MEMORY}, given.rounds)
        sizes = medians(found)
        print("\n".join(f"{name:<28}{size / 2**20:8.0f} MiB" for name, size in sizes.items()))
        about = {"tap": tap, "network": given.network, "size": [given.batch, *given.size]}
        append(given.out, memory=report(found, wanted), bytes=sizes, **about)


def main() -> None:
    given = settings(
        __doc__, ("speed", "memory"), rounds=10, size=[160, 160], batch=4, threads=2,
        taps=["pool3", "pool5", "all"], precisions=["fp32", "bf16"], network="deeplab_vgg16",
        width=1.0, only="",
    )  # fmt: skip
    torch.set_num_threads(given.threads)
    if given.only:
        print(json.dumps(own_peak(given)))
    else:
        (speed if given.what == "speed" else memory)(given)


if __name__ == "__main__":
    main()
