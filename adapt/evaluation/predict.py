"""The predict command: index masks, or labels, of a data set's split or of a folder of images."""

import io
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from adapt.data import DataSet, Sample, layout_of
from adapt.data.augment import centred, resize
from adapt.data.files import Lookup, bare, distinct, inside, numbered
from adapt.data.images import as_rgb, index_type, png, voc_palette, void_beside, write_png
from adapt.data.sampling import check_sizes, size_of
from adapt.data.tiff import Place, geotiff, place_of
from adapt.data.video import VIDEOS, on_disk, opened_video, without_frame
from adapt.disk.files import read_mapping, strangers, write_json, write_whole
from adapt.disk.lock import scratch_folder
from adapt.disk.portions import LOCK, PARTS, Portion, one_writer
from adapt.disk.runs import own_image, read_config, read_data
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.evaluation.evaluate import heads_for
from adapt.evaluation.inference import Reading, Whole, classify, groups, predicted
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks.preprocessing import sees
from adapt.networks.saved import Model, is_file, load_complete, load_model
from adapt.networks.taps import of_task
from adapt.settings.choices import CROP, STRETCH
from adapt.settings.commands import PredictConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import as_dict, differences, inherit

MANIFEST, LABELS = "predictions.json", "predictions.csv"


def predictions(config: PredictConfig) -> Path:
    """Write <out>/<name>.png, or <name>.tif where the image is a GeoTIFF, which then lies at the
    same place, for every image, at its own size, and return the folder.

    The values are class indices, with the VOC colours as palette, or the values of the data set's
    own masks where these differ (Cityscapes, as its test server wants them). Where a value is above
    255 the masks are grey of 16 bits, without a palette. Void is what data.fit=crop has cut off. A
    classifier of whole images writes <out>/predictions.csv instead: name, class, probability.
    Of several heads each has a folder of its own, <out>/<task>. Started again, the command goes on
    where it was; a folder with the predictions of another run is refused.

    Raises:
        InputError: the run is unfinished, the folder is something else, or images have no domain.
    """
    with ExitStack() as stack:
        model, heads, image = inputs_of(config, stack)
        for task, (settings, data) in heads.items():
            own = replace(config, out=str(Path(config.out, task)))
            predict_into(own, of_task(model.net, task), model, settings, data, image)
    return Path(config.out)


def predict_into(
    config: PredictConfig,
    net: nn.Module,
    model: Model,
    settings: DataConfig,
    data: DataSet,
    image: str,
) -> None:
    """Write the predictions of one head, `net`, of a run's network."""
    out = Path(config.out)
    about = {
        "model": model.digest,
        "data": data.name,
        "split": data.split,
        "image": image,
        "from": sources_of(config, settings),
        "resize": settings.resize,
        "protocol": as_dict(config.protocol),
        "codes": list(() if data.labels else data.codes),
        "classes": list(data.classes),
    }
    bands, limits = settings.reading(image)
    about |= {"bands": bands} if bands else {}
    about |= {"range": limits} if limits else {}
    about |= {"fit": settings.fit} if settings.fit != STRETCH else {}
    machine = runtime(config.device, config.precision)
    check_sizes(data, settings, [image])
    part, begin = Portion.of_setting(config.part), partial(claim, out, about)
    with one_writer(out, part, begin) if part.count else nullcontext(begin()):
        say(sees(model.network))
        reading = Reading(settings, model.network, config.batch, config.workers, config.protocol)
        own = replace(data, samples=part.of(data.samples, config.batch))  # its batches stay whole
        net = machine.place(net).eval()
        if data.classification:
            label_images(config, machine, net, reading, own, image)
        else:
            mask_images(config, machine, net, reading, own, image)


