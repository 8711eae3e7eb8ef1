"""The adaptation step of benchmarks/step.py at the paper's size."""

from collections.abc import Callable

import torch

from benchmarks.measure import Variant
from benchmarks.on_gpu.device import peak
from benchmarks.on_gpu.flops import adaptation as flops_of
from benchmarks.on_gpu.given import Given, note, tried
from benchmarks.on_gpu.supervised import network
from benchmarks.step import floor, naive, ours

PAIRS = [("ours bf16", "floor bf16"), ("ours fp32", "floor fp32")]
PAIRS += [("naive fp32", "ours fp32"), ("naive fp32", "ours bf16")]


def adaptation(given: Given) -> None:
    """Utilisation counts what the method needs: the student's passes to the tap, the teacher's."""
    net = network(given)
    most, source = peak(given)
    trials = [(count, tap) for count in given.batches for tap in ("pool3", "pool5")]
    for number, (count, tap) in enumerate(trials):
        shape = (count, 3, given.size, given.size)
        batch = {k: torch.randint(0, 256, shape, dtype=torch.uint8) for k in ("x1", "x2")}
        if given.on_gpu:
            batch = {k: v.pin_memory() for k, v in batch.items()}
        makers: dict[str, Callable[[], Variant]] = {}
        for precision in ("bf16", "fp32"):
            for name, make in (("ours", ours), ("floor", floor)):
                makers[f"{name} {precision}"] = lambda m=make, b=batch, t=tap, p=precision: m(
                    net, b, t, p
                )
        makers["naive fp32"] = lambda b=batch, t=tap: naive(net, b, t)
        found = tried(given, makers, PAIRS, share=1 / (len(trials) - number))
        flops, lines, figures = flops_of(tap, given.size, given.width), [], {}
        for name in found.seconds:
            seconds = found.median(name) or float("nan")
            done = count * flops / seconds
            figures[name] = {"pairs_per_second": count / seconds, "utilisation": done / most}
            lines.append(
                f"{tap} batch {count:3} {name:<12} {1000 * seconds:8.2f} ms  "
                f"{count / seconds:7.0f} pairs/s  {100 * done / most:5.1f} % of {source}"
            )
        note(given, found, lines, tap=tap, batch=count, flops_a_pair=flops, rates=figures)
