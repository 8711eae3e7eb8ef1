"""What the device does at most: a matrix product, copies, each of the network's convolutions."""

import statistics
from typing import Any

import torch
from torch import nn

from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from benchmarks.measure import timed
from benchmarks.on_gpu.flops import peak_of, supervised
from benchmarks.on_gpu.given import NOTHING, Given, note
from benchmarks.on_gpu.roofline import supervised_costs


def product_rate(given: Given) -> float:
    """FLOP/s of a square bf16 matrix product of noise: the median of ten."""
    n, device = given.matrix, given.machine.device
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = [timed(lambda: a @ b, given.repeat) for _ in range(12)][2:]
    return 2 * n**3 / statistics.median(seconds)


def peak(given: Given) -> tuple[float, str]:
    """FLOP/s that utilisation is a share of, and where the figure is from."""
    rate = peak_of(torch.cuda.get_device_name()) if given.on_gpu else None
    if rate is not None:
        return rate * 1e12, f"{rate} TFLOP/s, its data sheet's"
    measured = product_rate(given)
    return measured, f"{measured / 1e12:.3g} TFLOP/s, a {given.matrix}^2 product's"


def copies(given: Given) -> dict[str, float]:
    """Bytes a second, read and written on the device, moved from the host."""
    device = given.machine.device
    count = 2**16 if given.small else 2**30
    source = torch.randint(0, 256, (count,), dtype=torch.uint8)
    there, other = source.to(device), torch.empty(count, dtype=torch.uint8, device=device)
    found = {
        "on the device": 2 * count / least(lambda: other.copy_(there)),
        "from pageable memory": count / least(lambda: there.copy_(source)),
    }
    if given.on_gpu:
        pinned = source.pin_memory()
        seconds = least(lambda: there.copy_(pinned, non_blocking=True))
        found["from pinned memory"] = count / seconds
    return found


def least(call: Any) -> float:
    return min(timed(call, 3) for _ in range(4))


def facts(given: Given) -> dict[str, Any]:
    """Which GPU, which libraries."""
    if not given.on_gpu:
        return {"cudnn": None}
    properties = torch.cuda.get_device_properties(given.machine.device)
    return {
        "capability": list(torch.cuda.get_device_capability()),
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": properties.total_memory / 2**30,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


def device(given: Given) -> None:
    """The ceilings, and what they make of the supervised step, operation by operation."""
    product, moved = product_rate(given), copies(given)
    lines = [f"bf16 {given.matrix}^2 product: {product / 1e12:.3g} TFLOP/s"]
    lines += [f"bytes {where}: {rate / 1e9:.4g} GB/s" for where, rate in moved.items()]
    for count in given.batches:
        costs = supervised_costs(given.size, given.classes, count)
        bound, memory = costs.least(product, moved["on the device"])
        share = count * supervised(given.size, given.classes) / (bound + memory) / peak(given)[0]
        lines.append(
            f"batch {count}: at these rates {1000 * bound:.1f} ms of arithmetic, "
            f"{1000 * memory:.1f} ms of memory: {100 * share:.0f} % of {peak(given)[1]}"
        )
    note(given, NOTHING, lines, product=product, copies=moved, **facts(given))


def layers(given: Given) -> None:
    """FLOP/s of every convolution of the network alone, forward and with its backward pass."""
    count = given.batches[-1]
    with torch.device("meta"):
        net = DeepLabVGG16(given.classes, given.width)
        shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(
                    lambda m, i, o, name=name: shapes.__setitem__(name, (i[0].shape, o.shape))
                )
        net(torch.empty(count, 3, given.size, given.size))
    rates = {}
    for name, (taken, made) in shapes.items():
        convolution = net.get_submodule(name).to_empty(device="cpu")
        assert isinstance(convolution, nn.Conv2d)
        convolution.reset_parameters()
        rates[name] = convolution_rates(given, convolution, taken, made)
    lines = [
        f"batch {count} {name:<12} forward {r['forward_tflops']:6.1f} TFLOP/s, with backward "
        f"{r['both_tflops']:6.1f} TFLOP/s, {r['both_ms']:7.2f} ms"
        for name, r in rates.items()
    ]
    alone = sum(r["both_ms"] for r in rates.values())
    lines.append(f"batch {count}: all convolutions, one by one: {alone:.2f} ms")
    note(given, NOTHING, lines, batch=count, convolutions=rates)


def convolution_rates(
    given: Given, convolution: nn.Conv2d, taken: torch.Size, made: torch.Size
) -> dict[str, float]:
    """In bf16, channels last; the first layer's image gets no gradient."""
    where: dict[str, Any] = {"device": given.machine.device, "dtype": torch.bfloat16}
    convolution = convolution.to(**where, memory_format=torch.channels_last)
    image, slope = (
        torch.randn(shape, **where).to(memory_format=torch.channels_last) for shape in (taken, made)
    )
    wanted = [*convolution.parameters()]
    if taken[1] > 3:
        wanted.append(image.requires_grad_())

    def both() -> object:
        return torch.autograd.grad(convolution(image), wanted, slope)

    with torch.no_grad():
        there = least(lambda: convolution(image))
    flops = 2 * made.numel() * taken[1] * convolution.kernel_size[0] ** 2
    seconds = least(both)
    return {
        "forward_tflops": flops / there / 1e12,
        "both_tflops": len(wanted) * flops / seconds / 1e12,  # weights, bias, image: three passes
        "both_ms": 1000 * seconds,
    }
