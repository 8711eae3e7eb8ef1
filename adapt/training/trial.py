"""One step on blank images before a run is made, so that what only training does fails there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from adapt.errors import InputError
from adapt.machine.processes import world
from adapt.machine.runtime import explained
from adapt.networks.maps import blank
from adapt.networks.sizes import REFUSALS, reason
from adapt.networks.taps import tap_of
from adapt.objective.terms import Maps
from adapt.training.freezing import own_random
from adapt.training.setup import Setup

CURES = {
    "more than 1 value per channel": "batch norm trains on more than one value a channel: give "
    "batch=2 or more (for each process), or bn=eval",
    "BFloat16": "give precision=fp32",
}
"""What PyTorch says -> the setting that helps."""


@contextmanager
def unchanged(net: nn.Module) -> Iterator[None]:
    """Buffers (statistics) and random numbers are afterwards as they were."""
    kept = {name: buffer.clone() for name, buffer in net.named_buffers()}
    try:
        with own_random(net):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                buffer.copy_(kept[name])


def trial(setup: Setup) -> None:
    """Forward, loss and backward as in a step, of at most two blank images of a batch's size.

    Raises:
        InputError: the network cannot be trained so; with the setting that helps.
        Stopped: there is too little memory.
    """
    if not setup.config.steps:
        return
    net, machine, room = setup.student, setup.machine, setup.cell * setup.config.crop_shift
    size = setup.size[0] - room, setup.size[1] - room
    count = min(setup.config.batch // world(), 2)
    images = machine.images(blank(net, size).repeat(count, 1, 1, 1))
    shape = (count,) if setup.data.classification else (count, *size)
    labels = torch.zeros(shape, dtype=torch.int64, device=machine.device)
    there = torch.ones(count, dtype=torch.bool, device=machine.device)
    batch = {"x1": images, "x2": images, "y": labels}
    for task in setup.tasks:
        batch |= {f"y_{task}": labels, f"has_{task}": there}
    try:
        with unchanged(setup.alone):
            with machine.autocast():
                target = setup.target(images, {}) if setup.teacher is not None else {}
                maps = setup.alone(images)
                if setup.teacher is not None:
                    maps |= setup.continued(maps, images, 0)
            void = setup.config.network.void
            for task, classes in (setup.tasks or {"": setup.data.classes}).items():
                check_classes(maps, tap_of(task), len(classes) + void)
            setup.objective(maps, target, batch)[0].backward()
            setup.alone.zero_grad(set_to_none=True)
    except InputError:
        raise
    except REFUSALS as error:
        what = f"trial step ({count} image(s) of {size[0]}x{size[1]}, {machine.precision})"
        if isinstance(error, RuntimeError) and (stop := explained(error, what)):
            raise stop from None
        cure = next((cure for said, cure in CURES.items() if said in str(error)), "")
        raise InputError(
            f"network: it cannot be trained: {what} fails: {reason(error)}"
            f"{f'; {cure}' if cure else ''}"
        ) from error


def check_classes(maps: Maps, tap: str, classes: int) -> None:
    """InputError where the logits in training are not those of evaluation."""
    found = maps[tap].shape[1] if tap in maps else classes
    if found != classes:
        raise InputError(
            f"network: its logits have {found} channels in training and {classes} in evaluation; "
            "the first member of what it returns must be the same in both"
        )
