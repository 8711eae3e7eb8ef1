"""The cells of a study, one command each, and the checks before the first of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from adapt.analysis.fisher import fisher
from adapt.data import layout_of, load
from adapt.data.copies import MANIFEST
from adapt.data.sampling import size_of
from adapt.disk.runs import SUMMARY, unfinished
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate, metrics_path
from adapt.machine.runtime import runtime
from adapt.networks.layers import check, trace
from adapt.networks.planned import planned
from adapt.networks.saved import started_from
from adapt.objective.terms import Objective
from adapt.penalties import PENALTIES
from adapt.settings.commands import EvaluateConfig, FisherConfig
from adapt.settings.groups import DataConfig, PenaltyConfig
from adapt.settings.mapping import as_dict, build, filled
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.settings.study import Stage, StudyConfig
from adapt.settings.training import Machine, TrainConfig
from adapt.settings.unused import refuse_unused
from adapt.shift.distort import check_shift
from adapt.training.freezing import events_of, frozen_part
from adapt.training.train import train

SUPERVISED = ObjectiveConfig("supervised", supervised=SupervisedConfig(weight=1.0))
NAMED = ("shifts", "objectives", "penalties", "protocols")
"""Settings whose keys become parts of the names of folders and files."""


@dataclass(frozen=True)
class Cell:
    """One command of a study. It is done as soon as the file `result` exists; a training as soon
    as it is finished."""

    name: str
    result: Path
    perform: Callable[[], Any]
    settings: Any
    """The dataclass of its command's settings."""

    @property
    def made(self) -> Path:
        """What there is of it: a training's or a twin's whole folder, or the result."""
        return self.result.parent if self.result.name in (SUMMARY, MANIFEST) else self.result

    @property
    def done(self) -> bool:
        if self.result.name == SUMMARY:
            return not unfinished(self.result.parent)
        return self.result.exists()


class Plan:
    """What all studies have in common: a folder, and cells that train and evaluate."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.root = Path(config.runs or f"runs/{config.name}")
        self.machine: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(Machine)}

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where cells write: the study's own folder first."""
        return (self.root,)

    def name(self, path: Path) -> Path:
        """A path in the names of cells: relative to the study, or as it is in another study."""
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def supervised_stage(self, run: Path, seed: int, **settings: Any) -> TrainConfig:
        """A training with labels on D1: the supervised budget, from the stage's own start."""
        config, stage = self.config, self.config.supervised
        made = TrainConfig(
            run=str(run), start=stage.start, data=config.data, also=config.also,
            network=config.network, objective=SUPERVISED, penalty=stage.penalty,
            batch=config.batch, seed=seed, **budget(stage), **self.machine,
        )  # fmt: skip
        return replace(made, **settings)

    def own(self, name: str, made: TrainConfig) -> TrainConfig:
        """The training with the settings that its objective or penalty has of its own."""
        own = self.config.settings.get(name, {})
        return build(TrainConfig, filled(own, as_dict(made)), f"settings.{name}.")

    def training(self, made: TrainConfig) -> Cell:
        run = Path(made.run)
        return Cell(f"train {self.name(run)}", run / SUMMARY, lambda: train(made), made)

    def informing(self, run: str, out: Path) -> Cell:
        """Fisher information of a run's network."""
        config = self.config
        made = FisherConfig(
            run=run, images=config.fisher_images, out=str(out), device=config.device
        )
        return Cell(f"fisher {self.name(Path(run))}", out, lambda: fisher(made), made)

    def evaluation(self, run: Path, **settings: Any) -> Cell:
        made = EvaluateConfig(run=str(run), batch=self.config.batch, **settings, **self.machine)
        task, data = last_head(made.data, self.config.also)
        variant = "_".join(filter(None, (made.variant, task)))
        result = metrics_path(run, data, made.domain, made.split, variant)
        where = f"{self.name(run)} on {result.stem.removeprefix('metrics_')}"
        return Cell(f"evaluate {where}", result, lambda: evaluate(made), made)


def last_head(*sets: DataConfig) -> tuple[str, DataConfig]:
    """The head that an evaluation comes to last, and the data set that it is scored on; a network
    with one has none (an empty name)."""
    found: dict[str, DataConfig] = {}
    for data in sets:
        if data.name:
            named = data.tasks or layout_of(data).tasks or [data.name]
            found |= {task: data for task in named if task not in found}
    return list(found.items())[-1] if len(found) > 1 else ("", sets[0])


def budget(stage: Stage) -> dict[str, Any]:
    """What teacher and B1, or the method and B2, have in common."""
    common = (
        "steps", "eval_every", "eval_train", "checkpoint_every", "memory_format", "schedule", "ema",
    )  # fmt: skip
    return {name: getattr(stage, name) for name in common}


def check_study(config: StudyConfig) -> None:
    """Check what can be known without training: the device, the source, names, seeds, shifts with
    all their candidates, objectives and splits.

    Raises:
        InputError: for the first that is wrong.
    """
    runtime(config.device, config.precision)
    if config.source and not Path(config.source).is_dir():
        raise InputError(f"source: no such folder: {config.source}; do that study first")
    for group in NAMED:
        for name in getattr(config, group):
            if not name or name.startswith(".") or set(name) & set("/\\"):
                raise InputError(f"{group}: {name!r} cannot be the name of a folder")
    if len(set(config.seeds)) < len(config.seeds):
        raise InputError(f"seeds is {config.seeds}: each may stand there once")
    for name, shift in config.shifts.items():
        for changes in ({}, *shift.candidates):
            try:
                check_shift(replace(shift, parameters=shift.parameters | changes))
            except InputError as error:
                raise InputError(f"shifts.{name}: {error}") from None
    for objective in config.objectives.values():
        Objective(objective)
    for stage in (config.supervised, config.adaptation):
        refuse_unused(stage.schedule)
        refuse_unused(stage.penalty)
    for penalty in config.penalties.values():
        refuse_unused(penalty)
    for split in dict.fromkeys((config.split, config.selection)):
        if split:
            load(config.data, split)


def check_layers(config: StudyConfig, inverted: Iterable[str] = ()) -> None:
    """Check the layers that objectives, features, freezes and inversions name, by a forward pass
    without memory. Of a network that only the start knows they are checked when it is read.

    Raises:
        InputError: for the first that the network does not have, or that cannot be tapped.
    """
    named: dict[str, Iterable[str]] = {"features": config.features, "inversion.taps": inverted}
    for name, objective in config.objectives.items():
        if objective.regression.weight and "taps" not in config.settings.get(name, {}):
            named[f"objectives.{name}.regression.taps"] = objective.regression.taps
    if started_from(config.supervised.start) or not (any(named.values()) or config.freezes):
        return
    data = load(config.data, config.split)
    net, size = planned(config.network, max(1, len(data.classes))), size_of(config.data, data)
    layers = trace(net, size)
    for what, taps in named.items():
        check(layers, taps, what)
    if config.freezes:
        events = events_of(net, size)
        for until in config.freezes:
            frozen_part(events, net, until)


def needs_fisher(penalty: PenaltyConfig) -> bool:
    """Does a penalty need Fisher information and name no file?"""
    form = PENALTIES.get(penalty.name)
    return form is not None and form.fisher and not penalty.fisher
