"""The trainings of a study: who gets which budget, start, data and variant."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from adapt.penalties import PENALTIES
from adapt.settings.choices import B1, B2
from adapt.settings.groups import DataConfig, PenaltyConfig
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.settings.study import Stage, StudyConfig
from adapt.settings.training import Machine, TrainConfig

SUPERVISED = ObjectiveConfig("supervised", supervised=SupervisedConfig(weight=1.0))


@dataclass(frozen=True)
class Variant:
    """One way of adapting: its name in run folders, the penalty, how much is frozen, and the
    learning rate where it is not the stage's."""

    name: str
    penalty: PenaltyConfig
    freeze: str = "0"
    lr: float = 0.0


def budget(stage: Stage) -> dict[str, Any]:
    """What teacher and B1, and the method and B2, have in common."""
    common = ("steps", "eval_every", "checkpoint_every", "schedule", "ema")
    return {name: getattr(stage, name) for name in common}


class Runs:
    """The configurations of a study's trainings.

    Teacher and B1 have the supervised stage's budget. The method and B2 have the adaptation
    stage's, so that they differ in what they learn from and in nothing else.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.root = Path(config.runs or f"runs/{config.name}")
        self.source = Path(config.source) if config.source else self.root
        self.machine: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(Machine)}

    def run(self, seed: int, *names: str) -> Path:
        return self.root.joinpath(f"seed{seed}", *names)

    def teacher(self, seed: int) -> Path:
        return self.source / f"seed{seed}" / "teacher"

    def twin(self, shift: str) -> Path:
        return self.source / "shifts" / shift

    def paired(self, shift: str) -> DataConfig:
        """The study's data with the shift's twin as the new domain."""
        return replace(self.config.data, target=str(self.twin(shift)))

    def fisher(self, seed: int) -> Path:
        return self.run(seed, "fisher.safetensors")

    @staticmethod
    def informed(penalty: PenaltyConfig) -> bool:
        form = PENALTIES.get(penalty.name)
        return form is not None and form.fisher and not penalty.fisher

    def variants(self, objective: str) -> list[Variant]:
        """How an objective is adapted: under each penalty, with each number of frozen layers under
        the adaptation's own, and at each of its learning rates."""
        config = self.config
        own = config.adaptation.penalty
        chosen = [Variant(name, penalty) for name, penalty in config.penalties.items()]
        chosen += [Variant(f"freeze_{k}", own, k) for k in config.freezes]
        usual = config.adaptation.schedule.lr
        chosen += [
            Variant(f"lr_{rate:g}" if rate != usual else "", own, lr=rate)
            for rate in config.rates.get(objective, [])
        ]
        return chosen or [Variant("", own)]

    def teaching(self, seed: int) -> TrainConfig:
        """The supervised budget from scratch on D1."""
        config, stage = self.config, self.config.supervised
        return TrainConfig(
            run=str(self.teacher(seed)),
            start=stage.start,
            data=replace(config.data, part=config.teacher_part or config.data.part),
            network=config.network,
            objective=SUPERVISED,
            penalty=stage.penalty,
            batch=config.batch,
            seed=seed,
            **budget(stage),
            **self.machine,
        )

    def scratch(self, seed: int, shift: str) -> TrainConfig:
        """B1: as the teacher, on D2."""
        run = str(self.run(seed, shift, B1))
        return replace(self.teaching(seed), run=run, data=self.paired(shift), domain="d2")

    def tuning(self, seed: int, shift: str) -> TrainConfig:
        """B2: supervised fine-tuning of the teacher on D2, with the adaptation's budget."""
        return replace(
            self.scratch(seed, shift),
            run=str(self.run(seed, shift, B2)),
            start=str(self.teacher(seed)),
            bn=self.config.bn,
            **budget(self.config.adaptation),
        )

    def tunings(self, seed: int) -> list[TrainConfig]:
        """B2 at other learning rates, and with shares of the labels."""
        made = []
        for shift in self.config.shifts:
            b2 = self.tuning(seed, shift)
            rates = [rate for rate in self.config.rates.get(B2, []) if rate != b2.schedule.lr]
            for rate in rates:
                schedule = replace(b2.schedule, lr=rate)
                made.append(replace(b2, run=f"{b2.run}_lr_{rate:g}", schedule=schedule))
            for share in self.config.shares:
                data = replace(b2.data, share=share)
                made.append(replace(b2, run=f"{b2.run}_share_{share:g}", data=data))
        return made

    def adapting(self, seed: int, shift: str, name: str, variant: Variant) -> TrainConfig:
        """The method with one of the study's objectives, in one of its variants."""
        penalty, stage = variant.penalty, self.config.adaptation
        if self.informed(penalty):
            penalty = replace(penalty, fisher=str(self.fisher(seed)))
        folder = "_".join(filter(None, (name, variant.name)))
        return replace(
            self.tuning(seed, shift),
            run=str(self.run(seed, shift, folder)),
            start="",
            teacher=str(self.teacher(seed)),
            objective=replace(self.config.objectives[name], name=name),
            penalty=penalty,
            freeze=variant.freeze,
            schedule=replace(stage.schedule, lr=variant.lr or stage.schedule.lr),
        )
