"""Adaptation step: ours against a bare floor, against hooks and MSE, and against torchdistill.

    python benchmarks/step.py [--rounds 10] [--size 160] [--batch 4] [--taps pool3 pool5 all]
                              [--threads 2] [--precisions fp32 bf16]

DeepLab-LargeFOV VGG-16 with 21 classes. The floor is the student's forward and backward pass to the
deepest tap, with a truncated teacher or (`student`) with fixed targets. All variants of a tap run
interleaved in one process (benchmarks/measure.py). Torchdistill is left out where it is missing
(`pip install .[peers]`).
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from adapt.machine.runtime import runtime
from benchmarks.measure import measure, record, report
from benchmarks.steps import TAPS, Stepper, floor, naive, network, ours, pairs, torchdistill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--taps", nargs="+", default=["pool3", "pool5", "all"], choices=list(TAPS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="benchmarks/step.jsonl")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    net, batch = network(), pairs(given.batch, (given.size, given.size))
    peer = find_spec("torchdistill") is not None
    for tap in given.taps:
        taps = TAPS[tap]
        variants: dict[str, Stepper] = {"naive fp32": naive(net, batch, taps)}
        if peer:
            variants["torchdistill fp32"] = torchdistill(net, batch, taps)
        wanted = []
        for precision in given.precisions:
            variants |= {
                f"floor {precision}": floor(net, batch, taps, precision),
                f"student {precision}": floor(net, batch, taps, precision, teacher=False),
                f"ours {precision}": ours(net, batch, taps, precision),
                f"ours, cached {precision}": ours(net, batch, taps, precision, cached=True),
                f"ours, checkpointing {precision}": ours(
                    net, batch, taps, precision, checkpointing=True
                ),
            }
            wanted += [
                (f"ours {precision}", f"floor {precision}"),
                (f"ours, cached {precision}", f"student {precision}"),
                (f"ours, checkpointing {precision}", f"ours {precision}"),
                ("naive fp32", f"ours {precision}"),
            ]
            if peer:
                machine = runtime("auto", precision)
                tuned = f"torchdistill, tuned {precision}"
                variants[tuned] = torchdistill(net, batch, taps, machine)
                wanted += [("torchdistill fp32", f"ours {precision}")]
                wanted += [(tuned, f"ours {precision}")]
        print(f"\n{tap}, batch {given.batch} of {given.size}x{given.size}")
        seconds = measure({name: step for name, (step, _) in variants.items()}, given.rounds)
        size = [given.batch, given.size, given.size]
        record(given.out, seconds, report(seconds, wanted), tap=tap, size=size)


if __name__ == "__main__":
    main()
