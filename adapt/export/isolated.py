"""Runs an exported network in a process of its own that has nothing of this project.

It is started as `python -I -B isolated.py FORMAT FOLDER WORK THREADS [PATH ...]`. For each <n>.npy
in WORK, images (B, C, H, W), it writes `logits` and `classes`, of several heads `logits_TASK` and
`classes_TASK`, to WORK/<FORMAT><n>.npz.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def safetensors(folder: str, threads: int) -> Callable[[Any], dict[str, Any]]:
    """The folder's own modeling.py, with torch, safetensors and, where it is there,
    huggingface_hub. What a factory compiles is run as it was."""
    import torch

    torch.set_num_threads(threads)
    torch.compiler.set_stance("force_eager")
    sys.path.insert(0, folder)
    modeling = import_module("modeling")
    net = modeling.Segmenter.from_pretrained(folder)

    @torch.no_grad()
    def predict(images: Any) -> dict[str, Any]:
        output, found = net(torch.from_numpy(images)), {}
        for task, logits in output.items() if isinstance(output, dict) else [("", output)]:
            ending = f"_{task}" if task else ""
            found[f"logits{ending}"] = logits.numpy()
            found[f"classes{ending}"] = modeling.classes(logits, images.shape[-2:]).numpy()
        return found

    return predict


def onnx(folder: str, threads: int) -> Callable[[Any], dict[str, Any]]:
    """The folder's model.onnx, with onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path, providers = str(Path(folder) / "model.onnx"), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


if __name__ == "__main__":
    sys.modules["adapt"] = None  # type: ignore[assignment]  # importing it fails, installed or not
    kind, folder, work, threads, *paths = sys.argv[1:]
    sys.path += paths
    import numpy as np

    predict = {"safetensors": safetensors, "onnx": onnx}[kind](folder, int(threads))
    for path in Path(work).glob("*.npy"):
        np.savez(path.with_name(f"{kind}{path.stem}.npz"), **predict(np.load(path)))
