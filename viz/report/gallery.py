"""What networks see and say: Figure 5's feature maps and predictions beside their labels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.data import DataSet, load, pixels_only
from adapt.data.augment import resize
from adapt.data.images import read_image
from adapt.data.sampling import Decoder, tensor
from adapt.disk.runs import read_config, read_data
from adapt.errors import InputError
from adapt.evaluation.protocol import predict
from adapt.machine.runtime import Runtime, runtime
from adapt.networks.saved import Model, load_model
from adapt.networks.taps import forward, normalise, resolve
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from viz.figures import heat
from viz.pictures import coloured, data_uri, encode, error_view, most_changed, palette, shrunk
from viz.report.records import read_inverted

SIDE, CHART = 260, 1200
"""Pixels of the longer side of a picture and of a chart that is read from a file."""

Pictures = dict[str, str]
"""Caption -> data URI."""


@dataclass(frozen=True)
class Legend:
    """Class names with their colours in predictions (#rrggbb)."""

    name: str
    colour: str


@dataclass(frozen=True)
class Gallery:
    """Everything that is shown of one shift."""

    shift: str
    features: Pictures
    tap: str
    channel: int
    predictions: dict[str, Pictures]
    """Sample's name -> pictures."""
    legend: list[Legend]


def picture(image: np.ndarray, *, labels: bool = False, side: int = SIDE) -> str:
    return data_uri(encode(shrunk(image, side, labels=labels)))


def gallery(
    shift: str, student: Path, others: Mapping[str, Path], split: str, count: int
) -> Gallery:
    """Pictures of `count` evenly spaced samples of a split.

    Args:
        shift: its name, for the heading.
        student: run folder of an adapted student; its teacher and data come from its record.
        others: caption -> run folder of further networks that see x2 (B2, say).
        split: the data set's split.
        count: how many samples; the first also gives the feature maps.

    Raises:
        InputError: runs or images that are no longer there.
    """
    config = read_config(student)
    settings = inherit_data(DataConfig(), read_data(student))
    machine = runtime("cpu", "fp32")
    adapted = load_model(student)
    teacher = load_model(Path(config["teacher"]), "teacher", like=adapted)
    models = {"teacher": teacher, "student": adapted}
    models |= {name: load_model(run, name) for name, run in others.items()}
    for model in models.values():
        machine.place(model.net).eval()
    data = load(settings, split)
    pixels_only(data, "pictures")
    data = replace(data, classes=models["student"].classes)
    chosen = (
        np.linspace(0, len(data.samples) - 1, min(count, len(data.samples))).round().astype(int)
    )
    fields = ["x1", "x2", *(["y2"] if data.labelled else [])]
    read = Decoder(data, settings, fields)
    natives = {data.samples[i].name: read.native(data.samples[i]) for i in chosen}
    regressed = config["objective"]["regression"]["taps"]
    net = models["student"].net
    layers = [name for name, _ in net.named_modules()]
    tap = max(regressed, key=lambda name: layers.index(resolve(net, name)), default="")
    first = next(iter(natives.values()), None)
    features: Pictures = {}
    channel = -1
    if first is not None and tap:
        features, channel = feature_maps(
            machine, models, resize(only_images(first), settings.resize), tap
        )
    return Gallery(
        shift=shift,
        features=features,
        tap=tap,
        channel=channel,
        predictions={
            n: predictions(machine, models, a, settings, data) for n, a in natives.items()
        },
        legend=[
            Legend(name, "#{:02x}{:02x}{:02x}".format(*colour))
            for name, colour in zip(data.classes, palette(len(data.classes)), strict=True)
        ],
    )


def only_images(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: arrays[key] for key in ("x1", "x2")}


def feature_maps(
    machine: Runtime, models: Mapping[str, Model], images: dict[str, np.ndarray], tap: str
) -> tuple[Pictures, int]:
    """003, Figure 5: one channel of teacher(x1), teacher(x2) and student(x2), and its number."""
    seen = {
        "teacher(x1)": ("teacher", "x1"),
        "teacher(x2)": ("teacher", "x2"),
        "student(x2)": ("student", "x2"),
    }
    maps = {}
    for caption, (name, key) in seen.items():
        model = models[name]
        image = normalise(
            machine.images(tensor(images[key])[None]), model.network.mean, model.network.std
        )
        with torch.no_grad():
            maps[caption] = forward(model.net, image, [tap])[tap][0].float().cpu().numpy()
    channel = most_changed(maps["teacher(x1)"], maps["teacher(x2)"])
    shown = heat(m[channel] for m in maps.values())
    size = list(images["x1"].shape[:2])
    pictures = {"x1": picture(images["x1"]), "x2": picture(images["x2"])}
    for caption, colours in zip(maps, shown, strict=True):
        pictures[caption] = picture(resize({"y": colours}, size)["y"])
    return pictures, channel


def predictions(
    machine: Runtime,
    models: Mapping[str, Model],
    arrays: dict[str, np.ndarray],
    settings: DataConfig,
    data: DataSet,
) -> Pictures:
    """x1, x2, the label, and each network's prediction: with a label, wrong pixels are white."""
    classes, label = len(data.classes), arrays.get("y")
    images = resize(only_images(arrays), settings.resize)
    size = (arrays["x2"].shape[0], arrays["x2"].shape[1])
    shown = {"x1 (old domain)": picture(arrays["x1"]), "x2 (new domain)": picture(arrays["x2"])}
    if label is not None:
        shown["label"] = picture(coloured(label, classes), labels=True)
    views = {"teacher(x1)": ("teacher", "x1"), "B0: teacher(x2)": ("teacher", "x2")}
    views |= {f"{name}(x2)": (name, "x2") for name in models if name != "teacher"}
    for caption, (name, key) in views.items():
        model = models[name]
        found = predict(machine, model.net, model.network, tensor(images[key])[None], size)[0]
        view = coloured(found, classes) if label is None else error_view(found, label, classes)
        shown[caption] = picture(view, labels=True)
    return shown


def montages(runs: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Figure 6: every inversion below the runs, picture by picture so that they wrap; and a note
    for each that lacks a file."""
    found, notes = [], []
    for path in sorted(runs.rglob("inversion/*/montage.png")):
        try:
            names = ("original", *read_inverted(path.with_name("curves.json")))
            shown = {n: picture(read_image(path.with_name(f"{n}.png"))) for n in names}
            curves = picture(read_image(path.with_name("curves.png")), side=CHART)
        except InputError as error:
            notes.append(f"{path.parent.name}: {error}")
        else:
            found.append({"name": path.parent.name, "pictures": shown, "curves": curves})
    return found, notes
