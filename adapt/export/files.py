"""The files of an export folder: model.json, load.py, which makes the network, and README.md."""

from pathlib import Path
from typing import Any

from adapt.disk.runs import read_config, read_environment, read_summary
from adapt.export.onnx_graph import OPSET
from adapt.export.recipe import OURS, Recipe, Signature
from adapt.networks.saved import WEIGHTS, Model
from adapt.networks.taps import LOGITS, aliases, split_tap
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
    channels, scaled = len(network.mean), "value / 255" if network.range == 1 else "value"
    turned = "to BGR, " if network.order == "bgr" else ""
    weights = regression["taps"] if regression["weight"] else {}
    regressed = {regression["student"].get(tap, tap): weight for tap, weight in weights.items()}
    layers = {
        tap: ".".join(filter(None, split_tap(model.net, tap))) for tap in regressed if tap != LOGITS
    }
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
            "layout": f"(batch, {channels}, height, width)",
            "channels": channels,
            "colours": "RGB" if channels == 3 else None,
            "type": "uint8",
            "range": [0, 255],
            "normalisation": f"{turned}({scaled} - mean) / std, inside model.onnx and load.py's "
            "logits()",
            "network_order": network.order,
            "network_range": network.range,
            "mean": network.mean,
            "std": network.std,
            "resize": settings.resize or None,
            "fit": settings.fit,
            "resize_method": "(height, width) by area where it shrinks the image, else bilinear",
            "multiple_of": signature.multiple,
        },
        "output": {
            "layout": "(batch, class, height / stride, width / stride)",
            "stride": signature.stride,
            "taken": signature.output,
            "one_logit": signature.one_logit,
            "void": len(model.classes) if network.void else None,
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


def filled_in(template: str, **values: Any) -> str:
    """The text of a template in this folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def load_text(about: dict[str, Any], recipe: Recipe) -> str:
    """A module that makes the network of torch, safetensors and what the recipe requires. Values
    stand in it as Python quotes them."""
    return filled_in(
        "load.py.j2", about=about, recipe=recipe, ours=OURS, weights=WEIGHTS, repr=repr
    )


def readme_text(about: dict[str, Any], recipe: Recipe, parity: dict[str, Any]) -> str:
    """README.md: what the folder holds, how to run it, and how close it is to the run."""
    needs = dict.fromkeys(("torch", "safetensors", *about["architecture"]["requires"]))
    given = {"about": about, "recipe": recipe, "parity": parity, "opset": OPSET}
    return filled_in("README.md.j2", **given, needs=", ".join(needs), numbers=numbers)


def numbers(found: dict[str, Any]) -> tuple[str, str, str]:
    """The parity of a format in words: the logits, the classes, and mIoU with its change or, where
    labels are missing, the agreement with the run."""
    change, miou = found["miou_difference"], f"agreement {found['agreement_miou']:.3f} %"
    if change is not None:
        miou = f"{found['miou']:.3f} % ({round(change, 4) + 0.0:+.4f})"  # never -0.0000
    largest, span = f"{found['max_logit_difference']:.2g}", f"{found['logit_range']:.3g}"
    allowed = f"{largest} of {span} ({found['tolerance']:.2g} allowed)"
    return allowed, f"{found['equal_argmax']:.4f} %", miou
