"""The files of an export folder: model.json, load.py, which makes the network, and README.md."""

from pathlib import Path
from typing import Any

from adapt.disk.runs import read_config, read_environment, read_summary
from adapt.export.onnx_graph import OPSET
from adapt.export.recipe import OURS, Recipe, Signature
from adapt.networks.saved import WEIGHTS, Model
from adapt.networks.taps import LOGITS, aliases, resolve
from adapt.settings.groups import DataConfig

FORMAT, KIND = 1, "export"
ONNX, PARITY, LOAD, README = "model.onnx", "parity.json", "load.py", "README.md"
LEFT_OUT = ("run", "teacher", "start", "data", "network", "domain", "device", "workers")
"""Settings in a run's record that stand elsewhere in model.json or belong to one machine."""


def provenance(run: Path) -> dict[str, Any]:
    """Where a run's network comes from: teacher, start, settings and versions."""
    recorded, inputs, made = read_config(run), read_summary(run)["inputs"], read_environment(run)

    def public(path: str) -> str:
        """Of an absolute path, which belongs to one machine, the last part."""
        return Path(path).name if Path(path).is_absolute() else path

    return {
        "run": public(recorded["run"]),
        "teacher": public(recorded["teacher"]),
        "teacher_sha256": inputs.get("teacher"),
        "start": public(recorded["start"]),
        "start_sha256": inputs.get("start"),
        "data": recorded["data"]["name"],
        "domain": recorded["domain"],
        "settings": {k: v for k, v in recorded.items() if k not in LEFT_OUT},
        "trained_with": {"python": made["python"], **made["packages"], "git": made["git"]},
    }


def description(
    model: Model, recipe: Recipe, signature: Signature, settings: DataConfig, origin: dict[str, Any]
) -> dict[str, Any]:
    """The content of model.json: all that is needed to make, feed and read the network."""
    network, regression = model.network, origin["settings"]["objective"]["regression"]
    regressed = regression["taps"] if regression["weight"] else {}
    layers = {tap: resolve(model.net, tap) for tap in regressed if tap != LOGITS}
    return {
        "format": FORMAT,
        "kind": KIND,
        "architecture": {
            "name": network.name,
            "import": f"{recipe.module}:{recipe.name}",
            "arguments": recipe.arguments,
            "source": f"{OURS}.py" if recipe.source else None,
            "requires": list(recipe.requires),
        },
        "weights": {
            "sha256": model.digest,
            "parameters": sum(p.numel() for p in model.net.parameters()),
        },
        "classes": list(model.classes),
        "input": {
            "layout": "(batch, 3, height, width)",
            "colours": "RGB",
            "type": "uint8",
            "range": [0, 255],
            "normalisation": "(value / 255 - mean) / std, inside model.onnx and load.py's logits()",
            "mean": network.mean,
            "std": network.std,
            "resize": settings.resize or None,
            "resize_method": "(height, width) by area where it shrinks the image, else bilinear",
            "multiple_of": signature.multiple,
        },
        "output": {
            "layout": "(batch, class, height / stride, width / stride)",
            "stride": signature.stride,
            "taken": signature.output,
            "upsampling": "bilinear, half-pixel centres (align_corners=False), to the wanted size",
            "class": "argmax of the upsampled logits",
        },
        "taps": {
            "regressed": regressed,
            "layers": layers,
            "distance": regression["distance"] if regressed else None,
            "aliases": aliases(model.net),
        },
        "origin": origin,
    }


def load_text(about: dict[str, Any], recipe: Recipe) -> str:
    """A module that makes the network of torch, safetensors and what the recipe requires."""
    given, output = about["input"], about["output"]["taken"]
    imported = f"from {recipe.module} import {recipe.name}"
    if recipe.module == OURS:
        imported = f"if __package__:\n    from .{OURS} import {recipe.name}\nelse:\n    {imported}"
    arguments = ", ".join(f"{k}={v!r}" for k, v in recipe.arguments.items())
    return f'''"""The network of this folder: `load.network()`. See README.md and model.json."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load

{imported}

WEIGHTS = Path(__file__).with_name("{WEIGHTS}")
SHA256 = "{about["weights"]["sha256"]}"
CLASSES = {about["classes"]!r}
MEAN, STD = {given["mean"]!r}, {given["std"]!r}


def network() -> torch.nn.Module:
    """The network in eval mode, on the CPU. It takes normalised images; `logits` normalises."""
    content = WEIGHTS.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{{WEIGHTS}} is damaged: its SHA-256 is not {{SHA256}}")
    net = {recipe.name}({arguments})
    net.load_state_dict(load(content))
    return net.eval()


def logits(net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """uint8 RGB images (B, 3, H, W) -> logits (B, {len(about["classes"])}, h, w)."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        given = f"{{images.dtype}} {{tuple(images.shape)}}"
        raise ValueError(f"images are {{given}}; give uint8 (B, 3, H, W)")
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1) * 255
    with torch.no_grad():
        return net((images.float() - mean) / std){output}


def classes(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Logits -> class indices, uint8 (B, H, W), at a size (H, W): bilinear, then argmax."""
    full = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    return full.argmax(dim=1).to(torch.uint8)
'''


