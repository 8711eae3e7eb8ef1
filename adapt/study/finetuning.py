"""A fine-tuning study: one training under each penalty and seed, evaluated by each protocol."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import PenaltyConfig, ProtocolConfig
from adapt.settings.study import StudyConfig
from adapt.settings.training import Machine, TrainConfig
from adapt.study import cells
from adapt.study.cells import Cell
from adapt.study.grid import Study
from adapt.study.trainings import SUPERVISED, budget


class FineTuning:
    """The configurations of a fine-tuning study's commands; `cells` lists them in the order of
    doing. Its trainings differ in the penalty and the seed, and in nothing else."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.root = Path(config.runs or f"runs/{config.name}")
        self.machine: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(Machine)}
        self.protocols = list(config.protocols.values()) or [ProtocolConfig()]

    def cells(self) -> Iterator[Cell]:
        """All penalties of a seed before the next seed, so that a study cut short compares."""
        for seed in self.config.seeds:
            for name, penalty in self.config.penalties.items():
                made = self.tuning(seed, name, penalty)
                yield cells.training(self.root, made)
                for protocol in self.protocols:
                    yield self.scoring(Path(made.run), protocol, self.config.split)
                if self.config.selection:
                    yield self.scoring(Path(made.run), ProtocolConfig(), self.config.selection)

    def tuning(self, seed: int, name: str, penalty: PenaltyConfig) -> TrainConfig:
        config, stage = self.config, self.config.supervised
        return TrainConfig(
            run=str(self.root / f"seed{seed}" / name),
            start=stage.start,
            data=config.data,
            network=config.network,
            objective=SUPERVISED,
            penalty=penalty,
            bn=config.bn,
            batch=config.batch,
            seed=seed,
            **budget(stage),
            **self.machine,
        )

    def scoring(self, run: Path, protocol: ProtocolConfig, split: str) -> Cell:
        config = self.config
        made = EvaluateConfig(
            run=str(run),
            data=config.data,
            domain="d1",
            split=split,
            protocol=protocol,
            loss=config.loss,
            batch=config.batch,
            **self.machine,
        )
        return cells.scoring(self.root, made)


def study_of(config: StudyConfig) -> Study | FineTuning:
    """What a configuration's study is, by what it lists."""
    return FineTuning(config) if config.penalties and not config.shifts else Study(config)
