"""The export command: a run's network in formats that need nothing of this project."""

import platform
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from adapt.data import DataSet, pixels_only, some
from adapt.data.sampling import alike
from adapt.disk.files import read_mapping, sha256, write_json, write_whole, writing
from adapt.disk.lock import whole_folder
from adapt.disk.runs import ABOUT, WEIGHTS
from adapt.errors import InputError, Stopped, listing
from adapt.evaluation.evaluate import heads_for
from adapt.evaluation.inference import Whole
from adapt.export.files import (
    CARD,
    CONFIG,
    KIND,
    MODELING,
    ONNX,
    PARITY,
    card_text,
    description,
    modeling_text,
    numbers,
    provenance,
)
from adapt.export.onnx_graph import NEEDED, check_installed, onnx_bytes
from adapt.export.parity import TOLERANCE, Case, check, noise
from adapt.export.recipe import OURS, Recipe, odd_sizes, recipe_of, signature_of, sizes
from adapt.machine.runtime import say
from adapt.networks import adapters as of_adapters
from adapt.networks import heads as several_heads
from adapt.networks.preprocessing import sees
from adapt.networks.saved import Model, load_model
from adapt.settings.commands import ExportConfig
from adapt.settings.groups import DataConfig
from adapt.training.verdict import read_verdict

FILES = {"safetensors": WEIGHTS, "onnx": ONNX}
HEADS, ADAPTERS = "heads.py", "adapters.py"
MINE = {CONFIG, WEIGHTS, ONNX, PARITY, MODELING, CARD}
MINE |= {f"{OURS}.py", HEADS, ADAPTERS, "__pycache__"}
OLDER = {ABOUT, "load.py"}
"""Files of an export of before config.json and modeling.py."""


def export(config: ExportConfig) -> Path:
    """Write the export folder, whole or not at all, and return it.

    Raises:
        InputError: the run is unfinished, the folder holds something else, packages are missing, or
            the network does not take the images.
        Stopped: an exported format does not compute what the run does; nothing is left.
    """
    run, out = Path(config.run), Path(config.out)
    model = load_model(run)
    if "onnx" in config.formats:
        check_installed()
    origin, verdict = provenance(run), read_verdict(run)
    refuse(out, origin["run"], model.digest, config.formats)
    domain, heads = heads_for(run, model, config.data, config.domain, config.split)
    image, cases = f"x{domain[1]}", list[Case]()
    for task, (settings, data) in heads.items():
        cases += cases_of(task, settings, some(data, config.images), image)
    settings, data = next(iter(heads.values()))
    model.net.eval()
    shape, depth = cases[0].images.shape[2:], cases[0].images.dtype
    signature = signature_of(model.net, shape)
    fixed = list(shape) if "onnx" in config.formats and not signature.multiple else []
    size = config.size or fixed
    refuse_sizes({c.images.shape[2:] for c in cases}, signature.multiple, size)
    counts = {task: len(own) for task, own in model.tasks.items()}
    recipe = recipe_of(model.network, model.net, counts or len(model.classes))
    bands, limits = settings.reading(image)
    seen = {
        "type": depth.name,
        "bands": bands or None,
        "file_range": limits or None,
        "resize": settings.resize or None,
        "fit": settings.fit,
        "onnx_size": size or None,
    }
    about = description(model, recipe, signature, seen, config.license, origin)
    free = 0 if size else signature.multiple
    noises = noise(odd_sizes(free) if free else [shape, shape], len(model.network.mean), depth)
    say(f"{run}: {model.network.name} to {out} as {' and '.join(config.formats)}")
    say(f"{sees(model.network)}; it takes {sizes(signature.multiple)}")
    with whole_folder(out, "out") as aside:
        write_formats(aside, run, config.formats, model, about, recipe)
        found = check(aside, config.formats, model.net, model.network, cases + noises, recipe.root)
        parity = {
            "images": {
                "data": data.name,
                "domain": domain,
                "split": data.split,
                "names": [c.name for c in cases],
                "labelled": data.labelled,
                "shapes": sorted({"x".join(map(str, c.images.shape)) for c in cases}),
            },
            "noise": [c.name for c in noises],
            "rule": "fp32 on the CPU, each format in a process without the project: logits may "
            f"differ by {TOLERANCE:g} of their range, classes where logits lie within twice that",
            "formats": found,
        }
        write_json(aside / PARITY, parity)
        write_whole(aside / CARD, card_text(about, recipe, parity, verdict))
        for kind, values in found.items():
            megabytes = (aside / FILES[kind.partition(",")[0]]).stat().st_size / 1e6
            logits, classes, miou = numbers(values)
            text = f"logits differ by at most {logits}, equal argmax {classes}, mIoU {miou}"
            say(f"  {kind}: {megabytes:.1f} MB, {text}")
            if not values["passed"]:
                wrong = f"{kind} ({text}, {values['wrong_pixels']} wrong pixels)"
                raise Stopped(f"error: parity is broken: {wrong}; nothing was written", 1)
    say(f"{out}: written; its {CARD} says how to load it")
    return out


