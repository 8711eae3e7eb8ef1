"""The fisher command: the Fisher information of a network on the images that it was trained for."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adapt.data import DataSet, load, some
from adapt.data.sampling import check_sizes
from adapt.disk.files import clear
from adapt.disk.lock import only_writer
from adapt.disk.runs import read_data
from adapt.errors import InputError, Stopped
from adapt.evaluation.inference import Reading, Whole, groups
from adapt.machine.runtime import Runtime, runtime, say, stop_signals
from adapt.networks.pretrained import IMAGENET
from adapt.networks.saved import Model, load_complete, load_run
from adapt.networks.taps import normalise
from adapt.penalties.fisher import (
    Values,
    add_scores,
    averaged,
    generator_of,
    load_fisher,
    read_fisher,
    write_fisher,
    zeros,
)
from adapt.settings.commands import FisherConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import differences, inherit_data

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow")
PLACES = ("source", "root")
"""Entries of the record that say where something lay: the digests beside them say what it was."""
MACHINE = ("device", "versions")
"""Entries on which only rounding depends: a finished file is what was asked for all the same, an
unfinished one does not go on under others."""


def fisher(config: FisherConfig, on_image: Callable[[int], None] | None = None) -> Path:
    """Estimate, go on estimating, or recognise as finished; returns the file.

    Killed at any time and started again the command goes on from its last save and gives the same
    bytes (on a GPU as far as its kernels repeat themselves). `on_image(count)` is called after
    every image (tests interrupt with it).

    Raises:
        InputError: wrong configuration or data; `out` made with another configuration.
        Stopped: a signal, after what there is was saved.
    """
    out = Path(config.out)
    model, settings = source(config)
    data = some(load(settings, config.split), config.images)
    machine = runtime(config.device, "fp32")
    made = description(config, model, settings, data, machine)
    if not out.exists():
        check_sizes(data, ["x1"])
        with only_writer(out.with_suffix(".lock"), f"out: another process is writing {out}"):
            if not out.exists():
                clear(out.parent.iterdir(), (out.name, partial(out).name))
                return estimated(config, model, settings, data, machine, made, on_image)
    refuse_other(out, load_fisher(out).made, made, ignored=(*PLACES, *MACHINE))
    say(f"{out} is finished already; nothing to do")
    return out


def estimated(
    config: FisherConfig,
    model: Model,
    settings: DataConfig,
    data: DataSet,
    machine: Runtime,
    made: dict[str, Any],
    on_image: Callable[[int], None] | None,
) -> Path:
    """The file, made from the beginning or from where a stopped call came to."""
    out = Path(config.out)
    machine.place(model.net)
    totals, done = restored(model, partial(out), made)
    add_images(config, machine, model, settings, data, made, totals, done, on_image)
    values = averaged(totals, len(data.samples))
    write_fisher(out, values, made)
    partial(out).unlink(missing_ok=True)
    say(f"{out}: {summary(values)}; {len(data.samples)} images of {data.name} {data.split}")
    return out


def source(config: FisherConfig) -> tuple[Model, DataConfig]:
    """The network and how its source images are read."""
    if config.run:
        model = load_run(config.run, config.network)
        recorded = read_data(Path(config.run))
        return model, replace(inherit_data(config.data, recorded), target="")
    if config.start == IMAGENET:
        raise InputError(
            f"start={IMAGENET} has no trained output to draw labels from; give a network that was "
            "trained for the data"
        )
    settings = replace(config.data, target="")
    classes = load(settings, config.split).classes
    return load_complete(config.start, config.network, classes, "start"), settings


def description(
    config: FisherConfig, model: Model, settings: DataConfig, data: DataSet, machine: Runtime
) -> dict[str, Any]:
    """What the file says about itself; no times, so that equal work gives equal files."""
    names = "\n".join(sample.name for sample in data.samples)
    return {
        "model": model.digest,
        "network": model.network.name,
        "source": config.run or config.start,
        "data": data.name,
        "root": settings.pairs or settings.shards or settings.root,
        "split": config.split,
        "images": len(data.samples),
        "names": hashlib.sha256(names.encode()).hexdigest(),
        "resize": settings.resize,
        "labels": "drawn from the network's own output",
        "normalisation": config.normalisation,
        "draws": config.draws,
        "seed": config.seed,
        "precision": machine.precision,
        "device": machine.device.type,
        "versions": {package: version(package) for package in PACKAGES},
    }


def partial(out: Path) -> Path:
    """Where sums over the first images lie until all are done."""
    return out.with_suffix(".partial.safetensors")


def refuse_other(
    path: Path, there: dict[str, Any], given: dict[str, Any], ignored: tuple[str, ...]
) -> None:
    old, new = ({k: v for k, v in d.items() if k not in ignored} for d in (there, given))
    if changed := differences(old, new):
        raise InputError(
            f"out: {path} was made with another configuration (there -> given): "
            f"{'; '.join(changed)}. Give another out=, or delete it"
        )


def restored(model: Model, path: Path, made: dict[str, Any]) -> tuple[Values, int]:
    """Sums and the number of images in them: what was saved, or nothing."""
    totals = zeros(model.net)
    if not path.exists():
        return totals, 0
    found, there = read_fisher(path)
    done = int(there.pop("done", 0))
    refuse_other(path, there, made, ignored=PLACES)
    say(f"going on with {path} behind {done} of {made['images']} images")
    return {name: found[name].to(total) for name, total in totals.items()}, done


def add_images(
    config: FisherConfig,
    machine: Runtime,
    model: Model,
    settings: DataConfig,
    data: DataSet,
    made: dict[str, Any],
    totals: Values,
    done: int,
    on_image: Callable[[int], None] | None,
) -> None:
    """Add the scores of all images behind the first `done`, saving now and then."""
    path, last = partial(Path(config.out)), len(data.samples)
    reading = Reading(settings, model.network, 1, config.workers)
    whole = Whole(replace(data, samples=data.samples[done:]), settings, ["x1"])
    with stop_signals() as signals:
        for (item,) in groups(whole, reading, "fisher"):
            shown = machine.images(item["x1"][None])
            image = normalise(shown, model.network.mean, model.network.std)
            own = generator_of(config.seed, item["name"])
            add_scores(totals, model.net, image, config.normalisation, config.draws, own)
            done += 1
            if on_image is not None:
                on_image(done)
            if signals or (done % config.checkpoint_every == 0 and done < last):
                write_fisher(path, totals, {**made, "done": done})
            if signals:
                raise Stopped(
                    f"stopped by a signal; {config.out} goes on behind {done} images",
                    128 + signals[0],
                )


def summary(values: Values) -> str:
    """How many values, their mean, and how many of them are 0."""
    count = sum(v.numel() for v in values.values())
    mean = sum(v.double().sum().item() for v in values.values()) / count
    zero = sum(int((v == 0).sum()) for v in values.values()) / count
    return f"Fisher information of {count:,} parameters, mean {mean:.3e}, {100 * zero:.1f} % zero"