def readme_text(about: dict[str, Any], recipe: Recipe, parity: dict[str, Any]) -> str:
    """README.md: what the folder holds, how to run it, and how close it is to the run."""
    made, given, stride = about["architecture"], about["input"], about["output"]["stride"]
    read = 'image = cv2.cvtColor(cv2.imread("photo.png"), cv2.COLOR_BGR2RGB)  # (H, W, 3)'
    sizes = f"Height and width must be multiples of {given['multiple_of']}"
    if given["multiple_of"] in (1, None):
        sizes = "Height and width are free" if given["multiple_of"] else "It takes one size only"
    if given["resize"] is None:
        sizes += "; the run was evaluated on images at their own size."
        read += "\nseen = image"
        found = "found = classes[0]  # (H, W)"
    else:
        height, width = given["resize"]
        sizes += (
            f"; the run was evaluated on images brought to {width}x{height} (by area where that "
            "shrinks them, else bilinearly), as below."
        )
        read += f"""
area = image.shape[0] * image.shape[1] > {height} * {width}
method = cv2.INTER_AREA if area else cv2.INTER_LINEAR
seen = cv2.resize(image, ({width}, {height}), interpolation=method)"""
        found = """size = image.shape[1::-1]  # of the photo; `classes` has the size of `seen`
full = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in logits[0]]
found = np.argmax(full, axis=0).astype(np.uint8)  # (H, W)"""
    text = f"""# {made["name"]}, {len(about["classes"])} classes

Segmentation network of the run `{about["origin"]["run"]}`. `model.json` has all that is known of
it.

Input: RGB, uint8 0..255, (batch, 3, height, width); it is normalised inside. {sizes}
Output: logits, one cell for {stride}x{stride} pixels of the image; upsampled bilinearly (half-pixel
centres), their argmax is the class:
{", ".join(f"{i} {name}" for i, name in enumerate(about["classes"]))}.
"""
    if "safetensors" in parity["formats"]:
        needs = ", ".join(dict.fromkeys(("torch", "safetensors", *made["requires"])))
        own = f" The network itself comes from your own `{recipe.module}`." if recipe.root else ""
        text += f"""
## PyTorch

Needs {needs} (OpenCV and numpy only to read images). Put this folder on the path, or copy it into a
package.{own}

```python
import cv2, torch
import load

net = load.network()
{read}
logits = load.logits(net, torch.from_numpy(seen).permute(2, 0, 1)[None])
found = load.classes(logits, image.shape[:2])[0].numpy()  # (H, W)
cv2.imwrite("classes.png", found)
```
"""
    if "onnx" in parity["formats"]:
        text += f"""
## ONNX

Opset {OPSET}; needs onnxruntime (OpenCV and numpy only around it). Input `image`; outputs `logits`,
and `classes`, uint8 (batch, height, width) at the input's size.

```python
import cv2, onnxruntime
import numpy as np

session = onnxruntime.InferenceSession("model.onnx")
{read}
logits, classes = session.run(None, {{"image": seen.transpose(2, 0, 1)[None]}})
{found}
cv2.imwrite("classes.png", found)
```
"""
    rows = "\n".join(f"| {k} | {' | '.join(numbers(v))} |" for k, v in parity["formats"].items())
    return f"""{text}
## Parity

Each format was run in a process without the training project and compared with the run itself, fp32
on the CPU, on {len(parity["images"]["names"])} images and on noise of other sizes (`parity.json`):

| | largest difference of logits | equal classes | mIoU |
|---|---|---|---|
{rows}
"""


def numbers(found: dict[str, Any]) -> tuple[str, str, str]:
    """The parity of a format in words: the logits, the classes, and mIoU with its change or, where
    labels are missing, the agreement with the run."""
    change, miou = found["miou_difference"], f"agreement {found['agreement_miou']:.3f} %"
    if change is not None:
        miou = f"{found['miou']:.3f} % ({round(change, 4) + 0.0:+.4f})"  # never -0.0000
    largest, span = f"{found['max_logit_difference']:.2g}", f"{found['logit_range']:.3g}"
    allowed = f"{largest} of {span} ({found['tolerance']:.2g} allowed)"
    return allowed, f"{found['equal_argmax']:.4f} %", miou
