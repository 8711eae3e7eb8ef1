"""The texts of an export folder: config.json, modeling.py, which makes the network, and the model
card."""

from pathlib import Path
from typing import Any

from adapt.data.images import DEEP
from adapt.disk.runs import WEIGHTS, read_config, read_environment, read_summary
from adapt.export.onnx_graph import OPSET
from adapt.export.recipe import OURS, Recipe, Signature
from adapt.networks.saved import Model
from adapt.networks.taps import LOGITS, aliases, split_tap
from adapt.training.verdict import Verdict

FORMAT, KIND = 1, "export"
CONFIG, MODELING, CARD = "config.json", "modeling.py", "README.md"
ONNX, PARITY = "model.onnx", "parity.json"
UNKNOWN = "unknown"
"""The licence, in the Hub's words, where nobody has stated one."""
LEFT_OUT = ("run", "teacher", "start", "data", "network", "domain", "device", "workers")
"""Settings in a run's record that stand elsewhere in config.json or belong to one machine."""


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
    model: Model,
    recipe: Recipe,
    signature: Signature,
    seen: dict[str, Any],
    license: str,
    origin: dict[str, Any],
) -> dict[str, Any]:
    """The content of config.json: all that is needed to make, feed and read the network.

    Args:
        model: the run's network.
        recipe: how it is made again.
        signature: what it takes and returns.
        seen: of the images `type`, `bands`, `file_range`, `resize` and `fit`, and the graph's
            `onnx_size`.
        license: the Hub's name of it; empty = unknown.
        origin: as `provenance`.
    """
    network, regression = model.network, origin["settings"]["objective"]["regression"]
    channels, largest = len(network.mean), DEEP if seen["type"] == "uint16" else 255
    scaled = "value" if network.range == largest else f"value / {largest / network.range:g}"
    turned = "to BGR, " if network.order == "bgr" else ""
    weights = regression["taps"] if regression["weight"] else {}
    regressed = {regression["student"].get(tap, tap): weight for tap, weight in weights.items()}
    layers = {
        tap: ".".join(filter(None, split_tap(model.net, tap))) for tap in regressed if tap != LOGITS
    }
    return {
        "format": FORMAT,
        "kind": KIND,
        "license": license or UNKNOWN,
        "architecture": {
            "name": network.name,
            "import": f"{recipe.module}:{recipe.name}",
            "arguments": recipe.arguments,
            "source": f"{OURS}.py" if recipe.source else None,
            "requires": list(recipe.requires),
        }
        | ({"adapters": recipe.adapters} if recipe.adapters else {}),
        "weights": {
            "sha256": model.digest,
            "parameters": sum(p.numel() for p in model.net.parameters()),
        },
        "classes": {task: list(own) for task, own in model.tasks.items()} or list(model.classes),
        "input": {
            "layout": f"(batch, {channels}, height, width)",
            "channels": channels,
            "colours": "RGB" if channels == 3 else None,
            "range": [0, largest],
            "normalisation": f"{turned}({scaled} - mean) / std, inside {ONNX} and {MODELING}",
            "network_order": network.order,
            "network_range": network.range,
            "mean": network.mean,
            "std": network.std,
            **seen,
            "resize_method": "(height, width) by area where it shrinks the image, else bilinear",
            "multiple_of": signature.multiple,
        },
        "output": {
            "layout": ("a mapping from each task to " if model.tasks else "")
            + "(batch, class, height / stride, width / stride)",
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


def modeling_text(about: dict[str, Any], recipe: Recipe) -> str:
    """A module that opens the folder with torch, safetensors and what the recipe requires. What a
    run's record says stays in config.json and is no part of the code."""
    several = isinstance(about["classes"], dict)
    given = {"recipe": recipe, "output": about["output"], "ours": OURS, "several": several}
    return filled_in("modeling.py.j2", **given, weights=WEIGHTS, config=CONFIG)


def card_text(
    about: dict[str, Any], recipe: Recipe, parity: dict[str, Any], verdict: Verdict | None
) -> str:
    """The model card: what the folder holds and comes from, how to run it, how good and how close
    to the run it is."""
    needs = dict.fromkeys(("torch", "safetensors", *about["architecture"]["requires"]))
    classes, stride = about["classes"], about["output"]["stride"]
    heads = classes if isinstance(classes, dict) else {"": classes}
    given: dict[str, Any] = {"about": about, "recipe": recipe, "parity": parity}
    given |= {"heads": heads, "strides": stride if isinstance(stride, dict) else {"": stride}}
    given |= {"first": next(iter(heads)), "formats": {k.split(",")[0] for k in parity["formats"]}}
    given |= {"wide": (about["output"]["void"] or max(map(len, heads.values())) - 1) > 255}
    return filled_in(
        "README.md.j2",
        **given,
        verdict=verdict,
        needs=", ".join(needs),
        numbers=numbers,
        opset=OPSET,
        unknown=UNKNOWN,
    )


def numbers(found: dict[str, Any]) -> tuple[str, str, str]:
    """The parity of a format in words: the logits, the classes, and mIoU with its change or, where
    labels are missing, the agreement with the run."""
    change, miou = found["miou_difference"], f"agreement {found['agreement_miou']:.3f} %"
    if change is not None:
        miou = f"{found['miou']:.3f} % ({round(change, 4) + 0.0:+.4f})"  # never -0.0000
    largest, span = f"{found['max_logit_difference']:.2g}", f"{found['logit_range']:.3g}"
    allowed = f"{largest} of {span} ({found['tolerance']:.2g} allowed)"
    return allowed, f"{found['equal_argmax']:.4f} %", miou
