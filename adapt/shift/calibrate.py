"""The calibrate command: which parameters of a filter degrade a teacher as much as wanted."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data import DataSet, load, pixels_only, some
from adapt.data.augment import resize
from adapt.data.sampling import Decoder, image_seed, tensor
from adapt.data.targets import of_old
from adapt.disk.files import write_json
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.evaluation.metrics import distortion, scores_of, tally
from adapt.evaluation.protocol import predict
from adapt.machine.runtime import Runtime, progress, runtime, say
from adapt.networks.saved import Model, check_classes, check_one_head, load_model
from adapt.settings.commands import CalibrateConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.settings.mapping import inherit_data
from adapt.shift.distort import check_shift, shifted

CLOSE = 0.5
"""Percent: as near as the wanted distortion needs to be met."""


@dataclass(frozen=True)
class Attempt:
    """What one set of parameters does to the teacher; scores and distortion in percent."""

    parameters: dict[str, Any]
    miou: float
    class_accuracy: float
    distortion: float


def between(trials: list[Attempt], wanted: float) -> dict[str, Any] | None:
    """Parameters between the nearest trials on either side of the wanted distortion.

    Every number moves by the share of the way that the distortion has to go, a tenth at least; by
    half of that, and so on, where this was tried. None where a trial is close enough, one side is
    empty, or the two differ in more than numbers.
    """
    if abs(nearest(trials, wanted).distortion - wanted) <= CLOSE:
        return None
    below = [trial for trial in trials if trial.distortion < wanted]
    above = [trial for trial in trials if trial.distortion > wanted]
    if not below or not above:
        return None
    low = max(below, key=lambda trial: trial.distortion)
    high = min(above, key=lambda trial: trial.distortion)
    share = (wanted - low.distortion) / (high.distortion - low.distortion)
    share = min(max(share, 0.1), 0.9)
    tried = [trial.parameters for trial in trials]
    while (found := mixed(low.parameters, high.parameters, share)) in tried:
        share /= 2
    return found


def mixed(low: dict[str, Any], high: dict[str, Any], share: float) -> dict[str, Any] | None:
    """Numbers on the way from `low` to `high`; None where the two differ in more than numbers."""
    if low.keys() != high.keys():
        return None
    found = dict(low)
    for name, first in low.items():
        last = high[name]
        if all(isinstance(end, int | float) and not isinstance(end, bool) for end in (first, last)):
            found[name] = round(first + share * (last - first), 4)
        elif first != last:
            return None
    return None if found == low else found


def nearest(trials: list[Attempt], wanted: float) -> Attempt:
    """The trial whose distortion is nearest to the wanted one; the earliest of equals."""
    return min(trials, key=lambda trial: abs(trial.distortion - wanted))


def calibrate(config: CalibrateConfig) -> Path:
    """Try every candidate of `config.shift`, then some between the nearest two, and write the table
    with the nearest of all; returns the file.

    The distortion of a shift is the mean relative loss of mIoU and of mean class accuracy of the
    teacher (003, section 4.1). What a constant answer would lose is the practical ceiling, and is
    written beside it.

    Raises:
        InputError: no candidates, an unlabelled split, parameters that the filter refuses.
    """
    shift = config.shift
    if not shift.candidates:
        raise InputError(
            f"shift.candidates of {shift.name} is empty: list changes of its parameters to try"
        )
    candidates = [
        replace(shift, parameters=shift.parameters | changes) for changes in shift.candidates
    ]
    for candidate in candidates:
        check_shift(candidate)
    teacher = load_model(Path(config.teacher), "teacher")
    check_one_head(teacher, config.teacher)
    recorded = read_data(Path(config.teacher), "teacher")
    settings = of_old(inherit_data(config.data, recorded))
    data = load(settings, config.split)
    pixels_only(data, "calibrate")
    if not data.labelled:
        raise InputError(
            f"calibrate: split {config.split!r} of {settings.root} has no labels to score by"
        )
    check_classes(teacher.classes, data.classes, f"teacher: {config.teacher}", data.name)
    data = some(data, config.images)
    machine = runtime(config.device, config.precision)
    machine.place(teacher.net).eval()
    measure = partial(counted, machine, teacher, settings, data, config.seed)
    counts = measure(None)
    clean, constant = scores_of(counts), scores_of(one_answer(counts))
    trials: list[Attempt] = []
    for _ in range(len(candidates) + config.refine):
        if candidates:  # first all of them
            candidate = candidates.pop(0)
        elif parameters := between(trials, shift.distortion):
            candidate = replace(shift, parameters=parameters)
        else:
            break
        found = scores_of(measure(candidate))
        miou, accuracy, loss = found.miou, found.class_accuracy, distortion(clean, found)
        trials.append(Attempt(candidate.parameters, miou, accuracy, loss))
        given = ", ".join(f"{k}={v}" for k, v in candidate.parameters.items())
        say(f"distortion {loss:5.1f} %  mIoU {miou:5.1f}  class accuracy {accuracy:5.1f}  {given}")
    chosen = nearest(trials, shift.distortion)
    ceiling = distortion(clean, constant)
    say(
        f"{shift.name}: wanted {shift.distortion:.1f} %, nearest {chosen.distortion:.1f} % with "
        f"{chosen.parameters}; tried {min(t.distortion for t in trials):.1f} to "
        f"{max(t.distortion for t in trials):.1f} %, a constant answer loses {ceiling:.1f} %"
    )
    path = Path(config.out or f"{shift.name}.json")
    made = {
        "filter": shift.name,
        "wanted": shift.distortion,
        "parameters": chosen.parameters,
        "distortion": chosen.distortion,
        "constant": ceiling,
        "teacher": teacher.digest,
        "images": len(data.samples),
        "split": config.split,
        "clean": {"miou": clean.miou, "class_accuracy": clean.class_accuracy},
        "trials": [asdict(t) for t in trials],
    }
    write_json(path, made)
    return path


def counted(
    machine: Runtime,
    teacher: Model,
    settings: DataConfig,
    data: DataSet,
    seed: int,
    shift: ShiftConfig | None,
) -> np.ndarray:
    """Counts (3, C) of the teacher on filtered images, as `tally` gives them; the filter acts at
    the images' own size."""
    decode = Decoder(data, settings, ["x1", "y1"])
    total = np.zeros((3, len(data.classes)), np.int64)
    what = " ".join(f"{k}={v}" for k, v in shift.parameters.items()) if shift else "clean"
    for sample in progress(data.samples, what=what):
        native = decode.native(sample)
        if shift is not None:
            own = image_seed(seed, sample.name)
            native["x1"] = shifted(native["x1"], sample.x1, shift, own)
        arrays = decode.fitted(native)
        size = (arrays["y"].shape[0], arrays["y"].shape[1])
        images = tensor(resize({"x1": arrays["x1"]}, settings.resize)["x1"])[None]
        found = predict(machine, teacher.net, teacher.network, images, size)[0]
        total += tally(arrays["y"], found, len(teacher.classes))
    return total


def one_answer(counts: np.ndarray) -> np.ndarray:
    """The counts (3, C) of always answering the most frequent class."""
    true, constant = counts[1], np.zeros_like(counts)
    constant[1] = true
    constant[::2, true.argmax()] = true.max(), true.sum()
    return constant
