"""The adapt command: the training, then what it brought on pairs that it has not seen.

No label is needed: the teacher's prediction on the old image serves as truth for what teacher and
student say of the new one.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from adapt.data import DataSet, layout_of, load, splits_of
from adapt.data.images import IGNORE
from adapt.disk.files import read_mapping, write_json
from adapt.disk.runs import read_config, read_data
from adapt.evaluation.inference import Reading, Whole, groups, stack
from adapt.evaluation.metrics import confusion, scores
from adapt.evaluation.protocol import predict
from adapt.machine.processes import all_gather, rank_zero_only, shared_errors
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks.saved import load_model
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import build
from adapt.settings.training import TrainConfig
from adapt.training.train import OnStep, train

VERDICT = "verdict.json"
HELD_OUT = "val"


@dataclass(frozen=True)
class Verdict:
    """Agreement with teacher(x1) on held-out pairs, in percent, before and after."""

    pairs: int
    before: float
    """mIoU of teacher(x2): what using the old network as it is would give."""
    after: float
    """mIoU of student(x2)."""
    better: int
    """Pairs on which more pixels agree than before."""
    worse: int

    def __str__(self) -> str:
        words = "worth using" if self.after > self.before else "NOT worth using"
        return (
            f"agreement with the teacher on {self.pairs} held-out pairs: {self.before:.1f} before, "
            f"{self.after:.1f} after; better on {self.better}, worse on {self.worse}: {words}"
        )


def adapt(config: TrainConfig, on_step: OnStep | None = None) -> Path:
    """Train as configured, then judge; returns the run's folder, with verdict.json. Without a
    teacher or without held-out pairs there is nothing to judge by, and it says so."""
    folder = train(config, on_step)
    data = read_data(folder)
    if (folder / VERDICT).is_file():
        say(f"{folder}: {build(Verdict, read_mapping(folder / VERDICT), VERDICT)}")
    elif not read_config(folder)["teacher"]:
        say(f"{folder}: no teacher, so no verdict without labels; see scripts/evaluate.py")
    elif layout_of(data).classification:
        command = f"scripts/evaluate.py run={folder} split={layout_of(data).val_split}"
        say(f"{folder}: one label an image, so no verdict: {command} gives the agreement")
    elif HELD_OUT not in splits_of(data):
        say(f"{folder}: no verdict: the data has no split or part named {HELD_OUT}")
    else:
        held_out = load(data, HELD_OUT)
        found = judge(folder, held_out, data, runtime(config.device, config.precision), config)
        rank_zero_only(write_json)(folder / VERDICT, asdict(found))
        say(f"{folder}: {found}")
    return folder


def judge(
    folder: Path, data: DataSet, settings: DataConfig, machine: Runtime, config: TrainConfig
) -> Verdict:
    """Teacher and student of a finished run on pairs that neither was fitted to."""
    student = load_model(folder)
    teacher = load_model(Path(read_config(folder)["teacher"]), "teacher", like=student)
    nets = [machine.place(model.net).eval() for model in (teacher, student)]
    reading = Reading(settings, student.network, config.batch, config.workers)
    data = replace(data, classes=student.classes)
    with shared_errors():
        own = list(compare(machine, nets[0], nets[1], reading, data))
    matrices = [pair for share in all_gather(own) for pair in share]
    before, after = (np.sum([pair[i] for pair in matrices], axis=0) for i in (0, 1))
    agreeing = [(int(np.trace(b)), int(np.trace(a))) for b, a in matrices]
    return Verdict(
        pairs=len(matrices),
        before=scores(before).miou,
        after=scores(after).miou,
        better=sum(a > b for b, a in agreeing),
        worse=sum(a < b for b, a in agreeing),
    )


def compare(
    machine: Runtime, teacher: nn.Module, student: nn.Module, reading: Reading, data: DataSet
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each pair: confusion (C, C) of teacher(x1) with teacher(x2), and with student(x2)."""
    whole, classes = Whole(data, reading.data, ["x1", "x2", "valid"]), len(data.classes)
    for group in groups(whole, reading, "verdict", shared=True):
        size = group[0]["size"]
        old, new = stack(group, "x1"), stack(group, "x2")
        truth, before, after = (
            predict(machine, net, reading.network, images, size)
            for net, images in ((teacher, old), (teacher, new), (student, new))
        )
        for item, wanted, b, a in zip(group, truth, before, after, strict=True):
            if "valid" in item:
                wanted[np.asarray(item["valid"]) == 0] = IGNORE
            yield confusion(wanted, b, classes), confusion(wanted, a, classes)
