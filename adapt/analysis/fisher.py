"""The fisher command: the Fisher information of a network on the images that it was trained for."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapt.data import DataSet, load, some
from adapt.data.sampling import check_sizes, size_of
from adapt.data.targets import of_old
from adapt.disk.files import clear, text_digest
from adapt.disk.lock import only_writer
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, Whole, groups
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks.preprocessing import as_input
from adapt.networks.pretrained import IMAGENET
from adapt.networks.saved import Model, load_complete, load_run
from adapt.penalties.fisher import Fisher, fisher_of, load_fisher, write_fisher
from adapt.settings.choices import STRETCH
from adapt.settings.commands import FisherConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import differences, inherit_data

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow")
NORMALISED = ("mean", "std", "order", "range", "preprocessing")
"""What the network does to an image before its first layer: fields of NetworkConfig."""
MAY_DIFFER = ("source", "root", "device", "versions")
"""Entries of the record that say where something lay, the digests beside them saying what it was,
and those on which only rounding depends."""


def fisher(config: FisherConfig) -> Path:
    """Estimate, or recognise as finished; returns the file.

    Started again after it was killed, the command begins anew; equal settings give equal bytes (on
    a GPU as far as its kernels repeat themselves).

    Raises:
        InputError: wrong configuration or data; `out` made with another configuration.
    """
    out = Path(config.out)
    model, settings = source(config)
    data = some(load(settings, config.split), config.images)
    machine = runtime(config.device, "fp32")
    made = description(config, model, settings, data, machine)

    def images() -> Iterator[tuple[str, Tensor]]:
        reading = Reading(settings, model.network, 1, config.workers)
        for (item,) in groups(Whole(data, settings, ["x1"]), reading, "fisher"):
            x1 = machine.images(item["x1"][None])
            yield item["name"], as_input(x1, model.network)

    if not out.exists():
        check_sizes(data, settings, ["x1"])
        with only_writer(out.with_suffix(".lock"), f"out: another process is writing {out}"):
            if not out.exists():
                clear(out.parent.iterdir(), [out.name])
                machine.place(model.net)
                given = config.normalisation, config.draws, config.seed
                found = Fisher(fisher_of(model.net, images(), *given), made)
                write_fisher(out, found.values, made)
                every = torch.cat([v.flatten() for v in found.values.values()])
                say(
                    f"{out}: Fisher information of {len(every):,} parameters, mean "
                    f"{found.mean:.3e}, {100 * float((every == 0).double().mean()):.1f} % zero; "
                    f"{len(data.samples)} images of {data.name} {data.split}"
                )
                return out
    before = {"reading": made["reading"]} | load_fisher(out).made  # earlier versions lack it
    old, new = ({k: v for k, v in d.items() if k not in MAY_DIFFER} for d in (before, made))
    if changed := differences(old, new):
        raise InputError(
            f"out: {out} was made with another configuration (there -> given): "
            f"{'; '.join(changed)}. Give another out=, or delete it"
        )
    say(f"{out} is finished already; nothing to do")
    return out


def source(config: FisherConfig) -> tuple[Model, DataConfig]:
    """The network and how its source images are read."""
    if config.run:
        model = load_run(config.run, config.network)
        recorded = read_data(Path(config.run))
        return model, of_old(inherit_data(config.data, recorded))
    if config.start == IMAGENET:
        raise InputError(
            f"start={IMAGENET} has no trained output to draw labels from; give a network that was "
            "trained for the data"
        )
    settings = of_old(config.data)
    data = load(settings, config.split)
    size = size_of(replace(settings, crop=[]), data)
    return load_complete(config.start, config.network, data.classes, "start", size), settings


def description(
    config: FisherConfig, model: Model, settings: DataConfig, data: DataSet, machine: Runtime
) -> dict[str, Any]:
    """What the file says about itself; no times, so that equal work gives equal files."""
    names = "\n".join(sample.name for sample in data.samples)
    return {key: getattr(config, key) for key in ("split", "normalisation", "draws", "seed")} | {
        "model": model.digest,
        "network": model.network.name,
        "source": config.run or config.start,
        "data": data.name,
        "root": settings.pairs or settings.shards or settings.root,
        "images": len(data.samples),
        "names": text_digest(names),
        "resize": settings.resize,
        **({"fit": settings.fit} if settings.fit != STRETCH else {}),
        "reading": [*settings.reading("x1"), *(getattr(model.network, key) for key in NORMALISED)],
        "labels": "drawn from the network's own output",
        "precision": machine.precision,
        "device": machine.device.type,
        "versions": {package: version(package) for package in PACKAGES},
    }
