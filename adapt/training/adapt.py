"""The adapt command's work: the training, then the verdict on what it brought."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from adapt.data import HELD_OUT, layout_of, load, splits_of
from adapt.data.objects import OBJECTS
from adapt.data.parts import NoSamples
from adapt.disk.runs import read_config, read_data
from adapt.evaluation.inference import Reading
from adapt.evaluation.rows import read_evaluation, rows_of
from adapt.machine.runtime import runtime, say
from adapt.networks.saved import Model, is_file, is_run, load_model, load_teacher
from adapt.settings.choices import TEACHER
from adapt.settings.mapping import build
from adapt.settings.training import TrainConfig
from adapt.training.pairs import say_pairs
from adapt.training.setup import begun
from adapt.training.train import OnStep, train
from adapt.training.verdict import STARTED, UNTRAINED, judge, read_verdict


def adapt(config: TrainConfig, on_step: OnStep | None = None) -> Path:
    """Say what a sample of the pairs tells, train as configured, then judge; returns the run's
    folder, with verdict.json. Without a teacher or without held-out pairs there is nothing to judge
    by, and it says so."""
    folder = train(config, on_step, say_pairs)
    data, recorded = read_data(folder), read_config(folder)
    if found := read_verdict(folder):
        say(f"{folder}: {found}")
    elif not recorded["teacher"]:
        say(f"{folder}: no teacher, so no verdict without labels; see fra evaluate")
    elif (student := load_model(folder)).tasks:
        say(f"{folder}: several heads, so no verdict; fra evaluate run={folder} scores each")
    elif layout_of(data).classification:
        command = f"fra evaluate run={folder} split={layout_of(data).val_split}"
        say(f"{folder}: one label an image, so no verdict: {command} gives the agreement")
    elif HELD_OUT not in splits_of(data):
        hint = "held_out= gives some" if data.pairs == OBJECTS else f"named {HELD_OUT}"
        say(f"{folder}: no verdict: the data has no split or part of held-out pairs ({hint})")
    else:
        try:
            held_out = replace(load(data, HELD_OUT), classes=student.classes)
        except NoSamples as error:
            say(f"{folder}: no verdict: {error}")
            return folder
        teacher = load_teacher(recorded["teacher"], recorded, student)
        how = (data, student.network, config.batch, config.workers)
        reading = Reading(*how, teacher=teacher.network)
        machine, training = runtime(config.device, config.precision), load(data, "train")
        seen = training if training.samples else None  # of a DataLoader without a map-style set
        of = (machine, teacher.net, student.net, reading, held_out, seen, folder)
        start = start_of(build(TrainConfig, recorded), student)
        say(f"{folder}: {judge(*of, *start, clean_score(recorded['teacher'], teacher.digest))}")
    return folder


def start_of(config: TrainConfig, student: Model) -> tuple[nn.Module | None, str]:
    """What a run's student started from, and which kind of start that is; None and `` where it is
    the teacher's network, which the verdict takes then."""
    if not config.teacher_network.name:
        return None, ""
    if is_run(config.start) or is_file(config.start):
        return load_model(Path(config.start), "start", like=student).net, STARTED
    net, start_point, _ = begun(config, None, len(student.classes))
    new = {name for name, _ in net.named_parameters()} - (start_point or {}).keys()
    return net, UNTRAINED if new else STARTED


def clean_score(teacher: str, digest: str) -> float | None:
    """The mIoU by labels of a teacher, whose weights have this SHA-256, on the val split of its own
    data, where it is a run that was evaluated there."""
    if not is_run(teacher):
        return None
    data = read_data(Path(teacher))
    own = {"data": data.name, "root": data.root, "pairs": data.pairs or data.shards}
    own |= {"split": layout_of(data).val_split, "model": digest}
    for row in rows_of(Path(teacher)):
        about = read_evaluation(Path(row.metrics))
        if row.method == TEACHER and row.miou is not None and own.items() <= (own | about).items():
            return row.miou
    return None
