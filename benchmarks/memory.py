"""Peak memory of an adaptation step: ours against hooks and MSE, and what checkpointing saves.

    python benchmarks/memory.py [--rounds 3] [--size 321 321] [--batch 4] [--taps pool3 pool5]
                                [--network deeplab_vgg16] [--precision auto] [--threads 2]
    python benchmarks/memory.py --size 1024 2048 --batch 1 --taps pool5      # Cityscapes

Every variant has a process of its own in every round, in rotating order, and takes two steps.
`step` is the peak above what networks and batch take before the first step (activations, gradients,
momentum), `whole` above the process before it had networks. Of a CPU it is resident memory (Linux:
VmHWM, set back in between), of a GPU what was allocated. What checkpointing costs in time is in
benchmarks/step.py.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from tqdm import tqdm

from adapt.machine.runtime import runtime
from benchmarks.measure import forget, in_use, medians, record, report
from benchmarks.steps import TAPS, naive, network, ours, pairs

VARIANTS = ("naive fp32", "ours fp32", "ours", "ours, checkpointing")


def one(variant: str, given: argparse.Namespace, tap: str) -> dict[str, int]:
    """Bytes that two steps of a variant take in this process."""
    torch.set_num_threads(given.threads)
    empty = in_use()
    net, batch = network(given.network), pairs(given.batch, tuple(given.size))
    taps = TAPS[tap]
    if variant.startswith("naive"):
        step, _ = naive(net, batch, taps)
    else:
        precision = "fp32" if "fp32" in variant else given.precision
        step, _ = ours(net, batch, taps, precision, checkpointing="checkpointing" in variant)
    del net
    forget()
    resting = in_use()
    step()
    step()
    most = in_use(peak=True)
    return {"step": most - resting, "whole": most - empty}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=[321, 321])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--taps", nargs="+", default=["pool3", "pool5"], choices=list(TAPS))
    parser.add_argument("--network", default="deeplab_vgg16")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="benchmarks/memory.jsonl")
    parser.add_argument("--only", choices=VARIANTS, help="print this variant's figures as JSON")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(one(given.only, given, given.taps[0])))
        return
    given.precision = runtime("auto", given.precision).precision
    for tap in given.taps:
        print(f"\n{given.network}, {tap}, batch {given.batch} of {given.size}, {given.precision}")
        found: dict[str, dict[str, list[float]]] = {}
        for number in tqdm(range(given.rounds), disable=not sys.stderr.isatty()):
            shift = number % len(VARIANTS)
            for name in VARIANTS[shift:] + VARIANTS[:shift]:
                command = [sys.executable, *sys.argv, "--taps", tap, "--only", name]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                for what, value in json.loads(out.splitlines()[-1]).items():
                    found.setdefault(what, {}).setdefault(name, []).append(value)
        rows = {}
        wanted = [*((name, VARIANTS[0]) for name in VARIANTS[1:]), (VARIANTS[3], VARIANTS[2])]
        for what, values in found.items():
            print(
                f"{what}: "
                + ", ".join(f"{k} {v / 2**20:.0f} MiB" for k, v in medians(values).items())
            )
            rows[what] = report(values, wanted)
        about = {"tap": tap, "network": given.network, "size": [given.batch, *given.size]}
        table = {what: medians(values) for what, values in found.items()}
        record(given.out, {}, [], memory=rows, bytes=table, **about)


if __name__ == "__main__":
    main()