def mask_images(
    config: PredictConfig,
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
) -> None:
    """Write the index masks that are not there yet."""
    part, out = Portion.of_setting(config.part), Path(config.out)
    if part.joins:
        part.records(out / PARTS)  # none is missing
    places = {s.name: place_of(on_disk(getattr(s, image))) for s in data.samples}
    outputs = {name: files(config, name, place) for name, place in places.items()}
    waiting = tuple(s for s in data.samples if not all(p.is_file() for p in outputs[s.name]))
    whole = Whole(replace(data, samples=waiting), reading.data, [image])
    values = np.array(data.values, np.min_scalar_type(max(data.values)))
    for group in groups(whole, reading, "predict"):
        found = predicted(machine, net, reading, group, image, probabilities=config.probabilities)
        for item, one in zip(group, found, strict=True):
            name = item["name"]
            write(config, item, one, values, outputs[name], places[name])
    void = f"; what data.fit=crop has cut off is void, {void_beside(values)}"
    void = void if reading.data.fit == CROP else ""
    said = f"{len(data.samples)} predictions of {config.run}, {len(waiting)} of them new{void}"
    if part.number:
        write_json(part.record(out / PARTS), {"images": len(data.samples)})
    say(f"{out}: {said}")


def sources_of(config: PredictConfig, settings: DataConfig) -> list[str]:
    """Where the images lie."""
    every = [config.images] if config.images else [
        settings.root, settings.target, settings.pairs, settings.shards
    ]  # fmt: skip
    return [str(Path(place).absolute()) for place in every if place]


def inputs_of(
    config: PredictConfig, stack: ExitStack
) -> tuple[Model, dict[str, tuple[DataConfig, DataSet]], str]:
    """The network; for each head, `` where there is one, how images are read and the images; and
    which of a pair's they are. Frames of a video lie in a folder until the stack is closed."""
    if not config.images:
        model = load_model(Path(config.run))
        domain, found = heads_for(Path(config.run), model, config.data, config.domain, config.split)
        # Masks lie on the files as they stand, whatever they were trained beside.
        as_they_are = {
            task: (settings, replace(data, samples=tuple(map(unwarped, data.samples))))
            for task, (settings, data) in found.items()
        }
        return model, as_they_are, f"x{domain[1]}"
    settings, images = config.data, Path(config.images)
    if not is_file(config.run):
        model = load_model(Path(config.run))
        settings = inherit(settings, read_data(Path(config.run)))
        bands, limits = settings.reading(own_image(read_config(Path(config.run))))
        bands, limits = config.data.bands or bands, config.data.range or limits
        settings = replace(settings, bands=bands, range=limits)
    if images.suffix.lower() in VIDEOS:
        if config.part:
            raise InputError(f"part: {images} is a video, which is read in one call")
        folder = stack.enter_context(scratch_folder(Path(config.out), "frames", "out"))
        named = frames(images, folder)
    elif images.is_file():
        named = listed(images, settings.follow_links)
    else:
        lookup = Lookup()
        named = {bare(f): images / f for f in lookup.below(images, settings.follow_links)}
        lookup.complete([])
    samples = tuple(Sample(name, file) for name, file in named.items())
    kind = bool(settings.name) and layout_of(settings).classification
    data = DataSet("images", "", (), (), samples, classification=kind)
    if is_file(config.run):
        given = config.network, tuple(settings.classes), "run"
        model = load_complete(config.run, *given, size_of(replace(settings, crop=[]), data))
    heads = model.tasks or {"": model.classes}
    every = {task: (settings, replace(data, classes=own)) for task, own in heads.items()}
    return model, every, "x1"


def unwarped(sample: Sample) -> Sample:
    return replace(sample, transform=None)


def listed(source: Path, follow_links: bool) -> dict[str, Path]:
    """Name -> file of every line of a list: its path in the list's folder without the suffix, with
    `_` for `/` unless that makes two names one."""
    home = source.parent
    lines = [(f"{source}:{number}", line) for number, line in numbered(source)]
    found = [inside(home, line, where, follow_links) for where, line in lines]
    paths = [file.relative_to(home).as_posix() for file in found]
    names = distinct(
        len(paths),
        lambda place: lines[place][0],
        lambda place: bare(without_frame(paths[place])).replace("/", "_"),
        lambda place: bare(without_frame(paths[place])),
        lambda place: paths[place],
    )
    return dict(zip(names, found, strict=True))


