"""A study: every training and evaluation of a grid as a list of cells, each done once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from adapt.batchnorm import batch_norms
from adapt.calibrate import CalibrateConfig, calibrate
from adapt.commands import DistortConfig, EvaluateConfig, Machine, TrainConfig
from adapt.config import DataConfig, PenaltyConfig
from adapt.data import layout_of
from adapt.distort import MANIFEST, make_distorted
from adapt.errors import InputError
from adapt.evaluate import evaluate, metrics_path
from adapt.files import read_json
from adapt.fisher_command import FisherConfig, fisher
from adapt.networks import build_network
from adapt.objective_config import ObjectiveConfig, SupervisedConfig
from adapt.penalties import PENALTIES
from adapt.restyle import RESTYLES
from adapt.results import B1, B2
from adapt.runs import SUMMARY
from adapt.runtime import say
from adapt.study_config import Stage, StudyConfig
from adapt.train import train

SUPERVISED = ObjectiveConfig("supervised", supervised=SupervisedConfig(weight=1.0))


@dataclass(frozen=True)
class Cell:
    """One command of a study. It is finished as soon as the file `result` exists."""

    name: str
    result: Path
    perform: Callable[[], Any]


@dataclass(frozen=True)
class Variant:
    """One way of adapting: its name in run folders, the penalty, and how much is frozen."""

    name: str
    penalty: PenaltyConfig
    freeze: str = "0"


def budget(stage: Stage) -> dict[str, Any]:
    """What teacher and B1, and the method and B2, have in common."""
    common = ("steps", "eval_every", "checkpoint_every", "schedule")
    return {name: getattr(stage, name) for name in common}


class Study:
    """The configurations of a study's commands; `cells` lists them in the order of doing.

    Teacher and B1 have the supervised stage's budget. The method and B2 have the adaptation
    stage's, so that they differ in what they learn from and in nothing else.
    """

    def __init__(self, config: StudyConfig) -> None:
        if not config.shifts or not config.objectives:
            raise InputError(
                "a study needs shifts and objectives, or penalties; give experiment=NAME"
            )
        self.config = config
        self.root = Path(config.runs or f"runs/{config.name}")
        self.machine: dict[str, Any] = {f.name: getattr(config, f.name) for f in fields(Machine)}
        self.baselines = list(config.baselines)
        with torch.device("meta"):
            classes = layout_of(config.data).classes or tuple(config.data.classes)
            normed = batch_norms(build_network(config.network, max(1, len(classes))))
        if "adabn" in self.baselines and not normed:
            say(f"AdaBN left out: {config.network.name} has no batch norm, so it would equal B0")
            self.baselines.remove("adabn")

    def run(self, seed: int, *names: str) -> Path:
        return self.root.joinpath(f"seed{seed}", *names)

    def teacher(self, seed: int) -> Path:
        return self.run(seed, "teacher")

    def paired(self, shift: str) -> DataConfig:
        """The study's data with the shift's twin as the new domain."""
        return replace(self.config.data, target=str(self.root / "shifts" / shift))

    def cells(self) -> Iterator[Cell]:
        """The teacher; the twins with the baselines that nobody trains; the objectives; B2; and B1,
        the longest."""
        config = self.config
        for seed in config.seeds:
            teacher = self.teacher(seed)
            yield self.training(self.teaching(seed))
            yield self.scoring(teacher, teacher, config.data, "d1")
            for shift in config.shifts:
                yield from self.calibrating(seed, shift)
                if seed == config.seeds[0]:
                    yield self.distorting(shift)
                for free in [b for b in ("b0", "adabn", *RESTYLES) if b in self.baselines]:
                    yield self.scoring(teacher, teacher, self.paired(shift), "d2", free)
            yield from self.informing(seed)
            for variant in self.variants():
                for name in config.objectives:
                    for shift in config.shifts:
                        made = self.adapting(seed, shift, name, variant)
                        yield self.training(made)
                        yield from self.scorings(made, teacher)
            for wanted, method in (("b2", self.tuning), ("b1", self.scratch)):
                for shift in config.shifts if wanted in self.baselines else ():
                    made = method(seed, shift)
                    yield self.training(made)
                    yield self.scoring(Path(made.run), teacher, made.data, "d2")

    def variants(self) -> list[Variant]:
        """How each objective is adapted: under each penalty, and with each number of frozen layers
        under the adaptation's own."""
        config = self.config
        own = config.adaptation.penalty
        chosen = [Variant(name, penalty) for name, penalty in config.penalties.items()]
        frozen = [Variant(f"freeze_{k}", own, k) for k in config.freezes]
        return [*chosen, *frozen] or [Variant("", own)]

    def scorings(self, made: TrainConfig, teacher: Path) -> Iterator[Cell]:
        """Of an adapted student: on the new domain, and where variants are compared also on what
        choices are made on and on the old domain."""
        run = Path(made.run)
        yield self.scoring(run, teacher, made.data, "d2")
        if self.config.penalties or self.config.freezes:
            yield self.scoring(run, teacher, self.config.data, "d1")
            if self.config.selection:
                yield self.scoring(run, teacher, made.data, "d2", split=self.config.selection)

    def fisher(self, seed: int) -> Path:
        return self.run(seed, "fisher.safetensors")

    def informing(self, seed: int) -> Iterator[Cell]:
        """Fisher information of the teacher, where a penalty needs it and names no file."""
        if any(self.informed(variant.penalty) for variant in self.variants()):
            made = FisherConfig(
                run=str(self.teacher(seed)),
                images=self.config.fisher_images,
                out=str(self.fisher(seed)),
                device=self.config.device,
            )
            yield Cell(f"fisher seed{seed}", self.fisher(seed), lambda: fisher(made))

    @staticmethod
    def informed(penalty: PenaltyConfig) -> bool:
        form = PENALTIES.get(penalty.name)
        return form is not None and form.fisher and not penalty.fisher

    def teaching(self, seed: int) -> TrainConfig:
        """The supervised budget from scratch on D1."""
        config, stage = self.config, self.config.supervised
        return TrainConfig(
            run=str(self.teacher(seed)),
            start=stage.start,
            data=config.data,
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
        stage = self.config.adaptation
        return replace(
            self.scratch(seed, shift),
            run=str(self.run(seed, shift, B2)),
            start=str(self.teacher(seed)),
            bn=self.config.bn,
            **budget(stage),
        )

    def adapting(self, seed: int, shift: str, name: str, variant: Variant) -> TrainConfig:
        """The method with one of the study's objectives, in one of its variants."""
        penalty = variant.penalty
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
        )

    def training(self, made: TrainConfig) -> Cell:
        run = Path(made.run)
        return Cell(f"train {run.relative_to(self.root)}", run / SUMMARY, lambda: train(made))

    def calibrating(self, seed: int, shift: str) -> Iterator[Cell]:
        """Where a distortion is wanted: parameters that give it to the first seed's teacher."""
        wanted, out = self.config.shifts[shift], self.root / "shifts" / f"{shift}.json"
        if wanted.distortion and seed == self.config.seeds[0]:
            made = CalibrateConfig(
                teacher=str(self.teacher(seed)), shift=wanted, out=str(out), **self.machine
            )
            yield Cell(f"calibrate {shift}", out, lambda: calibrate(made))

    def distorting(self, shift: str) -> Cell:
        config, out = self.config, self.root / "shifts" / shift

        def perform() -> None:
            chosen = config.shifts[shift]
            if chosen.distortion:
                found = read_json(out.with_name(f"{shift}.json"))["parameters"]
                chosen = replace(chosen, parameters=found)
            workers = config.workers or 1
            made = DistortConfig(data=config.data, shift=chosen, out=str(out), workers=workers)
            make_distorted(made)

        return Cell(f"distort {shift}", out / MANIFEST, perform)

    def scoring(
        self,
        run: Path,
        teacher: Path,
        data: DataConfig,
        domain: str,
        baseline: str = "b0",
        split: str = "",
    ) -> Cell:
        """Scores of `run` on a domain, with its label-free agreement with `teacher`; treated as a
        baseline without training where one is named."""
        config, split = self.config, split or self.config.split
        adabn, restyle = baseline == "adabn", baseline if baseline in RESTYLES else ""
        made = EvaluateConfig(
            run=str(run),
            teacher=str(teacher),
            data=data,
            domain=domain,
            split=split,
            adabn=adabn,
            restyle=restyle,
            batch=config.batch,
            **self.machine,
        )
        result = metrics_path(run, data, domain, split, made.variant)
        where = f"{run.relative_to(self.root)} on {result.stem.removeprefix('metrics_')}"
        return Cell(f"evaluate {where}", result, lambda: evaluate(made))
