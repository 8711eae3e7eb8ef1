"""What stands in an export folder: model.json, and load.py, which makes the network of it."""

from pathlib import Path
from typing import Any

from adapt.disk.runs import read_config, read_environment, read_summary
from adapt.export.recipe import OURS, Recipe, Signature
from adapt.networks.saved import WEIGHTS, Model
from adapt.networks.taps import LOGITS, aliases, resolve
from adapt.settings.groups import DataConfig

FORMAT, KIND = 1, "export"
ONNX, PARITY, LOAD, README = "model.onnx", "parity.json", "load.py", "README.md"


SETTINGS_LEFT_OUT = ("run", "teacher", "start", "data", "network", "domain", "device", "workers")
"""Of a run's record: what stands elsewhere in model.json, or names folders of one machine."""


def origin_of(run: Path) -> dict[str, Any]:
    """Where a run's network comes from: teacher, start, settings, versions."""
    recorded, inputs, made = read_config(run), read_summary(run)["inputs"], read_environment(run)
    return {
        "run": public(recorded["run"]),
        "teacher": public(recorded["teacher"]),
        "teacher_sha256": inputs.get("teacher"),
        "start": public(recorded["start"]),
        "start_sha256": inputs.get("start"),
        "data": recorded["data"]["name"],
        "domain": recorded["domain"],
        "settings": {k: v for k, v in recorded.items() if k not in SETTINGS_LEFT_OUT},
        "trained_with": {"python": made["python"], **made["packages"], "git": made["git"]},
    }


def public(path: str) -> str:
    """A run's name as it was given; of an absolute path, which belongs to one machine, the end."""
    return Path(path).name if Path(path).is_absolute() else path


def description(
    model: Model, recipe: Recipe, signature: Signature, settings: DataConfig, origin: dict[str, Any]
) -> dict[str, Any]:
    """What model.json says of the network: all that is needed to make, feed and read it."""
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
    net = {recipe.call}
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
