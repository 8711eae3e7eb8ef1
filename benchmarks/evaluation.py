"""Evaluation after the network: logits to confusion matrix at the images' own size.

    python benchmarks/evaluation.py [--rounds 20] [--batch 8] [--size 360 480] [--classes 11]
                                    [--threads 1]

Against what users write: `F.interpolate` of NCHW logits, `argmax`, torchmetrics' confusion matrix
(`pip install .[peers]`). The counts are compared in every run.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch.nn.functional import interpolate

from adapt.data.images import IGNORE
from adapt.evaluation.metrics import confusion
from adapt.evaluation.protocol import most_likely
from adapt.machine.runtime import runtime
from benchmarks.measure import conclude, measure, settings


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


def main() -> None:
    given = settings(__doc__, rounds=20, batch=8, size=[360, 480], classes=11, threads=1)
    torch.set_num_threads(given.threads)
    device = runtime("auto", "fp32").device
    every = variants_of(device, given.batch, given.size, given.classes)
    elsewhere = int(np.abs(every["usual"]() - every["ours"]()).sum()) // 2
    print(f"pixels counted elsewhere than by torchmetrics: {elsewhere}")
    pairs = [(f"ours{part}", f"usual{part}") for part in ("", " labels", " matrix")]
    pairs.append(("counted there", "ours"))
    conclude(given.out, measure(every, given.rounds), pairs, given.batch, moved=elsewhere)


if __name__ == "__main__":
    main()
