"""Parts of benchmarks/gpu.py: what a GPU does at most, and the supervised step on it.

    python benchmarks/gpu_parts.py device|layers|decode|supervised|profile|camvid|graphs|…
        [--search 1] [--camvid DIR]

`--search 1` lets cuDNN try its algorithms and take the fastest: one choice for a process, because
cuDNN keeps one for a shape, whichever way it was found.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from simplejpeg import decode_jpeg, encode_jpeg
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torchvision import io

from adapt.data import load
from adapt.data.images import IGNORE
from adapt.data.sampling import Batch, Stream, batches
from adapt.data.scenes import draw_scene
from adapt.networks.taps import LOGITS
from adapt.settings.groups import DataConfig, NetworkConfig, ScheduleConfig
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.setup import Setup
from adapt.training.train import one_step, train
from benchmarks import convolutions
from benchmarks.arithmetic import CLASSES, cost
from benchmarks.gpu_floor import MACHINE, Floor
from benchmarks.measure import Variant, append, conclude, in_use, measure, peak, settings, timed
from benchmarks.steps import LR, network, prepared

ROUNDS, REPEAT = 5, 5
"""Of a comparison, and calls in a row."""
FAILURES = (
    RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, ImportError,
    OSError,
)  # fmt: skip
"""What compilers, graph capture and a full memory raise while a variant is tried."""
MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
"""Of torch.compile, the slowest to compile last."""
STEPS = {
    "supervised": [("ours", "floor", "unread", "pageable", "resident", "fused SGD")],
    "searched": [("ours", "floor")],
    "graphs": [("floor", "graph of both passes", "graph of the step", "graphed callables")],
    "compiled": [("ours", mode) for mode in MODES],
}
"""Part -> which supervised steps are compared; graphs say how much of one is launches."""
Makers = dict[str, Callable[[], Variant]]
Given = argparse.Namespace
ON_GPU = MACHINE.device.type == "cuda"


def least(call: Variant) -> float:
    """Seconds of the fastest of several tries."""
    return min(timed(call, REPEAT) for _ in range(6))


def note(given: Given, lines: list[str], **more: Any) -> None:
    print("\n".join(lines))
    append(given.out, part=given.what, headlines=lines, **more)


def compare(given: Given, what: str, makers: Makers, count: int, flops: float) -> None:
    """Make, warm up and measure variants that take `count` images in a call; one that fails is
    named and left out, the first is held against the others.

    The first calls are timed apart: compilers and searches for algorithms work in them. The memory
    counted is what a variant holds and what its second call takes on top.
    """
    variants: dict[str, Variant] = {}
    failed, first, peaks = dict[str, str](), dict[str, float](), dict[str, int]()
    for name, make in makers.items():
        before, variant = in_use(), None
        try:
            variant = make()
            first[name] = timed(variant)
            peaks[name] = (in_use() - before + peak(variant)) >> 20
        except FAILURES as error:
            failed[name] = f"{type(error).__name__}: {error}"[:300]
        else:
            variants[name] = variant
        del variant
        gc.collect()
        if ON_GPU:
            torch.cuda.empty_cache()
    print(f"\n{given.what}, {what}", *(f"{name} failed: {why}" for name, why in failed.items()))
    seconds = measure(variants, ROUNDS, REPEAT) if variants else {}
    reference, *others = makers
    pairs = [(reference, name) for name in others if name in seconds and reference in seconds]
    about = {"failed": failed, "first_call_seconds": first, "peak_mib": peaks}
    conclude(given.out, seconds, pairs, count, flops, part=given.what, what=what, **about)


def device(given: Given) -> None:
    """The ceilings: a bf16 matrix product, copies on the device and from the host."""
    where, count = MACHINE.device, 2**16 if given.small else 2**30
    source = torch.randint(0, 256, (count,), dtype=torch.uint8)
    there, other = source.to(where), torch.empty(count, dtype=torch.uint8, device=where)
    side = (given.matrix, given.matrix)
    a, b = (torch.randn(side, device=where, dtype=torch.bfloat16) for _ in range(2))
    product = 2 * given.matrix**3 / least(lambda: a @ b)
    copies = {
        "read and written": 2 * count / least(lambda: other.copy_(there)),
        "from pageable memory": count / least(lambda: there.copy_(source)),
    }
    about = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    if ON_GPU:
        pinned = source.pin_memory()
        copies["from pinned memory"] = count / least(lambda: there.copy_(pinned, non_blocking=True))
        about["properties"] = str(torch.cuda.get_device_properties(where))
    lines = [f"bf16 {given.matrix}^2 product: {product / 1e12:.3g} TFLOP/s"]
    lines += [f"bytes {kind}: {rate / 1e9:.4g} GB/s" for kind, rate in copies.items()]
    note(given, lines, product=product, copies=copies, **about)


def layers(given: Given) -> None:
    """FLOP/s of every convolution of the network alone, forward and with its backward pass, in bf16
    and channels last; the first layer's image gets no gradient."""
    count, rates, size = given.batches[-1], {}, (given.size, given.size)
    found = convolutions.layers(network(width=given.width), size, LOGITS)
    for name, (layer, shape) in found.items():
        MACHINE.place(layer).bfloat16()
        image = MACHINE.images(torch.randn(count, *shape)).bfloat16()
        wanted = [*layer.parameters(), *([image.requires_grad_()] if shape[0] > 3 else [])]
        with torch.no_grad():
            there, slope = least(partial(layer, image)), torch.randn_like(layer(image))
        both = least(lambda c=layer, x=image, w=wanted, s=slope: torch.autograd.grad(c(x), w, s))
        work = convolutions.flops(layer, shape, count, first=shape[0] == 3)
        forward = convolutions.flops(layer, shape, count) / 3
        rates[name] = {"forward": forward / there, "both": work / both, "s": both}
    lines = [
        f"batch {count} {name:<12} forward {r['forward'] / 1e12:6.1f} TFLOP/s, with backward "
        f"{r['both'] / 1e12:6.1f} TFLOP/s, {1000 * r['s']:7.2f} ms"
        for name, r in rates.items()
    ]
    total = 1000 * sum(r["s"] for r in rates.values())
    note(given, [*lines, f"all convolutions, one by one: {total:.2f} ms"], convolutions=rates)


