"""Runs an exported network in a process of its own that has nothing of this project.

It is started as `python -I -B isolated.py FORMAT FOLDER WORK THREADS [PATH ...]`. For each <n>.npy
in WORK, images (B, C, H, W), it writes `logits` and `classes` to WORK/<FORMAT><n>.npz.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def safetensors(folder: str, threads: int) -> Callable[[Any], tuple[Any, Any]]:
    """The folder's own modeling.py, with torch, safetensors and, where it is there,
    huggingface_hub. What a factory compiles is run as it was."""
    import torch

    torch.set_num_threads(threads)
    torch.compiler.set_stance("force_eager")
    sys.path.insert(0, folder)
    modeling = import_module("modeling")
    net = modeling.Segmenter.from_pretrained(folder)

    @torch.no_grad()
    def predict(images: Any) -> tuple[Any, Any]:
        logits = net(torch.from_numpy(images))
        return logits.numpy(), modeling.classes(logits, images.shape[-2:]).numpy()

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
