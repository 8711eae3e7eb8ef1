"""What is said of the pairs at the start of a training that compares x2 with x1."""

import numpy as np

from adapt.align.sample import Sampled, command, cure, sampled
from adapt.data.targets import each_target
from adapt.errors import InputError
from adapt.machine.processes import rank_zero_only
from adapt.machine.runtime import say
from adapt.networks.taps import LOGITS
from adapt.settings.groups import DataConfig
from adapt.training.setup import Setup


@rank_zero_only
def say_pairs(setup: Setup) -> None:
    """Say what a sample of the training's pairs tells, and warn of an offset that all of them share
    where it is more than a cell of the deepest tap. Nothing is drawn, and nothing ends the run.

    Pairs that are objects of Python are left to it: to read one may change what comes next.
    """
    data, config = setup.data, setup.config
    if setup.teacher is None or data.classification or data.objects or not config.steps:
        return
    for target, settings in each_target(config.data).items():
        head = f"{target}: " if target else ""
        try:
            found = sampled((data.of_target(target) if target else data).samples, settings)
        except InputError as error:  # which the training will name when it comes to the image
            say(f"{head}pairs: no sample: {error}")
            continue
        for line in found.lines:
            say(f"{head}{line}")
        if found.strange:
            most = "warning: most pairs seem to show two scenes; " if found.lost else ""
            say(f"{head}{most}{command('scan', settings)} looks at every pair")
        if warning := offset_warning(setup, settings, found):
            say(f"{head}{warning}")


def offset_warning(setup: Setup, data: DataConfig, found: Sampled) -> str:
    """What to say of an offset; empty where it is within a cell, or no more than chance."""
    (tap, stride), off = deepest(setup), found.misalignment
    cells = float(np.hypot(*np.divide(off.shift, stride[::-1])))
    if cells <= 1 or not off.systematic:
        return ""
    (x, y), transforms = off.shift, data.transforms
    although = f", although data.transforms={transforms} moves it" if transforms else ""
    align, setting = cure(data)
    return (
        f"warning: x2 lies ({x:+.1f}, {y:+.1f}) px off x1{although}, {cells:.1f} cells of layer "
        f"{tap}, of {max(stride):.3g} px each, and there the student will put its maps. To align "
        f"the pairs,\n  {align}\nand give a new run {setting}"
    )


def deepest(setup: Setup) -> tuple[str, tuple[float, float]]:
    """The last layer of the student in a forward pass whose map is regressed, else its logits, and
    the stride there, height and width."""
    strides = {
        name: layer.stride
        for layer in setup.layers
        if layer.stride
        for name in (layer.name or LOGITS, *layer.aliases)
    }
    tapped = [name for name in strides if name in setup.objective.student - {LOGITS}]
    last = tapped[-1] if tapped else LOGITS
    return last, strides[last]
