"""The drift command: how far new images are from old ones for a network, as tables and a page."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.analysis.drift import MapDrift, drift_of_pairs, drift_of_sets
from adapt.data import HELD_OUT, DataSet, load, pixels_only, prepare, some
from adapt.data.files import MissingFiles, folder
from adapt.data.sampling import size_of
from adapt.data.targets import of_old
from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import read_data
from adapt.disk.tables import csv_of_records, text_table
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, Whole, batches_of
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks.layers import Layer, check, main_path, trace
from adapt.networks.saved import (
    Model,
    check_classes,
    check_one_head,
    is_run,
    load_complete,
    load_run,
)
from adapt.settings.commands import DriftConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from adapt.training.training_free import TrainingFree, training_free
from viz.report.drift_page import Found, Row, cells_of, page, sentences_of, table_of


def drift(config: DriftConfig) -> Path:
    """Measure, print, and write drift.html, drift.json, drift.csv and channels.csv into
    `config.out`; returns the path of the page.

    Raises:
        InputError: no such network or data, classes that do not fit, folders of which only some
            names match, or layers that are not there or cannot be tapped.
    """
    machine = runtime(config.device, config.precision)
    model = load_run(config.teacher, config.network, "teacher") if is_run(config.teacher) else None
    recorded = read_data(Path(config.teacher)) if model else DataConfig()
    settings = inherit_data(config.data, recorded)
    prepare(settings)
    old, new = data_of(config, settings)
    pixels_only(old, "drift")
    if model is None:
        given = config.teacher, config.network, old.classes
        model = load_complete(*given, "teacher", size_of(settings, old))
    check_one_head(model, config.teacher)
    check_classes(model.classes, old.classes, config.teacher, old.name)
    model = replace(model, classes=old.classes or model.classes)
    machine.place(model.net).eval()
    reading = Reading(settings, model.network, config.batch, config.workers)
    if new is None:
        found = of_pairs(machine, model, reading, replace(old, classes=model.classes), config)
    else:
        found = of_sets(machine, model, reading, old, new, config)
    return written(found, Path(config.out))


def data_of(config: DriftConfig, settings: DataConfig) -> tuple[DataSet, DataSet | None]:
    """The pairs and None; or, where `config.pairs` is false or no name is in both folders, the old
    images as x1 and the new ones as x2. At most `config.images` of each."""
    if not (settings.target or settings.pairs or settings.shards):
        raise InputError("data.target is empty: give the folder of the new images")
    try:
        if config.pairs:
            return some(load(settings, config.split or HELD_OUT), config.images), None
    except MissingFiles as error:
        old, new = apart(config, settings)
        if {s.name for s in old.samples} & {s.name for s in new.samples}:
            raise InputError(f"{error}; pairs=false compares them without pairs") from None
        say(f"no pairs: no name is in both {settings.root} and {settings.target}")
    else:
        old, new = apart(config, settings)
    return some(old, config.images), some(new, config.images)


def apart(config: DriftConfig, settings: DataConfig) -> tuple[DataSet, DataSet]:
    """The old images as x1 and the new ones as x2: those of `config.split`, or the whole training
    list, which of a folder is all of it."""
    whole: dict[str, Any] = {} if config.split else {"parts": {}, "part": ""}
    one, split = replace(of_old(settings), **whole), config.split or "train"
    old = load(one, split)
    if settings.pairs or settings.shards:
        return old, old
    there = folder(Path(settings.target), "data.target")
    new = load(replace(one, root=str(there), labels=""), split)
    return old, replace(new, samples=tuple(replace(s, x2=s.x1) for s in new.samples))


def of_pairs(
    machine: Runtime, model: Model, reading: Reading, pairs: DataSet, config: DriftConfig
) -> Found:
    """Distances and similarities of every layer, and what helps without a training."""
    layers = layers_of(config, model, reading, pairs, "x1")
    training = some(load(reading.data, "train"), config.images)
    free = training_free(machine, model.net, reading, pairs, training)
    drifts = drift_of_pairs(
        model.net, list(layers), batches_of(machine, reading, pairs, "drift", "x1", "x2")
    )
    counts = {"pairs": free.pairs, "split": pairs.split, "training": len(training.samples)}
    made = made_with(config, model, reading, machine) | counts
    return found_in(made, layers, drifts, free)


def of_sets(
    machine: Runtime,
    model: Model,
    reading: Reading,
    old: DataSet,
    new: DataSet,
    config: DriftConfig,
) -> Found:
    """Distances of the channels' statistics in every layer; InputError for fewer than two old
    images, which have no halves."""
    if len(old.samples) < 2:
        raise InputError(f"{reading.data.root}: without pairs at least two old images are needed")
    layers = layers_of(config, model, reading, old, "x1")
    layers_of(config, model, reading, new, "x2")  # the network must take their size too
    middle = len(old.samples) // 2
    cut = [replace(old, samples=s) for s in (old.samples[:middle], old.samples[middle:])]
    first, second = (batches_of(machine, reading, half, "drift", "x1") for half in cut)
    other = batches_of(machine, reading, new, "drift", "x2")
    drifts = drift_of_sets(model.net, list(layers), (first, second), other)
    counts = {"pairs": 0, "old_images": len(old.samples), "new_images": len(new.samples)}
    return found_in(made_with(config, model, reading, machine) | counts, layers, drifts, None)


def layers_of(
    config: DriftConfig, model: Model, reading: Reading, data: DataSet, image: str
) -> dict[str, Layer]:
    """The layers that are measured, by the name that they are asked for, at the images' size."""
    size = Whole(data, reading.data, [image])[0][image].shape[-2:]
    traced = trace(model.net, (size[0], size[1]))
    path = main_path(traced)
    if not config.layers and not path:
        raise InputError("layers: the network's main path has no maps; name layers=[...] yourself")
    check(traced, config.layers, "layers")
    if not config.layers:
        return {x.name: x for x in path}
    return {name: next(x for x in traced if name in (x.name, *x.aliases)) for name in config.layers}


