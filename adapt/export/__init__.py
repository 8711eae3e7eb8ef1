"""The export command: a run's network in formats that need nothing of this project."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adapt.data import DataSet, pixels_only
from adapt.disk.files import read_mapping, sha256, write_json, write_whole
from adapt.errors import InputError, Stopped, listing
from adapt.evaluation.evaluate import data_for
from adapt.evaluation.inference import Whole
from adapt.export.files import (
    KIND,
    LOAD,
    ONNX,
    PARITY,
    README,
    description,
    load_text,
    origin_of,
)
from adapt.export.onnx_graph import NEEDED, check_installed, onnx_bytes
from adapt.export.parity import POSITIONS, Case, Comparison, check, noise, rounding
from adapt.export.readme import readme_text, signed
from adapt.export.recipe import OURS, Recipe, Signature, odd_sizes, recipe_of, signature_of
from adapt.machine.runtime import say
from adapt.networks.saved import ABOUT, WEIGHTS, Model, load_model
from adapt.settings.commands import ExportConfig
from adapt.settings.groups import DataConfig

FILES = {"safetensors": WEIGHTS, "onnx": ONNX}
MINE = {ABOUT, WEIGHTS, ONNX, PARITY, LOAD, README, f"{OURS}.py", "__pycache__"}


def export(config: ExportConfig) -> Path:
    """Write the export folder, whole or not at all, and return it.

    Raises:
        InputError: an unfinished run, a folder that holds something else, packages that are
            missing, images that the network does not take.
        Stopped: parity is broken; nothing is left.
    """
    run, out = Path(config.run), Path(config.out)
    model = load_model(run)
    if "onnx" in config.formats:
        check_installed()
    origin = origin_of(run)
    refuse(out, origin["run"], model.digest, config.formats)
    domain, settings, data = data_for(run, model, config.data, config.domain, config.split)
    pixels_only(data, "export")
    if len(settings.resize) == 1:
        raise InputError(f"data.resize={settings.resize}: export has one size; give [H,W]")
    cases = photographs(data, settings, domain, config.images)
    model.net.eval()
    shape = cases[0].images.shape[2:]
    signature = signature_of(model.net, shape)
    refuse_sizes({c.images.shape[2:] for c in cases}, signature, config)
    recipe = recipe_of(model.network, model.net, len(model.classes))
    about = description(model, recipe, signature, settings, origin)
    free = 0 if config.size else signature.multiple
    cases += noise(odd_sizes(free) if free else [shape, shape])
    say(f"{run}: {model.network.name} to {out} as {' and '.join(config.formats)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        aside = Path(temporary) / out.name
        aside.mkdir()
        write_formats(aside, run, config, model, about, recipe)
        paths = installed(recipe)
        compared = check(aside, config.formats, model.net, model.network, cases, paths)
        parity = parity_report(compared, cases, data, domain, model.net)
        write_json(aside / PARITY, parity)
        write_whole(aside / README, readme_text(about, recipe, parity).encode())
        for kind, comparison in compared.items():
            say(line(kind, aside / FILES[kind], comparison))
        refuse_broken(compared)
        put(aside, out)
    say(f"{out}: written; its README.md says how to load it")
    return out


def installed(recipe: Recipe) -> list[str]:
    """Where Python looks for modules, without this project, and with the user's own network."""
    project = Path(__file__).resolve().parents[2]
    others = [path for path in sys.path if path and Path(path).resolve() != project]
    return others + ([str(recipe.root)] if recipe.root else [])


def refuse_sizes(
    shapes: Iterable[tuple[int, ...]], signature: Signature, config: ExportConfig
) -> None:
    """Raises InputError where images (H, W) do not fit the network or the ONNX graph's size."""
    multiple = signature.multiple
    for shape in sorted(shapes):
        if config.size and list(shape) != config.size:
            given = f"size is {config.size}, but images are {shape[0]}x{shape[1]}"
            raise InputError(f"{given}; give data.resize={config.size} too")
        if multiple and any(side % multiple for side in shape):
            near = [max(1, round(side / multiple)) * multiple for side in shape]
            raise InputError(
                f"images are {shape[0]}x{shape[1]}, the network takes multiples of {multiple}: "
                f"give data.resize={near}"
            )
        if multiple is None and "onnx" in config.formats and not config.size:
            raise InputError(f"network: not every size fits it; give size={list(shape)} for ONNX")


