"""Studies of fine-tuning: penalties, shares of the labels and frozen layers against each other."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapt.analysis.analyse import analyse
from adapt.disk.runs import WEIGHTS
from adapt.errors import InputError
from adapt.networks.saved import started_from
from adapt.settings.choices import BACKBONE
from adapt.settings.commands import AnalyseConfig
from adapt.settings.groups import AlsoConfig
from adapt.settings.protocol import ProtocolConfig
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.study.cells import Cell, Plan, budget, needs_fisher


class FineTuning(Plan):
    """A study of fine-tuning: one training under each penalty and seed, evaluated by each protocol;
    under each penalty also with shares of the labels, and with frozen layers. Its trainings differ
    in these and in nothing else."""

    def __init__(self, config: StudyConfig) -> None:
        super().__init__(config)
        self.pretrained = self.root / "pretraining" if config.pretraining.data.name else None
        self.origin = str(self.pretrained or started_from(config.supervised.start))
        """Run of the network that all come from; empty = weights that no run here made."""
        for name, penalty in config.penalties.items():
            if needs_fisher(penalty) and not self.origin:
                raise InputError(
                    f"penalties.{name} needs Fisher information of what the start was trained for: "
                    f"give pretraining.data, a run as supervised.start, or penalties.{name}.fisher"
                )
        if config.analyses and not self.origin:
            raise InputError("analyses needs pretraining.data, or a run as supervised.start")

    def cells(self) -> Iterator[Cell]:
        """What all come from; then all penalties of a seed before the next seed, so that a study
        cut short compares."""
        config = self.config
        scored = [(config.split, protocol) for protocol in self.protocols]
        scored += [(config.selection, ProtocolConfig())] if config.selection else []
        if self.pretrained:
            yield self.training(self.pretraining(self.pretrained))
        if any(map(needs_fisher, config.penalties.values())):
            yield self.informing(self.origin, self.fisher)
        for seed in config.seeds:
            for made in self.tunings(seed):
                yield self.training(made)
                for split, protocol in scored:
                    yield self.scoring(Path(made.run), split, protocol)
                if config.analyses:
                    yield self.analysis(made)

    @property
    def protocols(self) -> list[ProtocolConfig]:
        return list(self.config.protocols.values()) or [ProtocolConfig()]

    def scoring(self, run: Path, split: str, protocol: ProtocolConfig) -> Cell:
        config = self.config
        return self.evaluation(
            run, data=config.data, domain="d1", split=split, protocol=protocol, loss=config.loss
        )

    def compared(self) -> dict[str, Path]:
        """The records of the first seed's trainings with all labels under each penalty, by the
        first protocol."""
        config, (protocol, *_) = self.config, self.protocols
        first = [self.tuning(config.seeds[0], name) for name in config.penalties]
        records = [self.scoring(Path(made.run), config.split, protocol).result for made in first]
        return dict(zip(config.penalties, records, strict=True))

    @property
    def fisher(self) -> Path:
        return self.root / "fisher.safetensors"

    def pretraining(self, run: Path) -> TrainConfig:
        """The network that all fine-tunings come from, with settings of its own."""
        stage = self.config.pretraining
        settings = {"start": stage.start, "data": stage.data, "penalty": stage.penalty}
        settings |= {"also": AlsoConfig(), **budget(stage)}
        return self.supervised_stage(run, self.config.seeds[0], **settings)

    def tunings(self, seed: int) -> Iterator[TrainConfig]:
        """All trainings of a seed: those of all penalties before the first variant."""
        data = self.config.data
        variants: dict[str, dict[str, Any]] = {"": {}}
        variants |= {f"_share_{s:g}": {"data": replace(data, share=s)} for s in self.config.shares}
        variants |= {f"_freeze_{k}": {"freeze": k} for k in self.config.freezes}
        for variant, settings in variants.items():
            chosen = self.config.freezes_of if "freeze" in settings else []
            for name in chosen or self.config.penalties:
                yield self.tuning(seed, name, variant, **settings)

    def tuning(self, seed: int, name: str, variant: str = "", **settings: Any) -> TrainConfig:
        run, penalty = self.root / f"seed{seed}" / f"{name}{variant}", self.config.penalties[name]
        if needs_fisher(penalty):
            penalty = replace(penalty, fisher=str(self.fisher))
        if self.pretrained:
            settings["start"] = f"{BACKBONE}{self.pretrained / WEIGHTS}"
        settings |= {"penalty": penalty, "bn": self.config.bn}
        return self.own(name, self.supervised_stage(run, seed, **settings))

    def analysis(self, tuned: TrainConfig) -> Cell:
        """What a fine-tuning did to the network that it came from, on the split of the scores."""
        config, out = self.config, Path(tuned.run) / "analysis"
        file = str(self.fisher) if "fisher" in config.analyses else ""
        made = AnalyseConfig(
            run=tuned.run, teacher=self.origin, analyses=config.analyses, fisher=file,
            split=config.split, batch=config.batch, **self.machine,
        )  # fmt: skip
        last = out / f"{made.wanted[-1]}.json"
        return Cell(f"analyse {self.name(Path(tuned.run))}", last, lambda: analyse(made), made)
