"""The layers command: a network's layers as a table, and how much successive maps change."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from adapt.data import load
from adapt.data.images import SUFFIXES
from adapt.data.samples import spaced
from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import own_image, read_config, read_data
from adapt.disk.tables import csv_of_records, text_table
from adapt.errors import InputError
from adapt.export.recipe import multiple_of, sizes
from adapt.machine.runtime import runtime, say
from adapt.networks import build_network
from adapt.networks.layers import Layer, auto_taps, check, main_path, proposal, trace
from adapt.networks.preprocessing import sees
from adapt.networks.recorder import NETWORK
from adapt.networks.saved import Model, load_run, numbered
from adapt.networks.sizes import fitting
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from adapt.settings.viz import LayersConfig
from viz.layers.similarity import measure, similarity_chart

SIZE = (321, 321)
"""(H, W) where neither the command nor a run has one: the crop of DeepLab and of seed paper 003."""
POWERS = (1, 2, 4, 8, 16, 32, 64, 128)
HEADS = (
    "layer", "alias", "type", "output", "stride", "params", "so far", "compute", "so far", "auto",
    "can be tapped",
)  # fmt: skip


def layers(config: LayersConfig) -> list[Layer]:
    """Print a network's layers, and what `taps=auto` would take of them.

    With `out` they are also written there, to layers.json and layers.csv, and where there are
    images (`image`, or the run's validation images) similarity.png and .json.

    Raises:
        InputError: no such network, run or image; a network that cannot take the size; a layer
            that cannot be tapped.
    """
    if config.image and not config.out:
        raise InputError("image makes a figure, which needs out=DIR")
    recorded = read_config(Path(config.run)) if config.run else {}
    data = read_data(Path(config.run)) if recorded else DataConfig()
    model = load_run(config.run, config.network) if config.run else fresh(config)
    resized = data.resize if len(data.resize) == 2 else []
    given = config.size or resized or data.crop
    height, width = given or SIZE
    try:
        found = trace(model.net, (height, width))
    except InputError:
        fit = None if given else fitting(model.net, SIZE)
        if fit is None:
            raise
        (height, width), found = fit, trace(model.net, fit)
    check(found, config.taps)
    auto = auto_taps(found)
    paths = images_of(config, recorded, data) if config.out else []
    whole = next(x for x in found if not x.name)
    where = config.run or "not trained"
    counted = (
        model.counted if config.run else f"{max(2, whole.shape[1] - model.network.void)} classes"
    )
    say(
        f"{model.network.name} ({where}), {counted}, {whole.parameters:,} "
        f"parameters; for {height}x{width} pixels (H x W) {short(whole.macs)} "
        f"multiply-accumulates\n\n{table_of(listed(found, config.depth, auto), auto)}\n\n"
        f"{proposal(found)}\n{sees(model.network)}; it takes {sizes(multiple_of(model.net))}"
    )
    if not config.out:
        return found
    out = Path(config.out)
    records = [asdict(x) | {"obstacle": x.obstacle, "auto": auto.get(x.name)} for x in found]
    joined = [
        {k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in record.items()}
        for record in records
    ]
    written = ["layers.csv", "layers.json"]
    wanted = [x for x in found if {x.name, *x.aliases} & set(config.taps)]
    path = wanted or main_path(found)
    if paths and len(path) < 2:
        say("no figure: it compares each layer with the next, and there are not two")
    elif paths:
        machine = runtime(config.device, "fp32")
        how = data.reading(own_image(recorded) if recorded else "x1")
        result = measure(machine, model, path, paths, config.size or data.resize, how)
        for kind, (mean, spread, count) in result.by_kind().items():
            of = f"{count} steps, {len(paths)} images"
            say(f"similarity (CKA) of successive maps {kind}: {result.text(mean, spread)} ({of})")
        title = f"{model.network.name}, {where}, {len(paths)} images"
        write_whole(out / "similarity.png", similarity_chart(result, title))
        write_json(out / "similarity.json", result.as_dict() | {"images": [p.name for p in paths]})
        written += ["similarity.json", "similarity.png"]
    write_whole(out / "layers.csv", csv_of_records(joined))
    write_json(out / "layers.json", records)
    say(f"{out}: {', '.join(written)}")
    return found


def fresh(config: LayersConfig) -> Model:
    """A network that was not trained."""
    torch.manual_seed(config.seed)
    net = build_network(config.network, config.classes)
    return Model(net.eval(), config.network, numbered(config.classes), "")


def images_of(config: LayersConfig, recorded: dict[str, Any], data: DataConfig) -> list[Path]:
    """Evenly spaced images: of `image`, else of what the run's network sees in its val split.

    A run's images may be gone; then a line says so, and there is no figure.
    """
    given = Path(config.image)
    if config.image and not given.is_dir():
        every = [given]
    elif config.image:
        every = sorted(p for p in given.iterdir() if p.suffix.lower() in SUFFIXES)
        if not every:
            raise InputError(f"image: {given} has no file that ends with {', '.join(SUFFIXES)}")
    elif recorded:
        try:
            samples = load(inherit_data(DataConfig(), data), "val").samples
        except InputError as error:
            say(f"no figure: {error}; give image=FILE or a folder of images")
            return []
        side = own_image(recorded)
        every = [path for s in samples if (path := getattr(s, side)) is not None]
    else:
        return []
    return spaced(every, config.images)


def listed(layers: Iterable[Layer], depth: int, auto: Container[str] = ()) -> list[Layer]:
    """Layers whose names have at most `depth` parts (0 = all), those with an alias or in `auto`,
    the network; without bare lists of modules, which have no pass of their own."""
    return [
        x
        for x in layers
        if (not depth or x.aliases or x.name in auto or x.name.count(".") < depth)
        and x.type not in ("ModuleList", "ModuleDict")
    ]


def short(number: int) -> str:
    """1234567 -> `1.23 M`, three digits."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            value = number / size
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"
    return str(number)


def stride_of(layer: Layer) -> str:
    """`8`, or `8x4` where height and width differ; a side that was rounded still has stride 8."""
    strides = []
    for cells, exact in zip(layer.map[1:], layer.stride, strict=True) if layer.stride else ():
        side = round(exact * cells)
        fit = [s for s in POWERS if cells > 1 and cells in (side // s, -(-side // s))]
        strides.append(str(fit[0]) if fit else f"{exact:.3g}")
    return "x".join(dict.fromkeys(strides)) or "-"


def tappable(layer: Layer) -> str:
    """Can it be tapped, and what is to know about it?"""
    if not layer.name:
        return "the logits"
    if layer.mapless:
        return f"no: {layer.mapless}"
    if layer.overwritten_by:
        return f"only as the deepest: {layer.overwritten_by} overwrites it"
    return f"yes, same as {layer.same_as}" if layer.same_as else "yes"


def table_of(layers: Sequence[Layer], auto: Mapping[str, float]) -> str:
    """The table that the command prints, in the order of computing; `auto` has the weights that
    `taps=auto` would give."""
    rows: list[tuple[str, ...]] = [HEADS]
    for x in layers:
        cost = [short(x.parameters_until), f"{100 * x.share:.1f} %", f"{100 * x.share_until:.1f} %"]
        chosen = f"{auto[x.name]:.3g}" if x.name in auto else ""
        names = [x.name or NETWORK, " ".join(x.aliases), x.type]
        output = ["x".join(map(str, x.shape[1:])) or "-", stride_of(x), short(x.parameters)]
        rows.append((*names, *output, *(cost if x.calls else "---"), chosen, tappable(x)))
    if not any(x.aliases for x in layers):
        rows = [(row[0], *row[2:]) for row in rows]
    last = len(rows[0]) - 1
    return text_table(rows, left=(*range(last - 6), last))
