"""Which path a step's convolutions take on this CPU, and how near the step comes to their speed.

    python benchmarks/convolutions.py [--rounds 5] [--size 160 160] [--batch 4] [--width 1.0]
        [--precisions fp32 bf16]

Every convolution of DeepLab-LargeFOV VGG-16 up to pool5 runs by itself, forward and backward as in
the student, in fp32 and bf16, NCHW and channels_last: GFLOP/s of one thread (CPU seconds, so that
other work matters less). `step` is the whole pool5 step with the teacher; `batch` is that step at
other batches, for each image. `path` is the kernel that oneDNN says it took, bf16 channels_last.
Where bf16 is emulated, `--precisions fp32` has the convolutions alone.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import torch
from torch import nn

from adapt.networks.taps import forward
from benchmarks.arithmetic import count
from benchmarks.measure import Variant, append, measure, medians, report, settings
from benchmarks.steps import TAPS, network, ours, pairs

TAP = "pool5"
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OURS = "bf16 channels_last"
BATCHES = (1, 2, 4, 8, 16)
PATH = re.compile(r"exec,cpu,convolution,([^,]+),(forward|backward_data|backward_weights)")
ONCE = """
import sys; sys.path.insert(0, {root!r})
from benchmarks.steps import TAPS, network, ours, pairs
step, _ = ours(network(width={width}), pairs({batch}, {size}), TAPS[{tap!r}], "bf16")
step()
"""


def layers(
    net: nn.Module, size: tuple[int, int], tap: str
) -> dict[str, tuple[nn.Conv2d, tuple[int, ...]]]:
    """The convolutions up to a tap, by name, with the shape (C, H, W) of what each reads."""
    found, names = {}, {module: name for name, module in net.named_modules()}

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        found[names[module]] = (module, tuple(inputs[0].shape[1:]))

    hooks = [m.register_forward_pre_hook(note) for m in names if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        forward(net, torch.zeros(1, 3, *size), [tap])
    for hook in hooks:
        hook.remove()
    return found


def flops(layer: nn.Conv2d, shape: tuple[int, ...], batch: int, first: bool = False) -> float:
    """Of a pass forward and one backward; the image needs no gradient."""
    height, width = ((n + s - 1) // s for n, s in zip(shape[1:], layer.stride, strict=True))
    return 2.0 * (2 if first else 3) * batch * layer.weight.numel() * height * width


def single(
    layer: nn.Conv2d, shape: tuple[int, ...], batch: int, first: bool, precision: str, layout: str
) -> Variant:
    """One convolution forward and backward: CPU seconds of a call."""
    kind = {"dtype": PRECISIONS[precision], "memory_format": FORMATS[layout]}
    weight = layer.weight.detach().to(**kind).requires_grad_()
    x = torch.randn(batch, *shape).to(**kind).requires_grad_(not first)
    run = partial(
        nn.functional.conv2d, x, weight, None, layer.stride, layer.padding, layer.dilation
    )
    back = torch.randn_like(run())
    return timed(lambda: torch.autograd.grad(run(), [weight] if first else [x, weight], back))


def timed(call: Callable[[], object]) -> Variant:
    def spent() -> float:
        started = time.thread_time()
        call()
        return time.thread_time() - started

    return spent


def paths(given: object) -> Counter[str]:
    """Kernels of the convolutions of one step and how often each ran."""
    script = ONCE.format(root=str(ROOT), tap=TAP, **vars(given))
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env=os.environ | {"ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": "1"},
    ).stdout  # fmt: skip
    return Counter(f"{way} {kernel}" for kernel, way in PATH.findall(said))


def main() -> None:
    given = settings(
        __doc__, rounds=5, size=[160, 160], batch=4, width=1.0, precisions=[*PRECISIONS]
    )
    torch.set_num_threads(1)
    net, size = network(width=given.width), tuple(given.size)
    found, first = layers(net, size, TAP), True
    rows, total = {}, dict.fromkeys([f"{p} {f}" for p in given.precisions for f in FORMATS], 0.0)
    print(f"{'GFLOP/s':<12}{'reads':<18}" + "".join(f"{kind:>20}" for kind in total))
    for name, (layer, shape) in found.items():
        variants = {kind: single(layer, shape, given.batch, first, *kind.split()) for kind in total}
        seconds = medians(measure(variants, given.rounds))
        work, first = flops(layer, shape, given.batch, first), False
        for kind, spent in seconds.items():
            total[kind] += spent
        rows[name] = {kind: work / spent / 1e9 for kind, spent in seconds.items()}
        print(f"{name:<12}{'x'.join(map(str, shape)):<18}"
              + "".join(f"{rate:>20.0f}" for rate in rows[name].values()))  # fmt: skip
    print(f"{'seconds':<30}" + "".join(f"{spent:>20.2f}" for spent in total.values()))
    if OURS not in total:
        append(given.out, singles=rows, seconds=total)
        return
    step = {
        f"batch {n}": timed(ours(net, pairs(n, size), TAPS[TAP], "bf16")[0])
        for n in dict.fromkeys([given.batch, *BATCHES])
    }
    seconds = measure(step, given.rounds)
    each = count(net.to("meta"), [TAP], size).pair
    of_step = medians(seconds)
    rates = {n: int(n.split()[1]) * each / spent / 1e9 for n, spent in of_step.items()}
    for name, rate in rates.items():
        print(f"step, {name:<12}{rate:>8.0f} GFLOP/s")
    forward_share = 1 / 3  # of a convolution's work; the teacher's pass comes on top
    parts = total[OURS] * (1 + forward_share)
    best = f"batch {given.batch}"
    print(f"the step's time, of that of its convolutions alone: {of_step[best] / parts:.2f}")
    by_image = {n: [s / int(n.split()[1]) for s in every] for n, every in seconds.items()}
    ratios = report(by_image, [(n, best) for n in by_image if n != best])
    kernels = paths(given)
    for kernel, times in kernels.most_common():
        print(f"{times:>4} {kernel}")
    append(given.out, singles=rows, steps=rates, ratios=ratios, paths=kernels,
           of_convolutions=of_step[best] / parts)  # fmt: skip


if __name__ == "__main__":
    main()