def batch_of(count: int, side: int) -> Batch:
    """Noise, with labels and some void; pinned where a GPU reads it, as the loader leaves it."""
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count, side, side), dtype=torch.uint8)
    labels[:, :2] = IGNORE
    if ON_GPU:
        images, labels = images.pin_memory(), labels.pin_memory()
    return {"x1": images, "y": labels, "name": []}


def setup_of(net: nn.Module) -> Setup:
    """As a fine-tuning has it: SGD with momentum, L2-SP, checks on."""
    objective = ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0))
    return prepared(net, objective, MACHINE.precision)


def ours(net: nn.Module, batch: Batch, **compiling: Any) -> Variant:
    """The product's step; `compiling` are options of torch.compile."""
    setup = setup_of(net)
    if compiling:
        setup.student.compile(**compiling)
    return partial(one_step, setup, batch, 0)


def fused(net: nn.Module, batch: Batch) -> Variant:
    """The product's step with PyTorch's fused SGD instead of the foreach one."""
    setup = setup_of(net)
    for group in setup.optimizer.param_groups:
        group |= {"fused": True, "foreach": False}
    return partial(one_step, setup, batch, 0)


def supervised(given: Given, kinds: tuple[str, ...]) -> None:
    """The supervised step in several hands, at every batch."""
    net = network(width=given.width)
    flops = float(cost("whole", given.size, given.width).supervised)
    for count in given.batches:
        batch = batch_of(count, given.size)
        floor, step = partial(Floor, net, batch), partial(ours, net)
        pageable = {**batch, "x1": batch["x1"].clone(), "y": batch["y"].clone()}
        there = {"x1": MACHINE.images(batch["x1"]), "y": batch["y"].to(MACHINE.device)}
        every: Makers = {
            "ours": partial(step, batch),
            "floor": lambda f=floor: f().step,
            "unread": lambda f=floor: f(checked=True).step,
            "pageable": partial(step, pageable),
            "resident": partial(step, {**batch, **there}),
            "fused SGD": partial(fused, net, batch),
            "graph of both passes": lambda f=floor: f().captured(whole=False),
            "graph of the step": lambda f=floor: f().captured(whole=True),
            "graphed callables": lambda f=floor: f().graphed(),
            **{m: partial(step, batch, **compiling(given, m)) for m in MODES},
        }
        compare(given, f"batch {count}", {kind: every[kind] for kind in kinds}, count, flops)


def compiling(given: Given, mode: str) -> dict[str, Any]:
    """Options of torch.compile; tests take a backend that compiles nothing."""
    return {"dynamic": False, **({"backend": "aot_eager"} if given.small else {"mode": mode})}


def compiled_adaptation(given: Given) -> None:
    """The adaptation's floor, eager, compiled and with the frozen teacher compiled alone."""
    net, taps = network(width=given.width), ("pool5", "pool3")[given.small :]
    how = compiling(given, "default")
    for tap, count in ((tap, count) for tap in taps for count in given.batches):
        floor = partial(Floor, net, batch_of(count, given.size), tap)
        makers: Makers = {
            "floor": lambda f=floor: f().step,
            "compiled": lambda f=floor: f(**how).step,
            "the teacher compiled": lambda f=floor: f(teacher_only=True, **how).step,
        }
        flops = float(cost(tap, given.size, given.width).pair)
        compare(given, f"{tap} batch {count}", makers, count, flops)


