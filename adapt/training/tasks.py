"""Trainings of several tasks: their data sets, their weights, and the parameters of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from torch import nn

from adapt.data import DataSet, load
from adapt.data.samples import column
from adapt.errors import InputError, unknown
from adapt.networks.saved import Tasks, check_classes
from adapt.networks.taps import is_logits, tap_of
from adapt.objective.terms import Objective
from adapt.settings.groups import DataConfig
from adapt.settings.training import TrainConfig
from adapt.training.freezing import with_gradient

Sets = Sequence[tuple[DataSet, DataConfig]]
ALONE = ("kd", "pseudo", "stitch")
"""Terms of one head."""


def sets_of(config: TrainConfig, data: DataSet) -> Sets:
    """The data sets that a training learns from, with their settings: `data`, and the second one,
    if there is any, both with their label maps by task.

    Raises:
        InputError: a teacher or several new domains beside a second one, or a task that has other
            classes in it.
    """
    if not config.also.name:
        return [(data, config.data)]
    if data.targets:
        raise InputError(f"also is {config.also.name}; data.targets goes with one data set")
    if config.teacher:
        raise InputError(f"also is {config.also.name}; a training with a teacher has one data set")
    first, second = data.with_tasks(), load(config.also, "train").with_tasks()
    for task in first.tasks.keys() & second.tasks.keys():
        one, other = first.tasks[task].classes, second.tasks[task].classes
        check_classes(one, other, f"data, task {task},", "also")
    return [(first, config.data), (second, config.also)]


def tasks_in(sets: Sets) -> Tasks:
    """The classes of each task of data sets; {} where there is one label map without a name."""
    return {task: own.classes for data, _ in sets for task, own in data.tasks.items()}


def shares_of(sets: Sets, tasks: Iterable[str]) -> dict[str, float]:
    """The share of the samples of all data sets that have a task's label map."""
    every = [data.samples for data, _ in sets]
    total = sum(map(len, every))
    there = {task: chain.from_iterable(column(s, f"y1_{task}") for s in every) for task in tasks}
    return {task: sum(map(bool, texts)) / total for task, texts in there.items()}


def with_weights(config: TrainConfig, tasks: Tasks) -> TrainConfig:
    """The configuration whose supervised term has a weight for each task.

    Raises:
        InputError: a weight of no task, or a term beside it that knows one head only.
    """
    term = config.objective.supervised
    if strange := term.tasks.keys() - tasks.keys():
        raise unknown("objective.supervised.tasks", min(strange), tasks or ["none, in this data"])
    if tasks and (alone := [t for t in ALONE if getattr(config.objective, t).weight]):
        raise InputError(f"objective.{alone[0]} is for one head; the data has {', '.join(tasks)}")
    if tasks and (flat := [*filter(is_logits, config.objective.regression.taps)]):
        raise InputError(
            f"taps: {flat[0]}: logits are regressed of networks with one head; the data has "
            f"{', '.join(tasks)}: name layers before the heads, or taps=auto"
        )
    weighted = replace(term, tasks={task: term.tasks.get(task, 1.0) for task in tasks})
    return replace(config, objective=replace(config.objective, supervised=weighted))


def owners(
    net: nn.Module, objective: Objective, tasks: Iterable[str], size: tuple[int, int]
) -> Mapping[str, str]:
    """Parameter -> the task whose head alone it is in: no other part of the objective gets to it.
    Those of the backbone are left out."""
    found: dict[str, str] = {}
    for tap, task in {tap_of(task): task for task in tasks}.items():
        if tap in objective.student:
            others = with_gradient(net, objective.student - {tap}, size)
            own = with_gradient(net, {tap}, size) - others
            found |= dict.fromkeys(own, task)
    return found
