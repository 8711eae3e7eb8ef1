"""The predict command: index masks, or labels, of a data set's split or of a folder of images."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.bounds import MOST_IMAGES, one_of, within
from adapt.classification import Views, check_protocol, classify
from adapt.commands import Machine
from adapt.config import DataConfig, TrustConfig
from adapt.data import DataSet, Sample, layout_of
from adapt.data.files import stems
from adapt.errors import InputError
from adapt.evaluate import shown_to
from adapt.files import read_mapping, write_json, write_whole
from adapt.images import voc_palette, write_png
from adapt.inference import Reading, Whole, groups, stack
from adapt.models import Model, load_model
from adapt.protocol import ProtocolConfig, predict
from adapt.records import read_data
from adapt.runtime import Runtime, runtime, say
from adapt.settings import differences, inherit_data, plain
from adapt.tables import csv_of

MANIFEST, LABELS = "predictions.json", "predictions.csv"


@dataclass
class PredictConfig(Machine):
    """What a run's network says of images, as PNG files."""

    run: str = ""
    network: TrustConfig = field(default_factory=TrustConfig)
    images: str = ""
    """Folder of images; empty = a split of the data set."""
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    domain: str = ""
    """d1 | d2; empty = the domain that the run was trained for."""
    split: str = "val"
    out: str = ""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    batch: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("", "d1", "d2"))
        within("batch", self.batch, 1, MOST_IMAGES)
        if not self.run or not self.out:
            raise InputError(f"predict needs run=DIR and out=DIR; got {self.run!r}, {self.out!r}")


def predictions(config: PredictConfig) -> Path:
    """Write <out>/<name>.png for every image, at its own size, and return the folder.

    Values are class indices, with the VOC colours as palette; of a data set whose masks have other
    values (Cityscapes) those, as its test server wants them. Started again, it goes on where it
    was; a folder with another run's predictions is refused. A classifier of whole images writes
    <out>/predictions.csv instead: name, class, probability.

    Raises:
        InputError: an unfinished run, a folder that is something else, images without a domain.
    """
    run, out = Path(config.run), Path(config.out)
    model = load_model(run)
    if config.images:
        settings, image = inherit_data(config.data, read_data(run)), "x1"
        samples = (Sample(name, file) for name, file in stems(Path(config.images)).items())
        kind = layout_of(settings).classification
        data = DataSet("images", "", model.classes, (), tuple(samples), classification=kind)
    else:
        domain, settings, data = shown_to(run, model, config.data, config.domain, config.split)
        image = f"x{domain[1]}"
    about = {
        "model": model.digest,
        "data": data.name,
        "split": data.split,
        "image": image,
        "protocol": plain(config.protocol),
        "codes": list(data.codes),
        "classes": list(model.classes),
    }
    machine = runtime(config.device, config.precision)
    claim(out, about)
    if data.classification:
        label_images(config, settings, model, data, image, machine)
        return out
    waiting = tuple(s for s in data.samples if not (out / f"{s.name}.png").is_file())
    net = machine.place(model.net).eval()
    reading = Reading(settings, model.network, config.batch, config.workers)
    whole = Whole(replace(data, samples=waiting), settings, [image])
    values = np.array(data.codes or range(len(model.classes)), np.uint8)
    palette = None if data.codes else voc_palette()
    for group in groups(whole, reading, "predict"):
        shown, size = stack(group, image), group[0]["size"]
        found = predict(machine, net, model.network, shown, size, config.protocol, config.batch)
        for item, classes in zip(group, found, strict=True):
            write_png(out / f"{item['name']}.png", values[classes], palette)
    say(f"{out}: {len(data.samples)} predictions of {run}, {len(waiting)} of them new")
    return out


def label_images(
    config: PredictConfig,
    settings: DataConfig,
    model: Model,
    data: DataSet,
    image: str,
    machine: Runtime,
) -> None:
    """Write the table of predicted classes, unless it is there."""
    file = Path(config.out) / LABELS
    check_protocol(config.protocol)
    if not file.is_file():
        net = machine.place(model.net).eval()
        source = Views(data, settings, image, config.protocol.crops)
        found = classify(
            machine, net, model.network, source, settings, config.batch, config.workers, "predict"
        )
        rows = [["name", "class", "probability"]]
        for sample, label, chance in zip(data.samples, *found, strict=True):
            rows.append([sample.name, model.classes[label], f"{chance:.4f}"])
        write_whole(file, csv_of(rows).encode())
    say(f"{file}: {len(data.samples)} predictions of {config.run}")


def claim(out: Path, about: dict[str, Any]) -> None:
    """Make the folder, or recognise it as one with the same predictions."""
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
