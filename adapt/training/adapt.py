"""The adapt command's work: the training, then the verdict on what it brought."""

from dataclasses import replace
from pathlib import Path

from adapt.data import HELD_OUT, layout_of, load, splits_of
from adapt.disk.runs import read_config, read_data
from adapt.evaluation.inference import Reading
from adapt.machine.runtime import runtime, say
from adapt.networks.saved import load_model
from adapt.settings.training import TrainConfig
from adapt.training.train import OnStep, train
from adapt.training.verdict import judge, read_verdict


def adapt(config: TrainConfig, on_step: OnStep | None = None) -> Path:
    """Train as configured, then judge; returns the run's folder, with verdict.json. Without a
    teacher or without held-out pairs there is nothing to judge by, and it says so."""
    folder = train(config, on_step)
    data = read_data(folder)
    if found := read_verdict(folder):
        say(f"{folder}: {found}")
    elif not read_config(folder)["teacher"]:
        say(f"{folder}: no teacher, so no verdict without labels; see fra evaluate")
    elif layout_of(data).classification:
        command = f"fra evaluate run={folder} split={layout_of(data).val_split}"
        say(f"{folder}: one label an image, so no verdict: {command} gives the agreement")
    elif HELD_OUT not in splits_of(data):
        say(f"{folder}: no verdict: the data has no split or part named {HELD_OUT}")
    else:
        student = load_model(folder)
        teacher = load_model(Path(read_config(folder)["teacher"]), "teacher", like=student)
        reading = Reading(data, student.network, config.batch, config.workers)
        held_out = replace(load(data, HELD_OUT), classes=student.classes)
        machine, training = runtime(config.device, config.precision), load(data, "train")
        seen = training if training.samples else None  # of a DataLoader without a map-style set
        networks = (teacher.net, student.net)
        say(f"{folder}: {judge(machine, *networks, reading, held_out, seen, folder)}")
    return folder
