"""Runs an exported network in a process of its own that has nothing of this project.

Started as `python -I -B isolated.py FORMAT FOLDER THREADS [PATH ...]`. For each .npy file, uint8
(B, 3, H, W), that its input names it writes `logits` and `classes` beside it as .npz and says so.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

DONE = "isolated: done"
Predict = Callable[[Any], tuple[Any, Any]]


def safetensors(folder: str, threads: int) -> Predict:
    """The folder's own load.py: torch and safetensors."""
    import torch

    torch.set_num_threads(threads)
    sys.path.insert(0, folder)
    load = import_module("load")
    net = load.network()

    def predict(images: Any) -> tuple[Any, Any]:
        logits = load.logits(net, torch.from_numpy(images))
        return logits.numpy(), load.classes(logits, images.shape[-2:]).numpy()

    return predict


def onnx(folder: str, threads: int) -> Predict:
    """The folder's model.onnx: onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path, providers = str(Path(folder) / "model.onnx"), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)

    def predict(images: Any) -> tuple[Any, Any]:
        return tuple(session.run(["logits", "classes"], {"image": images}))

    return predict


if __name__ == "__main__":
    sys.modules["adapt"] = None  # type: ignore[assignment]  # installed or not: importing it fails
    kind, folder, threads, *paths = sys.argv[1:]
    sys.path += paths
    import numpy as np

    predict = {"safetensors": safetensors, "onnx": onnx}[kind](folder, int(threads))
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        logits, classes = predict(np.load(path))
        np.savez(path.with_suffix(".npz"), logits=logits, classes=classes)
        print(DONE, flush=True)