def refuse(out: Path, run: str, digest: str, formats: Sequence[str]) -> None:
    """Raises InputError where `out` holds anything but an export of the same run or weights, or a
    format that would be lost."""
    if files := [p for p in (out, *out.parents) if p.is_file()]:
        raise InputError(f"out: {files[0]} is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    about = read_mapping(out / ABOUT) if (out / ABOUT).is_file() else {}
    if about.get("kind") != KIND:
        raise InputError(f"out: {out} exists and is no export; give a new folder")
    if about["origin"]["run"] != run and about["weights"]["sha256"] != digest:
        raise InputError(f"out: {out} is the export of {about['origin']['run']}; give a new folder")
    if others := [p.name for p in out.iterdir() if p.name not in MINE]:
        raise InputError(f"out: {out} would be replaced, but holds {listing(others)} too")
    if lost := [k for k, file in FILES.items() if (out / file).exists() and k not in formats]:
        raise InputError(
            f"out: {out} has {listing(lost)} as well, which would be lost; give "
            f"formats=[{','.join([*formats, *lost])}] or a new folder"
        )


def put(aside: Path, out: Path) -> None:
    """Move a finished folder to its place; what it replaces goes where it came from."""
    old = aside.with_name("replaced")
    if out.exists():
        out.rename(old)
    try:
        aside.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise


def photographs(data: DataSet, settings: DataConfig, domain: str, count: int) -> list[Case]:
    """Evenly spaced images of a data set as the run's network sees them, with labels if there."""
    every = len(data.samples)
    chosen = np.unique(np.linspace(0, every - 1, min(count, every)).round().astype(int))
    data = replace(data, samples=tuple(data.samples[i] for i in chosen))
    image = f"x{domain[1]}"
    fields = [image, f"y{domain[1]}"] if data.labelled else [image]
    whole = Whole(data, settings, fields)
    items = (whole[i] for i in range(len(whole)))
    return [Case(i["name"], i[image][None].numpy(), i["size"], i.get("y")) for i in items]


def write_formats(
    folder: Path, run: Path, config: ExportConfig, model: Model, about: dict[str, Any], made: Recipe
) -> None:
    """The weights with load.py and network.py, the ONNX file, and model.json with their digests."""
    if "safetensors" in config.formats:
        shutil.copyfile(run / WEIGHTS, folder / WEIGHTS)
        write_whole(folder / LOAD, load_text(about, made).encode())
        if made.source:
            shutil.copyfile(made.source, folder / f"{OURS}.py")
    if "onnx" in config.formats:
        kept = ("architecture", "classes", "input", "output", "origin")
        metadata = {k: about[k] for k in kept} | {"weights_sha256": model.digest}
        content = onnx_bytes(model.net, model.network, config.size, metadata)
        write_whole(folder / ONNX, content)
    files = {p.name: sha256(p) for p in sorted(folder.iterdir())}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if "onnx" in config.formats:
        versions |= {name: version(name) for name in NEEDED}
    write_json(folder / ABOUT, about | {"files": files, "exported_with": versions})


def parity_report(
    compared: dict[str, Comparison],
    cases: Sequence[Case],
    data: DataSet,
    domain: str,
    net: nn.Module,
) -> dict[str, Any]:
    """The content of parity.json."""
    photos = [c for c in cases if not c.noise]
    return {
        "reference": "the run's own network, fp32 on the CPU, in the project",
        "compared": "each format in a process of its own, without the project",
        "images": {
            "data": data.name,
            "domain": domain,
            "split": data.split,
            "names": [c.name for c in photos],
            "labelled": all(c.truth is not None for c in photos),
            "shapes": sorted({"x".join(map(str, c.images.shape)) for c in photos}),
        },
        "noise": [c.name for c in cases if c.noise],
        "tolerance": {
            "relative_to_largest_logit": rounding(net),
            "rule": "L sqrt(n) 2^-24 times the image's largest logit: L weight tensors, dot "
            "products of at most n terms. A class may differ only where the run's own two best "
            f"logits lie closer than twice that plus {POSITIONS} 2^-24 cells a side of it.",
        },
        "formats": {kind: comparison.report() for kind, comparison in compared.items()},
    }


def line(kind: str, path: Path, found: Comparison) -> str:
    """A format's line for the terminal."""
    values = found.report()
    change = values["miou_difference"]
    miou = f"agreement {values['agreement_miou']:.3f} %"
    if change is not None:
        miou = f"mIoU {values['miou']:.3f} % ({signed(change)})"
    return (
        f"  {kind}: {path.stat().st_size / 1e6:.1f} MB, logits differ by at most "
        f"{found.difference:.2g} of {found.largest:.3g} (allowed {values['tolerance']:.2g}), equal "
        f"argmax {values['equal_argmax']:.4f} %, {miou}"
    )


def refuse_broken(compared: dict[str, Comparison]) -> None:
    """Raises Stopped, with status 1, where a format does not compute what the run does."""
    broken = [
        f"{kind} (logits differ by {found.share:.3g} times what rounding allows, {found.beyond} "
        "pixels have another class beyond rounding)"
        for kind, found in compared.items()
        if not found.passed
    ]
    if broken:
        raise Stopped(f"error: parity is broken: {'; '.join(broken)}; nothing was written", 1)
