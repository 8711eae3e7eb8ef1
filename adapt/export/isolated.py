"""Runs an exported network in a process of its own that has nothing of this project.

It is started as `python -I -B isolated.py FORMAT FOLDER WORK THREADS [PATH ...]`. For each <n>.npy
in WORK, uint8 (B, C, H, W), it writes `logits` and `classes` to WORK/<FORMAT><n>.npz.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def safetensors(folder: str, threads: int) -> Callable[[Any], tuple[Any, Any]]:
    """The folder's own load.py, with torch and safetensors."""
    import torch

    torch.set_num_threads(threads)
    sys.path.insert(0, folder)
    load = import_module("load")
    net = load.network()

    def predict(images: Any) -> tuple[Any, Any]:
        logits = load.logits(net, torch.from_numpy(images))
        return logits.numpy(), load.classes(logits, images.shape[-2:]).numpy()

    return predict


def onnx(folder: str, threads: int) -> Callable[[Any], tuple[Any, Any]]:
    """The folder's model.onnx, with onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path, providers = str(Path(folder) / "model.onnx"), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    return lambda images: tuple(session.run(["logits", "classes"], {"image": images}))


if __name__ == "__main__":
    sys.modules["adapt"] = None  # type: ignore[assignment]  # importing it fails, installed or not
    kind, folder, work, threads, *paths = sys.argv[1:]
    sys.path += paths
    import numpy as np

    predict = {"safetensors": safetensors, "onnx": onnx}[kind](folder, int(threads))
    for path in Path(work).glob("*.npy"):
        logits, classes = predict(np.load(path))
        np.savez(path.with_name(f"{kind}{path.stem}.npz"), logits=logits, classes=classes)