def made_with(config: DriftConfig, model: Model, reading: Reading, machine: Runtime) -> Row:
    """What the record says of the network and the data."""
    names = ("name", "root", "target", "pairs", "shards", "resize")
    data = {name: getattr(reading.data, name) for name in names}
    return {
        "teacher": config.teacher,
        "network": model.network.name,
        "digest": model.digest,
        "classes": list(model.classes),
        "data": data,
        "precision": machine.precision,
    }


def found_in(
    made: Row, layers: dict[str, Layer], drifts: Sequence[MapDrift], free: TrainingFree | None
) -> Found:
    """Drifts as rows, and what they say."""
    rows = [row_of(layers[x.layer], x) for x in drifts]
    channels = [
        {"layer": x.layer, "channel": k}
        | dict(zip(("old_mean", "new_mean"), x.mean[:, k].tolist(), strict=True))
        | dict(zip(("old_std", "new_std"), x.std[:, k].tolist(), strict=True))
        for x in drifts
        for k in range(x.mean.shape[1])
    ]
    return Found(made, rows, channels, free)


def row_of(layer: Layer, drift: MapDrift) -> Row:
    """A layer's line of the table. Distances are squared and relative to the old maps' size; of
    pairs `means`, `deviations` and `pattern` add up to `distance`."""
    means, deviations = drift.parts
    row: Row = {
        "layer": drift.layer,
        "alias": " ".join(layer.aliases),
        "map": "x".join(map(str, layer.map)),
    }
    if drift.cka is None:
        return row | {
            "distance": drift.statistics, "means": means, "deviations": deviations,
            "halves": drift.halves,
        }  # fmt: skip
    there = drift.cka[~np.isnan(drift.cka)]
    return row | {
        "distance": drift.distance, "means": means, "deviations": deviations,
        "pattern": drift.distance - drift.statistics,
        "cka": float(there.mean()) if len(there) else np.nan,
        "cka_std": float(there.std(ddof=1)) if len(there) > 1 else np.nan,
    }  # fmt: skip


def written(found: Found, out: Path) -> Path:
    """Print the tables and what follows from them, and write them and the page."""
    lines = table_of(found.layers)
    say(text_table(lines, left=[i for i, cell in enumerate(lines[1]) if isinstance(cell, str)]))
    if found.free:
        rows = [(s.name, *cells_of(s)) for s in found.free.scores]
        say("\n" + text_table([("agreement, %", "mIoU", "90 % interval", "gain"), *rows]))
    said = sentences_of(found)
    say("\n" + "\n".join(said))
    scores = [asdict(s) for s in found.free.scores] if found.free else []
    record = {"made": found.made, "findings": said, "agreement": scores}
    write_json(out / "drift.json", record | {"layers": found.layers})
    write_whole(out / "drift.csv", csv_of_records(found.layers))
    write_whole(out / "channels.csv", csv_of_records(found.channels))
    path = out / "drift.html"
    write_whole(path, page(found))
    say(f"\n{path.resolve()}; drift.json, drift.csv and channels.csv beside it")
    return path
