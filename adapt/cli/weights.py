"""Commands on a file of weights: it is made a run first, without a step of training."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from adapt.disk.files import sha256, text_digest
from adapt.evaluation import evaluate as scoring
from adapt.evaluation import predict as predicting
from adapt.machine.runtime import say
from adapt.networks.names import place_of
from adapt.networks.saved import is_file, load_run
from adapt.settings.commands import EvaluateConfig, PredictConfig
from adapt.settings.groups import NetworkConfig
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.train import train

Config = TypeVar("Config", EvaluateConfig, PredictConfig)


def evaluate(config: EvaluateConfig) -> Path:
    """As adapt.evaluation.evaluate, also of weights files."""
    return scoring.evaluate(with_runs(config))


def predict(config: PredictConfig) -> Path:
    """As adapt.evaluation.predict, also of a weights file; images alone need no run of it."""
    return predicting.predictions(config if config.images else with_runs(config))


def with_runs(config: Config) -> Config:
    """The configuration with runs in the place of weights files.

    Raises:
        InputError: weights that do not fit, or network settings that are not a run's.
    """
    found = config
    for what in ("run", "teacher"):
        source = getattr(config, what, "")
        if is_file(source):
            found = replace(found, **{what: run_of(source, config)})  # type: ignore[arg-type]
    if found is config and config.network != NetworkConfig():  # runs know their own
        for source in filter(None, (config.run, getattr(config, "teacher", ""))):
            load_run(source, config.network)
    return found


def run_of(source: str, config: EvaluateConfig | PredictConfig) -> str:
    """The run of a weights file, made where it is not there yet: its name tells what it is of."""
    made = TrainConfig(
        start=source, network=config.network, data=config.data, steps=0, device=config.device,
        precision=config.precision, objective=ObjectiveConfig(supervised=SupervisedConfig(1.0)),
    )  # fmt: skip
    file, key = place_of(source)
    told = f"{sha256(file)} {key} {config.network} {config.data}"
    folder = Path("runs") / f"{file.stem}-{text_digest(told)[:8]}"
    if not folder.is_dir():
        say(f"{source}: its run is {folder}")
    return str(train(replace(made, run=str(folder))))
