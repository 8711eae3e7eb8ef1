"""The predict command: index masks, or labels, of a data set's split or of a folder of images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data import DataSet, Sample, layout_of
from adapt.data.files import stems
from adapt.data.images import voc_palette, write_png
from adapt.disk.files import read_mapping, write_json, write_whole
from adapt.disk.runs import read_data
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.evaluation.evaluate import data_for
from adapt.evaluation.inference import Reading, Whole, classify, groups, predicted
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks.saved import Model, load_model
from adapt.settings.commands import PredictConfig
from adapt.settings.mapping import as_dict, differences, inherit_data

MANIFEST, LABELS = "predictions.json", "predictions.csv"


def predictions(config: PredictConfig) -> Path:
    """Write <out>/<name>.png for every image, at its own size, and return the folder.

    The values are class indices, with the VOC colours as palette, or the values of the data set's
    own masks where these differ (Cityscapes, as its test server wants them). A classifier of whole
    images writes <out>/predictions.csv instead: name, class, probability. Started again, the
    command goes on where it was; a folder with the predictions of another run is refused.

    Raises:
        InputError: the run is unfinished, the folder is something else, or images have no domain.
    """
    run, out = Path(config.run), Path(config.out)
    model = load_model(run)
    if config.images:
        settings, image = inherit_data(config.data, read_data(run)), "x1"
        samples = (Sample(name, file) for name, file in stems(Path(config.images)).items())
        kind = layout_of(settings).classification
        data = DataSet("images", "", model.classes, (), tuple(samples), classification=kind)
    else:
        domain, settings, data = data_for(run, model, config.data, config.domain, config.split)
        image = f"x{domain[1]}"
    about = {
        "model": model.digest,
        "data": data.name,
        "split": data.split,
        "image": image,
        "protocol": as_dict(config.protocol),
        "codes": list(data.codes),
        "classes": list(model.classes),
    }
    machine = runtime(config.device, config.precision)
    claim(out, about)
    reading = Reading(settings, model.network, config.batch, config.workers, config.protocol)
    if data.classification:
        label_images(out / LABELS, machine, model, reading, data, image)
        say(f"{out / LABELS}: {len(data.samples)} predictions of {run}")
        return out
    waiting = tuple(s for s in data.samples if not (out / f"{s.name}.png").is_file())
    net = machine.place(model.net).eval()
    whole = Whole(replace(data, samples=waiting), settings, [image])
    values = np.array(data.codes or range(len(model.classes)), np.uint8)
    palette = None if data.codes else voc_palette()
    for group in groups(whole, reading, "predict"):
        found = predicted(machine, net, reading, group, image)
        for item, classes in zip(group, found, strict=True):
            write_png(out / f"{item['name']}.png", values[classes], palette)
    say(f"{out}: {len(data.samples)} predictions of {run}, {len(waiting)} of them new")
    return out


def label_images(
    file: Path, machine: Runtime, model: Model, reading: Reading, data: DataSet, image: str
) -> None:
    """Write the table of predicted classes, unless it is there."""
    if file.is_file():
        return
    rows = [["name", "class", "probability"]]
    found = classify(machine, machine.place(model.net), reading, data, image, "predict")
    for sample, label, chance in zip(data.samples, *found, strict=True):
        rows.append([sample.name, model.classes[label], f"{chance:.4f}"])
    write_whole(file, csv_of(rows).encode())


def claim(out: Path, about: dict[str, Any]) -> None:
    """Make the folder, or accept it if it holds the same predictions."""
    if (out / MANIFEST).is_file():
        if changed := differences(read_mapping(out / MANIFEST), about):
            raise InputError(
                f"out: {out} holds other predictions (there -> given): "
                f"{'; '.join(changed)}; give a new folder"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"out: {out} is not empty and holds no predictions; give a new folder")
    else:
        write_json(out / MANIFEST, about)
