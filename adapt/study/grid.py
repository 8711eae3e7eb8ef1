"""A study: every training and evaluation of a grid as a list of cells, each done once."""

from collections.abc import Iterator
from pathlib import Path

import torch

from adapt.data import layout_of
from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.networks import build_network
from adapt.networks.batchnorm import batch_norms
from adapt.settings.choices import B2, RESTYLES
from adapt.settings.commands import (
    PAIRS,
    AnalyseConfig,
    CalibrateConfig,
    EvaluateConfig,
    FisherConfig,
)
from adapt.settings.groups import DataConfig
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.study import cells
from adapt.study.cells import Cell
from adapt.study.trainings import Runs
from transforms import SOURCES

MOVED = "_moved"
"""What the twin is called whose labels follow the content."""


class Study(Runs):
    """The configurations of a study's commands; `cells` lists them in the order of doing."""

    def __init__(self, config: StudyConfig) -> None:
        if not config.shifts or not (config.objectives or config.baselines):
            raise InputError(
                "a study needs shifts and objectives, or penalties; give experiment=NAME"
            )
        super().__init__(config)
        self.baselines = list(config.baselines)
        with torch.device("meta"):
            classes = layout_of(config.data).classes or tuple(config.data.classes)
            normed = batch_norms(build_network(config.network, max(1, len(classes))))
        if "adabn" in self.baselines and not normed:
            say(f"AdaBN left out: {config.network.name} has no batch norm, so it would equal B0")
            self.baselines.remove("adabn")

    def cells(self) -> Iterator[Cell]:
        """The teacher; the twins with the baselines that nobody trains; the first objective and B2;
        the other objectives; what else B2 is asked for; and B1, the longest."""
        config = self.config
        for seed in config.seeds:
            teacher = self.teacher(seed)
            yield cells.training(self.root, self.teaching(seed))
            yield self.scoring(teacher, seed, config.data, "d1")
            for shift in config.shifts:
                yield from self.twins(seed, shift)
                for free in [b for b in ("b0", "adabn", *RESTYLES) if b in self.baselines]:
                    for data in self.scored(shift)[: None if free == "b0" else 1]:
                        yield self.scoring(teacher, seed, data, "d2", free)
            yield from self.informing(seed)
            first, *others = config.objectives or [""]
            yield from self.adaptations(seed, [first] if first else [])
            yield from self.supervised(seed, "b2", [self.tuning(seed, s) for s in config.shifts])
            yield from self.adaptations(seed, others)
            yield from self.supervised(seed, "b2", self.tunings(seed))
            yield from self.supervised(seed, "b1", [self.scratch(seed, s) for s in config.shifts])

    def adaptations(self, seed: int, objectives: list[str]) -> Iterator[Cell]:
        for name in objectives:
            for variant in self.variants(name):
                for shift in self.config.shifts:
                    made = self.adapting(seed, shift, name, variant)
                    yield cells.training(self.root, made)
                    yield from self.scorings(made, seed, shift)

    def supervised(self, seed: int, wanted: str, runs: list[TrainConfig]) -> Iterator[Cell]:
        for made in runs if wanted in self.baselines else ():
            yield cells.training(self.root, made)
            for data in self.scored(Path(made.data.target).name):
                yield self.scoring(Path(made.run), seed, data, "d2")
            if self.config.rates.get(B2) and wanted == "b2":
                yield self.selecting(made, seed)

    def scored(self, shift: str) -> list[DataConfig]:
        """The twins of a shift: with the labels as given, and moved with the content if wanted."""
        moved = self.config.moved and self.config.shifts[shift].name in SOURCES
        return [self.paired(shift), *([self.paired(shift + MOVED)] if moved else [])]

    def scorings(self, made: TrainConfig, seed: int, shift: str) -> Iterator[Cell]:
        """Of an adapted student: on the new domain; where variants are compared also on what
        choices are made on and on the old domain; and its maps beside the teacher's."""
        config, run = self.config, Path(made.run)
        for data in self.scored(shift):
            yield self.scoring(run, seed, data, "d2")
        if config.penalties or config.freezes:
            yield self.scoring(run, seed, config.data, "d1")
        if config.selection and len(self.variants(made.objective.name)) > 1:
            yield self.selecting(made, seed)
        compared = config.features_of or list(config.objectives)[:1]
        if config.features and made.objective.name in compared:
            if run.name == compared[0]:
                before = self.run(seed, shift, "features")
                yield self.comparing(self.teacher(seed), seed, shift, before)
            yield self.comparing(run, seed, shift, run / "features")

    def selecting(self, made: TrainConfig, seed: int) -> Cell:
        return self.scoring(Path(made.run), seed, made.data, "d2", split=self.config.selection)

    def informing(self, seed: int) -> Iterator[Cell]:
        """Fisher information of the teacher, where a penalty needs it and names no file."""
        if any(
            self.informed(v.penalty) for name in self.config.objectives for v in self.variants(name)
        ):
            made = FisherConfig(
                run=str(self.teacher(seed)),
                images=self.config.fisher_images,
                out=str(self.fisher(seed)),
                device=self.config.device,
            )
            yield cells.informing(made, f"seed{seed}")

    def twins(self, seed: int, shift: str) -> Iterator[Cell]:
        """The shift's images, once, with parameters that give a wanted distortion to the first
        seed's teacher, measured on `selection` where there is one."""
        config, wanted, out = self.config, self.config.shifts[shift], self.twin(shift)
        if seed != config.seeds[0]:
            return
        found = out.with_name(f"{shift}.json") if wanted.distortion else None
        if found:
            yield cells.calibrating(
                CalibrateConfig(
                    teacher=str(self.teacher(seed)),
                    data=config.data,
                    shift=wanted,
                    split=config.selection or config.split,
                    out=str(found),
                    **self.machine,
                )
            )
        for data, labels in zip(self.scored(shift), ("given", "moved"), strict=False):
            out = Path(data.target)
            yield cells.distorting(config.data, wanted, out, labels, config.workers, found)

    def comparing(self, run: Path, seed: int, shift: str, out: Path) -> Cell:
        made = AnalyseConfig(
            run=str(run),
            teacher=str(self.teacher(seed)),
            data=self.paired(shift),
            analyses=["activations"],
            domain=PAIRS,
            split=self.config.split,
            layers=list(self.config.features),
            out=str(out),
            batch=self.config.batch,
            **self.machine,
        )
        return cells.comparing(self.root, made)

    def scoring(
        self,
        run: Path,
        seed: int,
        data: DataConfig,
        domain: str,
        baseline: str = "b0",
        split: str = "",
    ) -> Cell:
        """Scores of `run` on a domain, with its label-free agreement with the seed's teacher;
        treated as a baseline without training where one is named."""
        made = EvaluateConfig(
            run=str(run),
            teacher=str(self.teacher(seed)),
            data=data,
            domain=domain,
            split=split or self.config.split,
            adabn=baseline == "adabn",
            restyle=baseline if baseline in RESTYLES else "",
            batch=self.config.batch,
            **self.machine,
        )
        return cells.scoring(self.root, made)