def profiled(given: Given) -> None:
    """The operations that take most of the product's step, by the device's own time."""
    count, repeat = given.batches[-1], 3
    step = ours(network(width=given.width), batch_of(count, given.size))
    step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if ON_GPU else [])]
    with profile(activities=activities) as found:
        for _ in range(repeat):
            step()  # reads its loss
    kind = DeviceType.CUDA if ON_GPU else DeviceType.CPU
    order = "self_device_time_total" if ON_GPU else "self_cpu_time_total"
    rows = [r for r in found.key_averages() if r.device_type == kind and not r.is_user_annotation]
    rows.sort(key=lambda row: -getattr(row, order))
    times = [(getattr(row, order) / 1000 / repeat, row.key[:70]) for row in rows]
    lines = [f"batch {count} {sum(ms for ms, _ in times):8.3f} ms a step"]
    note(given, lines + [f"batch {count} {ms:8.3f} ms a step: {key}" for ms, key in times[:16]])


def camvid(given: Given) -> None:
    """Images a second that the loader alone delivers and that the product's training takes, in both
    halves after the first tenth: a teacher on whole frames, decoded images kept in memory."""
    cores, steps, batch = len(os.sched_getaffinity(0)), given.steps, given.batches[0]
    marks, lines = (max(1, steps // 10), steps // 2, steps - 1), []
    for workers in (0, 1) if given.small else (max(1, cores // 4), max(1, cores - 2)):
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(
                run=f"{folder}/teacher", data=DataConfig("camvid", given.camvid, cache=True),
                network=NetworkConfig(width=given.width),
                objective=ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0)),
                schedule=ScheduleConfig(lr=LR), steps=steps, batch=batch, workers=workers,
                checkpoint_every=10**6, precision="bf16",
            )  # fmt: skip
            stream = Stream(load(config.data, "train"), config.data, ["x1", "y1"], config.seed)
            source = batches(stream, batch, 0, steps, workers, pin=ON_GPU)
            loaded, trained = [time.perf_counter() for _ in source], list[float]()
            train(config, lambda step, times=trained: times.append(time.perf_counter()))
        for what, times in (("the loader alone", loaded), ("training", trained)):
            rates = [batch * (b - a) / (times[b] - times[a]) for a, b in pairwise(marks)]
            halves = ", ".join(f"{rate:.0f}" for rate in rates)
            lines.append(f"{workers:2} workers: {what} {halves} images/s in its halves")
    note(given, lines, batch=batch)


def decode(given: Given) -> None:
    """JPEGs of 480x360 into main memory by one core, as the loader does, and onto the device by
    torchvision, which takes the device's own decoder where it has one."""
    count = given.batches[-1]
    files = [encode_jpeg(draw_scene(0, n, (360, 480))[0], quality=95) for n in range(count)]
    texts = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]

    def read() -> Tensor:
        return torch.stack([torch.from_numpy(decode_jpeg(x)) for x in files]).movedim(-1, 1)

    makers: Makers = {
        "one core": lambda: read,
        "one core, then the device": lambda: lambda: MACHINE.images(read()),
        "the device": lambda: lambda: io.decode_jpeg(texts, device=MACHINE.device),
    }
    compare(given, f"{count} JPEGs", makers, count, 0.0)


WHAT = {
    "decode": decode, "device": device, "layers": layers, "profile": profiled, "camvid": camvid,
    "compiled_adaptation": compiled_adaptation,
}  # fmt: skip


def main() -> None:
    given = settings(
        __doc__, (*WHAT, *STEPS), search=0, camvid="", small=0, size=321, width=1.0,
        batches=[10, 64], matrix=8192, steps=400,
    )  # fmt: skip
    if given.small:
        given.size, given.width, given.batches, given.matrix, given.steps = 33, 1 / 16, [2], 64, 4
    torch.backends.cudnn.benchmark = bool(given.search)
    for kinds in STEPS.get(given.what, [])[: 1 if given.small else None]:
        supervised(given, kinds)
    if given.what in WHAT:
        WHAT[given.what](given)
    if given.what.startswith("compiled"):  # torch.compile may compile nothing and say nothing
        from torch._dynamo.utils import counters  # takes seconds, which other parts can do without

        note(given, [f"{counters['stats']['unique_graphs']} graphs compiled"])


if __name__ == "__main__":
    main()
