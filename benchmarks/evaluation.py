"""Evaluation behind the network: logits to confusion matrix at the images' own size.

    python benchmarks/evaluation.py [--rounds 20] [--batch 8] [--size 360 480] [--classes 11]
                                    [--threads 1]

Against what users write: `F.interpolate` of NCHW logits, `argmax`, torchmetrics' confusion matrix
(`pip install .[peers]`). Counts are compared in every run.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from adapt.data.images import IGNORE
from adapt.evaluation.metrics import confusion
from adapt.evaluation.protocol import most_likely
from benchmarks.measure import measure, record, report

STRIDE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=[360, 480])
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="benchmarks/evaluation.jsonl")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rng = np.random.default_rng(0)
    height, width = given.size
    shape = (given.batch, given.classes, height // STRIDE, width // STRIDE)
    logits = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    beside = logits.to(memory_format=torch.channels_last)  # as the project's networks leave them
    truth = rng.integers(0, given.classes + 1, (given.batch, height, width)).astype(np.uint8)
    truth[truth == given.classes] = IGNORE
    labels = torch.from_numpy(truth)
    metric = MulticlassConfusionMatrix(given.classes, ignore_index=IGNORE)

    def usual_labels() -> torch.Tensor:
        size = (height, width)
        upsampled = torch.nn.functional.interpolate(
            logits, size, mode="bilinear", align_corners=False
        )
        return upsampled.argmax(dim=1)

    def usual() -> np.ndarray:
        metric.reset()
        metric.update(usual_labels(), labels)
        return metric.compute().numpy()

    def ours() -> np.ndarray:
        found = most_likely(beside, (height, width)).numpy()
        return sum(confusion(t, p, given.classes) for t, p in zip(truth, found, strict=True))

    found = most_likely(beside, (height, width)).numpy()
    moved = int(np.abs(usual() - ours()).sum()) // 2
    print(f"pixels counted elsewhere than by torchmetrics: {moved} of {truth.size}")
    predicted = torch.from_numpy(found)
    metric.reset()
    variants = {
        "usual": usual,
        "ours": ours,
        "usual labels": usual_labels,
        "ours labels": lambda: most_likely(beside, (height, width)),
        "usual matrix": lambda: metric.update(predicted, labels),
        "ours matrix": lambda: confusion(truth, found, given.classes),
    }
    seconds = measure(variants, given.rounds)
    pairs = [(f"ours{part}", f"usual{part}") for part in ("", " labels", " matrix")]
    record(given.out, seconds, report(seconds, pairs), moved=moved)


if __name__ == "__main__":
    main()
