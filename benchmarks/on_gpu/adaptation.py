"""The adaptation step of benchmarks/steps.py at the paper's size."""

from collections.abc import Callable

from benchmarks.measure import Variant
from benchmarks.on_gpu.device import peak
from benchmarks.on_gpu.flops import adaptation as flops_of
from benchmarks.on_gpu.flops import counted
from benchmarks.on_gpu.given import Given, note, tried
from benchmarks.steps import TAPS, Batch, floor, naive, network, ours, pairs

PRECISIONS = ("bf16", "fp32")
TAUGHT = ("ours, cached bf16", "student bf16")
"""Variants that have the teacher's maps already."""


def variants(given: Given, batch: Batch, tap: str) -> dict[str, Callable[[], Variant]]:
    """How each step is made; its second part, the student, is not needed."""
    net, taps = network(width=given.width), TAPS[tap]
    made: dict[str, Callable[[], Variant]] = {}
    for p in PRECISIONS:
        made[f"ours {p}"] = lambda p=p: ours(net, batch, taps, p)[0]
        made[f"floor {p}"] = lambda p=p: floor(net, batch, taps, p)[0]
    made["ours, cached bf16"] = lambda: ours(net, batch, taps, "bf16", cached=True)[0]
    made["student bf16"] = lambda: floor(net, batch, taps, "bf16", teacher=False)[0]
    made["naive fp32"] = lambda: naive(net, batch, taps)[0]
    return made


def adaptation(given: Given) -> None:
    """Utilisation counts what the method needs: the student's passes to the tap, and the teacher's
    where its maps are not kept."""
    most, source = peak(given)
    wanted = [(f"ours {p}", f"floor {p}") for p in PRECISIONS]
    wanted += [("naive fp32", f"ours {p}") for p in PRECISIONS]
    wanted += [("ours, cached bf16", "student bf16"), ("ours, cached bf16", "ours bf16")]
    trials = [(count, tap) for count in given.batches for tap in ("pool3", "pool5")]
    for number, (count, tap) in enumerate(trials):
        batch = pairs(count, (given.size, given.size))
        if given.on_gpu:
            batch = {k: v.pin_memory() for k, v in batch.items()}
        share = 1 / (len(trials) - number)
        found = tried(given, variants(given, batch, tap), wanted, share)
        taught = flops_of(tap, given.size, given.width)
        alone = sum(counted(tap, given.size, width=given.width))
        lines, figures = [], {}
        for name in found.seconds:
            seconds = found.median(name) or float("nan")
            done = count * (alone if name in TAUGHT else taught) / seconds
            figures[name] = {"pairs_per_second": count / seconds, "utilisation": done / most}
            lines.append(
                f"{tap} batch {count:3} {name:<18} {1000 * seconds:8.2f} ms  "
                f"{count / seconds:7.0f} pairs/s  {100 * done / most:5.1f} % of {source}"
            )
        note(given, found, lines, tap=tap, batch=count, flops_a_pair=[taught, alone], rates=figures)
