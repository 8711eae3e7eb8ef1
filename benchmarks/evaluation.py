"""Evaluation, against what users write; what both find is compared in every run.

    python benchmarks/evaluation.py [--rounds 20] [--batch 8] [--size 360 480] [--classes 11]
                                    [--threads 1]
    python benchmarks/evaluation.py protocols --rounds 5 [--width 0.25] [--window 240 240] [...]

The first measures from logits to the confusion matrix at the images' own size: `F.interpolate` of
NCHW logits, `argmax`, torchmetrics' confusion matrix (`pip install .[peers]`). The second measures
images to classes with a network: windows one after the other, padded to the image and added up;
scales and mirroring as a list of probabilities whose mean is taken.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from adapt.data.images import IGNORE
from adapt.evaluation.metrics import confusion
from adapt.evaluation.protocol import most_likely, places, predict
from adapt.machine.runtime import Runtime, runtime
from adapt.networks import build_network
from adapt.networks.preprocessing import as_input
from adapt.networks.taps import logits_of
from adapt.settings.groups import NetworkConfig
from adapt.settings.protocol import ProtocolConfig
from benchmarks.measure import conclude, measure, peak, settings


def variants_of(
    device: torch.device, batch: int, size: Sequence[int], classes: int
) -> dict[str, Callable[[], Any]]:
    """Labels and counts from logits of noise on a device; `counted there` makes sense on GPUs."""
    from torchmetrics.classification import MulticlassConfusionMatrix

    rng, (height, width) = np.random.default_rng(0), size
    shape = (batch, classes, -(-height // 8), -(-width // 8))
    logits = torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(device)
    maps = logits.to(memory_format=torch.channels_last)  # as the project's networks leave them
    truth = rng.integers(0, classes + 1, (batch, height, width)).astype(np.uint8)
    truth[truth == classes] = IGNORE
    labels = torch.from_numpy(truth).to(device)
    metric = MulticlassConfusionMatrix(classes, ignore_index=IGNORE).to(device)
    our_labels = partial(most_likely, maps, (height, width))
    predicted = our_labels()

    def ours() -> np.ndarray:
        found = our_labels().cpu().numpy()
        return sum(confusion(t, p, classes) for t, p in zip(truth, found, strict=True))

    def counted_there() -> np.ndarray:
        """The confusion matrix by the device's own bincount."""
        joint = (labels.int() << 8) | our_labels().int()
        counts = torch.bincount(joint.flatten(), minlength=256 * 256).view(256, 256)
        return counts[:classes, :classes].cpu().numpy()

    def usual_labels() -> torch.Tensor:
        scaled = interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return scaled.argmax(dim=1)

    def usual() -> np.ndarray:
        metric.reset()
        metric.update(usual_labels(), labels)
        return metric.compute().cpu().numpy()

    return {
        "usual": usual,
        "ours": ours,
        "counted there": counted_there,
        "usual labels": usual_labels,
        "ours labels": our_labels,
        "usual matrix": partial(metric.update, predicted, labels),
        "ours matrix": partial(confusion, truth, predicted.cpu().numpy(), classes),
    }


def protocols_of(
    machine: Runtime, batch: int, size: list[int], classes: int, width: float, window: list[int]
) -> dict[str, Callable[[], Any]]:
    """Classes of images of noise, by one network in one precision: in windows that overlap by a
    third, and at three scales, each mirrored too."""
    network = NetworkConfig(width=width, batch_norm=True)
    net = machine.place(build_network(network, classes)).eval()
    images = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)
    scales, (height, wide) = [0.75, 1.0, 1.25], window
    windows, several = ProtocolConfig(window=window), ProtocolConfig(scales=scales, flip=True)

    def logits(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), machine.autocast():
            return logits_of(net(x)).float()

    def upsampled(x: torch.Tensor, to: Sequence[int]) -> torch.Tensor:
        return interpolate(x, list(to), mode="bilinear", align_corners=False)

    def normalised() -> torch.Tensor:
        return as_input(machine.images(images), network)

    def usual_windows() -> np.ndarray:
        x, (bottom, right) = normalised(), size
        total, times = x.new_zeros(batch, classes, *size), x.new_zeros(1, 1, *size)
        for y in places(bottom, height, max(1, 2 * height // 3)):
            for left in places(right, wide, max(1, 2 * wide // 3)):
                found = upsampled(logits(x[..., y : y + height, left : left + wide]), window)
                total += pad(found, (left, right - left - wide, y, bottom - y - height))
                times[..., y : y + height, left : left + wide] += 1
        return (total / times).argmax(dim=1).cpu().numpy()

    def usual_scales() -> np.ndarray:
        x, every = normalised(), []
        for scale in scales:
            seen = upsampled(x, [round(side * scale) for side in size]) if scale != 1 else x
            every.append(upsampled(logits(seen), size).softmax(dim=1))
            every.append(upsampled(logits(seen.flip(-1)).flip(-1), size).softmax(dim=1))
        return torch.stack(every).mean(dim=0).argmax(dim=1).cpu().numpy()

    def ours(protocol: ProtocolConfig) -> np.ndarray:
        return predict(machine, net, network, images, (size[0], size[1]), protocol, batch)

    return {
        "usual windows": usual_windows,
        "ours windows": partial(ours, windows),
        "usual scales": usual_scales,
        "ours scales": partial(ours, several),
    }


def protocols(given: argparse.Namespace) -> None:
    of_images = (given.batch, given.size, given.classes, given.width, given.window)
    every = protocols_of(runtime("auto", "auto"), *of_images)
    pairs = [(f"ours {kind}", f"usual {kind}") for kind in ("windows", "scales")]
    moved = {a: float((every[a]() != every[b]()).mean()) for a, b in pairs}
    memory = {name: peak(variant) / 2**20 for name, variant in every.items()}
    print("pixels of another class:", moved, "\nMiB at most:", memory)
    conclude(given.out, measure(every, given.rounds), pairs, given.batch, moved=moved, mib=memory)


def main() -> None:
    given = settings(
        __doc__, ["matrix", "protocols"], rounds=20, batch=8, size=[360, 480], classes=11,
        threads=1, width=0.25, window=[240, 240],
    )  # fmt: skip
    torch.set_num_threads(given.threads)
    if given.what == "protocols":
        return protocols(given)
    device = runtime("auto", "fp32").device
    every = variants_of(device, given.batch, given.size, given.classes)
    elsewhere = int(np.abs(every["usual"]() - every["ours"]()).sum()) // 2
    print(f"pixels counted elsewhere than by torchmetrics: {elsewhere}")
    pairs = [(f"ours{part}", f"usual{part}") for part in ("", " labels", " matrix")]
    pairs.append(("counted there", "ours"))
    conclude(given.out, measure(every, given.rounds), pairs, given.batch, moved=elsewhere)


if __name__ == "__main__":
    main()
