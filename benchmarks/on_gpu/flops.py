"""FLOPs of DeepLab-LargeFOV on VGG-16, counted on the meta device; what they take, worked out.

A multiplication and an addition are two. Only convolutions count: everything else in the network
(ReLU, pooling, upsampling, the loss) is a matter of memory, not of arithmetic.
"""

from torch import Tensor, device
from torch import empty as empty_tensor
from torch.utils.flop_counter import FlopCounterMode

from adapt.networks.deeplab_vgg16 import STAGES, DeepLabVGG16
from adapt.networks.taps import LOGITS, forward
from benchmarks.on_gpu.roofline import ACTIVATIONS, BANDWIDTH, supervised_costs

SIZE, CLASSES = 321, 21
ITERATIONS, BATCH = 20_000, 10
"""The paper's supervised training."""
PEAKS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H200 NVL": 835, "H100": 989, "H200": 989, "A100": 312,
    "L40S": 362,
}  # fmt: skip
"""TFLOP/s in bf16 with fp32 sums, dense, from the vendor's data sheets; the first that the device's
name contains."""
ASSUMED = ("H100", 989)
TAPS = ("pool1", "pool2", "pool3", "pool4", "pool5")


def peak_of(name: str) -> int | None:
    """TFLOP/s of a GPU by its name; None = not in the table."""
    return next((rate for key, rate in PEAKS.items() if key in name), None)


def counted(
    tap: str = LOGITS, size: int = SIZE, classes: int = CLASSES, width: float = 1.0
) -> tuple[int, int]:
    """FLOPs of an image's forward pass to a tap, and of the backward pass from there; the input
    gets no gradient."""
    with device("meta"):
        net = DeepLabVGG16(classes, width)
        image = empty_tensor(1, 3, size, size)
    with FlopCounterMode(display=False) as there:
        maps: Tensor = forward(net, image, [tap])[tap]
    with FlopCounterMode(display=False) as back:
        maps.sum().backward()
    return there.get_total_flops(), back.get_total_flops()


def by_hand(tap: str = LOGITS, size: int = SIZE, classes: int = CLASSES) -> int:
    """The forward pass's FLOPs at width 1: 2 C_in C_out k^2 for each cell of every convolution."""
    channels, total = 3, 0
    for number, (out, depth) in enumerate(STAGES, 1):
        for _ in range(depth):
            total += 2 * 9 * channels * out * size**2
            channels = out
        size = -(-size // 2) if number < 4 else size
        if tap == f"pool{number}":
            return total
    return total + 2 * size**2 * (9 * channels * 1024 + 1024 * 1024 + 1024 * classes)


def map_bytes(tap: str, size: int = SIZE) -> int:
    """Of an image's map in bf16."""
    number = int(tap[-1])
    side = size
    for _ in range(min(number, 3)):
        side = -(-side // 2)
    return 2 * STAGES[number - 1][0] * side**2


def supervised(size: int = SIZE, classes: int = CLASSES, width: float = 1.0) -> int:
    """FLOPs an image of a supervised step."""
    return sum(counted(LOGITS, size, classes, width))


def adaptation(tap: str, size: int = SIZE, width: float = 1.0) -> int:
    """FLOPs a pair of an adaptation step: the teacher's pass to the tap, the student's both."""
    there, back = counted(tap, size, width=width)
    return 2 * there + back


def arithmetic() -> str:
    """The tables of docs/gpu.md."""
    there, back = counted()
    whole = there + back
    training = ITERATIONS * BATCH * whole
    name, peak = ASSUMED
    lines = [
        f"| {SIZE}x{SIZE}, {CLASSES} classes | GFLOP an image |",
        "|---|---|",
        f"| forward, counted | {there / 1e9:.1f} |",
        f"| forward, by hand | {by_hand() / 1e9:.1f} |",
        f"| backward | {back / 1e9:.1f} |",
        f"| **supervised step** | **{whole / 1e9:.1f}** |",
        "",
        f"{ITERATIONS:,} iterations of {BATCH} images: {training / 1e15:.1f} PFLOP.",
        "",
        f"| share of {peak} TFLOP/s ({name}) | images/s | step of {BATCH}, ms | step of 64, ms "
        "| the paper's training, min |",
        "|---|---|---|---|---|",
    ]
    for share in (0.3, 0.5, 1.0):
        rate = share * peak * 1e12 / whole
        lines.append(
            f"| {100 * share:.0f} % | {rate:,.0f} | {1000 * BATCH / rate:.1f} "
            f"| {64_000 / rate:.1f} | {ITERATIONS * BATCH / rate / 60:.1f} |"
        )
    lines += [
        "",
        f"| step of 64 on an {name}, operation by operation | ms | share of the peak |",
        "|---|---|---|",
    ]
    costs = supervised_costs(SIZE, CLASSES, 64)
    bound, moved = costs.least(peak * 1e12, BANDWIDTH * 1e12)
    lines += [
        f"| bound by arithmetic | {1000 * bound:.1f} | |",
        f"| bound by memory | {1000 * moved:.1f} | |",
    ]
    unfused, rest = costs.without(ACTIVATIONS).least(peak * 1e12, BANDWIDTH * 1e12)
    for what, seconds in (("an eager step at least", bound + moved),
                          ("the same, ReLUs within the convolutions", unfused + rest)):  # fmt: skip
        share = 64 * whole / seconds / (peak * 1e12)
        lines.append(f"| {what} | {1000 * seconds:.1f} | {100 * share:.0f} % |")
    lines += [
        "",
        "| adaptation step | GFLOP a pair | of a supervised step | with the teacher's map kept "
        "| the map in bf16, MB | fetched as fast as computed, GB/s |",
        "|---|---|---|---|---|---|",
    ]
    for tap in TAPS:
        both, kept, taught = adaptation(tap), sum(counted(tap)), counted(tap)[0]
        size = map_bytes(tap)
        lines.append(
            f"| {tap} | {both / 1e9:.1f} | {both / whole:.2f} | {kept / whole:.2f} "
            f"| {size / 1e6:.2f} | {size / (taught / (0.5 * peak * 1e12)) / 1e9:.0f} |"
        )
    return "\n".join(lines)