def frames(video: Path, folder: Path) -> dict[str, Path]:
    """Name -> file of every frame of a video, written into a folder.

    Raises:
        InputError: no such video, or nothing in it that OpenCV reads.
    """
    named: dict[str, Path] = {}
    capture = opened_video(video)
    while (read := capture.read())[0]:
        frame = read[1]
        name = f"frame_{len(named):06d}"
        named[name] = folder / f"{name}.png"
        write_png(named[name], np.ascontiguousarray(frame[..., ::-1]))
    if not named:
        raise InputError(f"images: {video} has no frames that can be read")
    return named


def files(config: PredictConfig, name: str, place: Place | None) -> list[Path]:
    """What is written of an image."""
    out = Path(config.out)
    found = [out / f"{name}{'.tif' if place else '.png'}"]
    found += [out / "overlay" / f"{name}.png"] if config.overlay else []
    return found + ([out / "probabilities" / f"{name}.npz"] if config.probabilities else [])


def write(
    config: PredictConfig,
    item: dict[str, Any],
    found: np.ndarray,
    values: np.ndarray,
    outputs: list[Path],
    place: Place | None,
) -> None:
    """The files of one image, of its classes (H, W) or their probabilities (C, H, W); `values` are
    those of the classes in the mask, `place` is the image's on Earth."""
    palette = voc_palette() if np.array_equal(values, range(len(values))) else None
    mask, *others = outputs
    shape = item["shape"]  # data.fit is undone
    if config.probabilities:
        buffer, own = io.BytesIO(), centred(found.transpose(1, 2, 0), shape, 0).transpose(2, 0, 1)
        np.savez_compressed(buffer, probabilities=own.astype(np.float16))
        write_whole(others[-1], buffer.getvalue())
    classes = found
    if config.probabilities:
        classes = found.argmax(axis=0)
    there = np.minimum(classes, len(values))  # void is the last
    if config.overlay:
        pixels = next(item[key] for key in ("x1", "x2") if key in item).permute(1, 2, 0).numpy()
        seen = resize({"x1": as_rgb(pixels)}, list(classes.shape))["x1"].astype(np.float32)
        colours = np.array(voc_palette(len(values) + 1), np.float32).reshape(-1, 3)[there]
        blended = (1 - config.overlay) * seen + config.overlay * colours
        write_png(others[0], centred(blended.round().astype(np.uint8), shape, 0))
    kind, void = np.promote_types(values.dtype, index_type(len(values))), void_beside(values)
    found = centred(np.append(values, void).astype(kind)[there], shape, void)
    encoded = geotiff(found, place, palette) if place else png(found, palette)
    write_whole(mask, encoded)  # last: it is done


def label_images(
    config: PredictConfig,
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
) -> None:
    """Write the table of predicted classes, or a part's record of its rows, unless it is there."""
    part, out = Portion.of_setting(config.part), Path(config.out)
    file = part.record(out / PARTS) if part.number else out / LABELS
    rows = []
    if part.joins:
        rows = [row for _, record in part.records(out / PARTS) for row in record["rows"]]
    elif data.samples and not file.is_file():
        found = classify(machine, net, reading, data, image, "predict")
        for sample, label, chance in zip(data.samples, *found, strict=True):
            rows.append([sample.name, data.classes[label], f"{chance:.4f}"])
    if part.number and not file.is_file():
        write_json(file, {"rows": rows})
    elif not file.is_file():
        write_whole(file, csv_of([["name", "class", "probability"], *rows]))
    say(f"{file}: {len(data.samples)} predictions of {config.run}")


def claim(out: Path, about: dict[str, Any]) -> None:
    """Make the folder, or accept it if it holds the same predictions."""
    if (out / MANIFEST).is_file():
        if changed := differences(read_mapping(out / MANIFEST), about):
            raise InputError(
                f"out: {out} holds other predictions (there -> given): "
                f"{'; '.join(changed)}; give a new folder"
            )
    elif out.is_dir() and strangers(out, {LOCK}):
        raise InputError(f"out: {out} is not empty and holds no predictions; give a new folder")
    else:
        write_json(out / MANIFEST, about)
