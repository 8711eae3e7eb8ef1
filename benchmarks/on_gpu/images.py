"""What surrounds the training: filters, inversion, evaluation behind the network."""

from argparse import Namespace
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch

import transforms.torch as tensors
from adapt.data.images import IGNORE
from adapt.data.scenes import draw_scene
from adapt.evaluation.metrics import confusion
from adapt.evaluation.protocol import most_likely
from benchmarks.inversion import makers as inverters
from benchmarks.inversion import peak as peak_of
from benchmarks.measure import Variant
from benchmarks.on_gpu.given import Given, Tried, note, tried
from transforms import FILTERS

STRIDE, CAMVID_CLASSES = 8, 11


def filters(given: Given) -> None:
    """The filters on batches on the device against those on arrays, which have one core."""
    device, image = given.machine.device, draw_scene(0, 4, given.image)[0]
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    sizes = [(name, count) for name in FILTERS for count in given.filtered]
    for number, (name, count) in enumerate(sizes):
        batch = torch.from_numpy(image).permute(2, 0, 1).repeat(count, 1, 1, 1).to(device)
        more = {"seed": list(range(count))} if name == "cubism" else {}
        whole, one = partial(getattr(tensors, name), batch, **more), partial(FILTERS[name], image)
        apart = np.abs(whole()[0].permute(1, 2, 0).cpu().numpy().astype(int) - one()).max()
        makers: dict[str, Callable[[], Variant]] = {
            "array": lambda one=one: lambda: one() is None,
            f"batch of {count}": lambda whole=whole: whole,
        }
        pairs = [("array", f"batch of {count}")]
        found = tried(given, makers, pairs, share=1 / (len(sizes) - number), repeat=1)
        rates = {
            who: (count if who != "array" else 1) / (found.median(who) or float("nan"))
            for who in found.seconds
        }
        line = ", ".join(f"{who} {rate:.0f} images/s" for who, rate in rates.items())
        size = f"{given.image[1]}x{given.image[0]}"
        lines = [f"{name} {size}: {line}; at most {apart} of 255 levels apart"]
        note(given, found, lines, filter=name, images_per_second=rates, levels_apart=int(apart))


def inversion(given: Given) -> None:
    """benchmarks/inversion.py's variants, a whole inversion each."""
    size = 32 if given.small else 240
    settings = Namespace(size=size, width=given.width, taps="pool", clock="wall")
    made = inverters(settings)
    ready = {name: make() for name, make in made.items()}
    variants: dict[str, Callable[[], Variant]] = {
        name: lambda one=one: partial(one, given.evaluations) for name, one in ready.items()
    }
    pairs = [(name, f"tutorial {name.split()[1]}") for name in made if name.startswith("ours")]
    found = tried(given, variants, pairs, repeat=1)
    peaks = {n: peak_of(one) for n, one in ready.items()} if given.on_gpu else {}
    lines = [
        f"{name:<18} {1000 * (found.median(name) or 0):.2f} ms an evaluation of {size}x{size}"
        + (f", peak {peaks[name]:.0f} MB" if peaks else "")
        for name in found.seconds
    ]
    note(given, found, lines, evaluations=given.evaluations, peak_megabytes=peaks)


def counted_there(truth: torch.Tensor, found: torch.Tensor, classes: int) -> np.ndarray:
    """The confusion matrix by the device's own bincount; labels uint8, void IGNORE."""
    joint = (truth.int() << 8) | found.int()
    counts = torch.bincount(joint.flatten(), minlength=256 * 256).view(256, 256)
    return counts[:classes, :classes].cpu().numpy()


def evaluation(given: Given) -> None:
    """Logits on the device to a confusion matrix: ours (upsampled and argmax'd there, counted on
    the host), all of it there, and what users write."""
    device, classes, count = given.machine.device, CAMVID_CLASSES, 2 if given.small else 8
    height, width = given.image
    rng = np.random.default_rng(0)
    shape = (count, classes, -(-height // STRIDE), -(-width // STRIDE))
    logits = torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(device)
    beside = logits.to(memory_format=torch.channels_last)
    truth = rng.integers(0, classes + 1, (count, height, width)).astype(np.uint8)
    truth[truth == classes] = IGNORE
    labels = torch.from_numpy(truth).to(device)

    def ours() -> np.ndarray:
        found = most_likely(beside, (height, width)).cpu().numpy()
        return sum(confusion(t, p, classes) for t, p in zip(truth, found, strict=True))

    def there() -> np.ndarray:
        return counted_there(labels, most_likely(beside, (height, width)), classes)

    def usual() -> Variant:
        from torchmetrics.classification import MulticlassConfusionMatrix

        metric = MulticlassConfusionMatrix(classes, ignore_index=IGNORE).to(device)

        def run() -> np.ndarray:
            up = torch.nn.functional.interpolate(
                logits, (height, width), mode="bilinear", align_corners=False
            )
            metric.reset()
            metric.update(up.argmax(dim=1), labels)
            return metric.compute().cpu().numpy()

        return run

    makers: dict[str, Callable[[], Variant]] = {
        "usual": usual,
        "ours": lambda: ours,
        "counted there": lambda: there,
        "ours labels": lambda: lambda: most_likely(beside, (height, width)),
    }
    pairs = [("ours", "usual"), ("counted there", "usual"), ("counted there", "ours")]
    found = tried(given, makers, pairs, repeat=1)
    moved = int(np.abs(ours() - there()).sum())
    lines = [f"{name:<14} {rate(found, name, count):.0f} images/s" for name in found.seconds]
    lines.append(f"counts that differ between ours and counted there: {moved}")
    note(given, found, lines, batch=count, moved=moved)


def rate(found: Tried, name: str, count: int) -> float:
    return count / (found.median(name) or float("nan"))