def cases_of(task: str, settings: DataConfig, data: DataSet, image: str) -> list[Case]:
    """The images of a data set, with their labels where all have some, which are those of one head
    where there are several."""
    pixels_only(data, "export")
    if len(settings.resize) == 1:
        raise InputError(f"data.resize={settings.resize}: export has one size; give [H,W]")
    whole = Whole(data, settings, [image, f"y{image[1]}"] if data.labelled else [image])
    items = [whole[i] for i in range(len(whole))]
    images = alike([item[image] for item in items])
    return [
        Case(item["name"], one[None].numpy(), item["size"], item.get("y"), task)
        for item, one in zip(items, images, strict=True)
    ]


def refuse_sizes(shapes: Iterable[tuple[int, ...]], multiple: int | None, size: list[int]) -> None:
    """Raises InputError where images (H, W) do not fit the network or the ONNX graph's size."""
    for shape in sorted(shapes):
        if size and list(shape) != size:
            given = f"model.onnx takes {size[0]}x{size[1]} only, but images are"
            raise InputError(f"{given} {shape[0]}x{shape[1]}; give data.resize={size} too")
        if multiple and any(side % multiple for side in shape):
            near = [max(1, round(side / multiple)) * multiple for side in shape]
            raise InputError(
                f"images are {shape[0]}x{shape[1]}, the network takes multiples of {multiple}: "
                f"give data.resize={near}"
            )


def refuse(out: Path, run: str, digest: str, formats: Sequence[str]) -> None:
    """Raises InputError where `out` holds anything but an export of the same run or weights, or a
    format that would be lost."""
    if files := [p for p in (out, *out.parents) if p.is_file()]:
        raise InputError(f"out: {files[0]} is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    files = [out / name for name in (CONFIG, ABOUT) if (out / name).is_file()]
    about = read_mapping(files[0]) if files else {}
    if about.get("kind") != KIND:
        raise InputError(f"out: {out} exists and is no export; give a new folder")
    if about["origin"]["run"] != run and about["weights"]["sha256"] != digest:
        raise InputError(f"out: {out} is the export of {about['origin']['run']}; give a new folder")
    if others := [p.name for p in out.iterdir() if p.name not in MINE | OLDER]:
        raise InputError(f"out: {out} would be replaced, but holds {listing(others)} too")
    if lost := [k for k, file in FILES.items() if (out / file).exists() and k not in formats]:
        raise InputError(
            f"out: {out} has {listing(lost)} as well, which would be lost; give "
            f"formats=[{','.join([*formats, *lost])}] or a new folder"
        )


def write_formats(
    folder: Path,
    run: Path,
    formats: Sequence[str],
    model: Model,
    about: dict[str, Any],
    made: Recipe,
) -> None:
    """The weights with modeling.py and network.py, the ONNX file, and config.json with their
    digests."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if "safetensors" in formats:
        write_whole(folder / MODELING, modeling_text(about, made))
        sources = {WEIGHTS: run / WEIGHTS, f"{OURS}.py": made.source}
        sources |= {HEADS: Path(several_heads.__file__)} if made.head_at else {}
        sources |= {ADAPTERS: Path(of_adapters.__file__)} if made.adapters else {}
        for name, source in sources.items():
            if source:
                with writing(folder / name):
                    shutil.copyfile(source, folder / name)
    if "onnx" in formats:
        kept = ("license", "architecture", "classes", "input", "output", "origin")
        metadata = {k: about[k] for k in kept} | {"weights_sha256": model.digest}
        given = about["input"]
        if not given["onnx_size"]:
            say("  onnx: traced at every size, which may take minutes; size=[H,W] traces one")
        size, multiple = given["onnx_size"] or [], given["multiple_of"] or 1
        content = onnx_bytes(model.net, model.network, size, metadata, multiple, given["type"])
        write_whole(folder / ONNX, content)
        versions |= {name: version(name) for name in NEEDED}
    files = {p.name: sha256(p) for p in sorted(folder.iterdir())}
    write_json(folder / CONFIG, about | {"files": files, "exported_with": versions})
