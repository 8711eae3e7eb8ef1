"""What networks see and say: Figure 5's feature maps and predictions beside their labels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data import DataSet, load, pixels_only, some
from adapt.data.augment import resize
from adapt.data.images import as_rgb, read_image
from adapt.data.sampling import Decoder, tensor
from adapt.disk.files import read_mapping
from adapt.disk.runs import read_config, read_data
from adapt.errors import InputError
from adapt.evaluation.protocol import predict
from adapt.machine.runtime import Runtime, runtime
from adapt.networks.saved import Model, load_model, load_teacher
from adapt.networks.taps import split_tap
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from viz.figures import heat
from viz.layers.similarity import maps_of
from viz.pictures import coloured, error_view, is_file_name, legend, most_changed, thumbnail

CHART = 1200
"""Pixels of the longer side of a chart that is read from a file."""

Arrays = Mapping[str, np.ndarray]
"""x1, x2 (H, W, C) and, where there are labels, y (H, W) of a sample."""
Pictures = dict[str, str]
"""Caption -> data URI."""


def gallery(
    shift: str, student: Path, others: Mapping[str, Path], split: str, count: int, target: str = ""
) -> dict[str, Any]:
    """Pictures of one shift, as report.html has them: feature maps of the first sample, predictions
    of each, and a legend of class names with their colours (#rrggbb).

    Args:
        shift: its name, for the heading.
        student: run folder of an adapted student; its teacher and data come from its record.
        others: caption -> run folder of further networks that see x2 (B2, say).
        split: the data set's split.
        count: how many evenly spaced samples.
        target: folder of the new images; empty = those of the student's training.

    Raises:
        InputError: runs or images that are no longer there.
    """
    config = read_config(student)
    settings = inherit_data(DataConfig(target=target), read_data(student))
    machine = runtime("cpu", "fp32")
    adapted = load_model(student)
    teacher = load_teacher(config["teacher"], config, adapted)
    models = {"teacher": teacher, "student": adapted}
    models |= {name: load_model(run, name) for name, run in others.items()}
    for model in models.values():
        machine.place(model.net).eval()
    data = load(settings, split)
    pixels_only(data, "pictures")
    data = replace(data, classes=adapted.classes)
    samples = some(data, count).samples if count else ()
    read = Decoder(data, settings, ["x1", "x2", *(["y2"] if data.labelled else [])])
    natives = {sample.name: read.fitted(read.native(sample)) for sample in samples}
    layers = [name for name, _ in adapted.net.named_modules()]
    regression = config["objective"]["regression"]
    other = config["teacher_network"]["name"] or regression["student"]  # whose channels are others
    regressed = {} if other else regression["taps"]
    tap = max(regressed, key=lambda name: layers.index(split_tap(adapted.net, name)[0]), default="")
    features: Pictures = {}
    channel = -1
    if natives and tap:
        first = images_of(next(iter(natives.values())), settings)
        features, channel = feature_maps(machine, models, first, tap)
    return {
        "shift": shift,
        "tap": tap,
        "channel": channel,
        "features": features,
        "predictions": {
            name: predictions(machine, models, arrays, settings, data)
            for name, arrays in natives.items()
        },
        "legend": legend(data.classes),
    }


def images_of(arrays: Arrays, settings: DataConfig) -> dict[str, np.ndarray]:
    """x1 and x2 at the size at which networks see them."""
    return resize({key: arrays[key] for key in ("x1", "x2")}, settings.resize)


def feature_maps(
    machine: Runtime, models: Mapping[str, Model], images: Arrays, tap: str
) -> tuple[Pictures, int]:
    """003, Figure 5: one channel of teacher(x1), teacher(x2) and student(x2), and its number."""
    maps = {}
    for name, key in (("teacher", "x1"), ("teacher", "x2"), ("student", "x2")):
        found = maps_of(machine, models[name], images[key], [tap])
        maps[f"{name}({key})"] = found[tap][0].numpy()
    channel = most_changed(maps["teacher(x1)"], maps["teacher(x2)"])
    size = list(images["x1"].shape[:2])
    drawn = {key: as_rgb(image) for key, image in images.items()}
    for caption, colours in zip(maps, heat(m[channel] for m in maps.values()), strict=True):
        drawn[caption] = resize({"y": colours}, size)["y"]
    return {caption: thumbnail(image) for caption, image in drawn.items()}, channel


def predictions(
    machine: Runtime,
    models: Mapping[str, Model],
    arrays: Arrays,
    settings: DataConfig,
    data: DataSet,
) -> Pictures:
    """x1, x2, the label, and each network's prediction: with a label, wrong pixels are white."""
    classes, label = len(data.classes), arrays.get("y")
    images = images_of(arrays, settings)
    scored = arrays.get("y", arrays["x2"])
    size = (scored.shape[0], scored.shape[1])
    old, new = (thumbnail(as_rgb(arrays[key])) for key in ("x1", "x2"))
    drawn = {"x1 (old domain)": old, "x2 (new domain)": new}
    if label is not None:
        drawn["label"] = thumbnail(coloured(label, classes), labels=True)
    views = {"teacher(x1)": ("teacher", "x1"), "B0: teacher(x2)": ("teacher", "x2")}
    views |= {f"{name}(x2)": (name, "x2") for name in models if name != "teacher"}
    for caption, (name, key) in views.items():
        model = models[name]
        found = predict(machine, model.net, model.network, tensor(images[key])[None], size)[0]
        view = coloured(found, classes) if label is None else error_view(found, label, classes)
        drawn[caption] = thumbnail(view, labels=True)
    return drawn


def montages(runs: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Figure 6: every inversion below the runs, picture by picture so that they wrap; and a note
    for each that lacks a file. One is named for its image, and for the folder that it lies in where
    that is not the study's own `inversion`."""
    found, notes = [], []
    for path in sorted(runs.rglob("inversion*/*/montage.png")):
        *above, image = path.parent.relative_to(runs).parts
        folder = "/".join(part for part in above if part != "inversion")
        name = ": ".join(filter(None, (folder, image)))
        try:
            names = ("original", *networks_in(path.with_name("curves.json")))
            pictures = {n: thumbnail(read_image(path.with_name(f"{n}.png"))) for n in names}
            curves = thumbnail(read_image(path.with_name("curves.png")), side=CHART)
        except InputError as error:
            notes.append(f"{name}: {error}")
        else:
            found.append({"name": name, "pictures": pictures, "curves": curves})
    return found, notes


def networks_in(path: Path) -> list[str]:
    """Names of the networks that an inversion was made by, each a picture's beside `path`.

    Raises:
        InputError: not what invert writes, or a name that leads elsewhere.
    """
    networks = read_mapping(path).get("networks")
    if not isinstance(networks, dict) or not networks:
        raise InputError(f"{path}: it has no networks")
    for name in networks:
        if not is_file_name(name):
            raise InputError(f"{path}: {name!r} cannot name a picture beside it")
    return list(networks)
