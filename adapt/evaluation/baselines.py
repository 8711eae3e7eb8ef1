"""Baselines without training: new images in the old domain's look, AdaBN (Li et al. 2016), and a
ridge map after a layer."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from adapt.data import DataSet, load
from adapt.data.augment import resize
from adapt.data.images import image_size
from adapt.data.samples import pairing
from adapt.errors import InputError
from adapt.evaluation.inference import Reading, Whole, crops_of, groups, stack
from adapt.evaluation.restyle import MAKERS, Restyle
from adapt.evaluation.ridge import with_map
from adapt.machine.runtime import Runtime, say
from adapt.networks.batchnorm import adapt_statistics
from adapt.networks.preprocessing import as_input
from adapt.settings.choices import PAD
from adapt.settings.commands import EvaluateConfig


class TooFewValuesError(InputError):
    """A batch norm sees one value a channel, of which there are no statistics."""


def treated(
    config: EvaluateConfig,
    machine: Runtime,
    net: nn.Module,
    reading: Reading,
    data: DataSet,
    image: str,
    recorded: dict[str, Any],
) -> tuple[nn.Module, Reading, dict[str, Any]]:
    """The network and the reading of a baseline without training, where one is asked for, and what
    the record says of it."""
    settings, mapped = reading.data, ""
    training = load(settings, "train") if config.restyle or config.adabn or config.ridge else None
    if training is not None and config.restyle:
        if image == "x1":
            raise InputError(f"restyle={config.restyle} is for the new domain: give domain=d2")
        if settings.fit == PAD:
            raise InputError(f"restyle={config.restyle} would count what data.fit=pad adds")
        restyle = restyle_to_old(config.restyle, config.restyle_beta, reading, training, data)
        reading = replace(reading, restyle=restyle)
    if training is not None and config.adabn:
        adapt_to(machine, net, reading, training, image)
    if training is not None and config.ridge:
        if image == "x1" or recorded["teacher"]:
            raise InputError("ridge=true is for a teacher on the new domain: teacher=DIR domain=d2")
        net, fitted = with_map(machine, net, reading, training)
        say(str(fitted))
        mapped = fitted.best
    how = {
        "adabn": config.adabn,
        "ridge": mapped,
        "restyle": config.restyle,
        "restyle_beta": config.restyle_beta if config.restyle == "fda" else None,
        "training": "" if training is None else pairing(training.samples),
        "batch": config.batch if config.adabn else None,
    }
    return net, reading, how


def adapt_to(machine: Runtime, net: nn.Module, reading: Reading, data: DataSet, image: str) -> None:
    """AdaBN: the batch-norm statistics of the domain's training images, at the size of evaluation:
    of whole images, or of the central crop where an image has one label."""

    def images() -> Iterator[Tensor]:
        if data.classification:
            yield from (x[:, 0] for x in crops_of(reading, data, image, 1, "adabn"))
        else:
            whole = Whole(data, reading.data, [image], reading.restyle)
            yield from (stack(group, image) for group in groups(whole, reading, "adabn"))

    try:
        with machine.autocast():
            adapt_statistics(net, (as_input(machine.images(x), reading.network) for x in images()))
    except InputError:
        raise
    except ValueError as error:  # torch: a batch norm that sees one value a channel
        raise TooFewValuesError(f"adabn=true, batch={reading.batch}: {error}") from error


def restyle_to_old(
    name: str, beta: float, reading: Reading, training: DataSet, evaluated: DataSet
) -> Restyle:
    """The restyling of x2 towards the old domain's training images (adapt.evaluation.restyle).

    Where images are evaluated at several sizes, the training images are brought to the largest.
    """
    size = reading.data.resize
    if len(size) != 2:
        sizes = [image_size(s.x2) for s in evaluated.samples if s.x2 is not None]
        size = [max(sides) for sides in zip(*sizes, strict=True)]

    def images(*fields: str) -> Iterator[np.ndarray]:
        whole = Whole(training, replace(reading.data, resize=size), [*fields])
        for group in groups(whole, reading, f"{name}, {fields[0]}"):
            for item in group:
                image = item[fields[0]].permute(1, 2, 0).numpy()
                for mask in fields[1:]:
                    image = image[
                        resize({mask: np.asarray(item[mask])}, [*image.shape[:2]])[mask] != 0
                    ][None]
                yield image

    warped = ["valid"] if reading.data.transforms else []  # x2 is black where it shows nothing
    return MAKERS[name](images("x1"), images("x2", *warped), beta)
