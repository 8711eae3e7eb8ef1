"""Studies as grids: every training and evaluation is a cell, in the order of doing."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from adapt.align.command import align
from adapt.analysis.analyse import analyse
from adapt.data import layout_of
from adapt.data.copies import MANIFEST
from adapt.disk.files import read_json
from adapt.disk.runs import SUMMARY
from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.networks.batchnorm import batch_norms
from adapt.networks.planned import planned
from adapt.settings.choices import B1, B2, CHAIN, RESTYLES, RIDGE
from adapt.settings.commands import (
    PAIRS,
    AnalyseConfig,
    CalibrateConfig,
    DistortConfig,
    MergeConfig,
)
from adapt.settings.groups import DataConfig
from adapt.settings.study import StudyConfig
from adapt.settings.training import TrainConfig
from adapt.shift.calibrate import calibrate
from adapt.shift.distort import make_distorted
from adapt.study.cells import Cell, Plan, budget, needs_fisher
from adapt.study.offsets import KINDS, Misaligned
from adapt.training.merge import MERGED, merge
from transforms import SOURCES

TOGETHER = "together"
"""The student of the pairs of all shifts at once."""
MOVED = "_moved"
"""Ends the name of a twin whose labels follow the content."""


class Study(Plan):
    """A study of adaptation. `cells` lists its commands in the order of doing.

    Teacher and B1 have the budget of the supervised stage. The method and B2 have that of the
    adaptation stage, so that they differ in what they learn from and in nothing else.
    """

    def __init__(self, config: StudyConfig) -> None:
        if not config.shifts or not (config.objectives or config.baselines):
            raise InputError(
                "a study needs shifts and objectives, or penalties; give experiment=NAME"
            )
        super().__init__(config)
        self.source = Path(config.source) if config.source else self.root
        self.baselines = list(config.baselines)
        classes = layout_of(config.data).classes or tuple(config.data.classes)
        normed = batch_norms(planned(config.network, max(1, len(classes))))
        if "adabn" in self.baselines and not normed:
            say(f"AdaBN left out: {config.network.name} has no batch norm, so it would equal B0")
            self.baselines.remove("adabn")

    # ---- folders, and the configurations of trainings

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.root, self.source)

    def run(self, seed: int, *names: str) -> Path:
        return self.root.joinpath(f"seed{seed}", *names)

    def teacher(self, seed: int) -> Path:
        return self.source / f"seed{seed}" / "teacher"

    def fisher(self, seed: int) -> Path:
        return self.run(seed, "fisher.safetensors")

    def paired(self, shift: str) -> DataConfig:
        """The study's data with the twin of a shift as the new domain."""
        return replace(self.config.data, target=str(self.source / "shifts" / shift))

    def scored(self, shift: str) -> list[DataConfig]:
        """The twins of a shift: with the labels as given and, if wanted, moved with the content."""
        moved = self.config.moved and self.config.shifts[shift].name in SOURCES
        return [self.paired(shift), *([self.paired(shift + MOVED)] if moved else [])]

    def teaching(self, seed: int) -> TrainConfig:
        """The supervised budget on D1, from the stage's own start."""
        data = replace(self.config.data, part=self.config.teacher_part or self.config.data.part)
        return self.supervised_stage(self.teacher(seed), seed, data=data)

    def scratch(self, seed: int, shift: str) -> TrainConfig:
        """B1: as the teacher, on D2."""
        run = str(self.run(seed, shift, B1))
        return replace(self.teaching(seed), run=run, data=self.paired(shift), domain="d2")

    def tuning(self, seed: int, shift: str) -> TrainConfig:
        """B2: supervised fine-tuning of the teacher on D2, with the budget of the adaptation."""
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
            for rate in self.config.rates.get(B2, []):
                if rate != b2.schedule.lr:
                    schedule = replace(b2.schedule, lr=rate)
                    made.append(replace(b2, run=f"{b2.run}_lr_{rate:g}", schedule=schedule))
            for share in self.config.shares:
                data = replace(b2.data, share=share)
                made.append(replace(b2, run=f"{b2.run}_share_{share:g}", data=data))
        return made

    def variants(self, objective: str) -> dict[str, dict[str, Any]]:
        """How an objective is adapted: under each penalty, and under the adaptation's own penalty
        with each number of frozen layers and at each of its learning rates. The keys are parts of
        the names of run folders, the values settings."""
        config, stage = self.config, self.config.adaptation
        made: dict[str, dict[str, Any]] = {k: {"penalty": p} for k, p in config.penalties.items()}
        made |= {f"freeze_{k}": {"freeze": k} for k in config.freezes}
        for rate in config.rates.get(objective, []):
            name = f"lr_{rate:g}" if rate != stage.schedule.lr else ""
            made[name] = {"schedule": replace(stage.schedule, lr=rate)}
        return {k: {"penalty": stage.penalty} | v for k, v in (made or {"": {}}).items()}

    def adapting(self, seed: int, shift: str, name: str, variant: str = "") -> TrainConfig:
        """The method with one of the study's objectives, in one of its variants."""
        settings = self.variants(name)[variant]
        if needs_fisher(settings["penalty"]):
            settings["penalty"] = replace(settings["penalty"], fisher=str(self.fisher(seed)))
        made = replace(
            self.tuning(seed, shift),
            run=str(self.run(seed, shift, "_".join(filter(None, (name, variant))))),
            start="",
            teacher=str(self.teacher(seed)),
            objective=replace(self.config.objectives[name], name=name),
            **settings,
        )
        return self.own(name, made)

    def first(self, seed: int, shift: str, name: str) -> Path:
        """The run of the first variant of an objective."""
        return Path(self.adapting(seed, shift, name, next(iter(self.variants(name)))).run)

    # ---- cells

    def cells(self) -> Iterator[Cell]:
        """The teacher; the twins with the baselines that need no training; the first objective and
        B2; the other objectives; the other variants of B2; and B1, which takes longest."""
        config = self.config
        for seed in config.seeds:
            teacher = self.teacher(seed)
            yield self.training(self.teaching(seed))
            yield self.scoring(teacher, seed, config.data, "d1")
            for shift in config.shifts:
                if seed == config.seeds[0]:
                    yield from self.twins(seed, shift)
                for free in [b for b in ("b0", "adabn", *RESTYLES, RIDGE) if b in self.baselines]:
                    for data in self.scored(shift)[: None if free == "b0" else 1]:
                        yield self.scoring(teacher, seed, data, "d2", free)
            if seed == config.seeds[0]:
                yield from self.misaligning()
            yield from self.information(seed)
            first, *others = config.objectives or [""]
            yield from self.adaptations(seed, [first] if first else [])
            b2 = [self.tuning(seed, s) for s in config.shifts]
            rate = config.adaptation.schedule.lr
            if rate in config.rates.get(B2, [rate]):
                yield from self.supervised(seed, "b2", b2)
            yield from self.adaptations(seed, others)
            yield from self.one_for_all(seed, config.together)
            yield from self.supervised(seed, "b2", self.tunings(seed))
            yield from self.supervised(seed, "b1", [self.scratch(seed, s) for s in config.shifts])

    def twins(self, seed: int, shift: str) -> Iterator[Cell]:
        """The images of a shift, once for all seeds. Where a distortion is wanted, parameters that
        give it to this seed's teacher are found first, on `selection` if that is set."""
        config, wanted, found = self.config, self.config.shifts[shift], None
        if wanted.distortion:
            found = Path(f"{self.paired(shift).target}.json")
            settings = CalibrateConfig(
                teacher=str(self.teacher(seed)),
                data=config.data,
                shift=wanted,
                split=config.selection or config.split,
                out=str(found),
                **self.machine,
            )
            yield Cell(f"calibrate {shift}", found, lambda: calibrate(settings), settings)
        for data, labels in zip(self.scored(shift), ("given", "moved"), strict=False):
            out, workers = Path(data.target), config.workers or 1
            whole = replace(config.data, explicit=[])  # images at their own size
            made = DistortConfig(whole, wanted, str(out), labels=labels, workers=workers)
            perform = partial(distort, made, found)
            given = replace(made, shift=replace(wanted, distortion=0.0))  # which calibrate looks at
            yield Cell(f"distort {out.name}", out / MANIFEST, perform, given)

    def misaligned(self, shift: str) -> list[Misaligned]:
        """The pairs of a shift with each planted offset, the smallest first."""
        where = self.root / "offsets" / shift
        return [
            Misaligned(self.paired(shift), kind, length, where / f"{kind}_{length:g}")
            for length in self.config.offsets
            for kind in KINDS
        ]

    def misaligning(self) -> Iterator[Cell]:
        """The pairs that are off, and what `align` says of them, once for all seeds."""
        workers = self.config.workers or 1
        for shift in self.config.shifts:
            for off in self.misaligned(shift):
                name, aligning = self.name(off.folder), off.aligning(workers)
                plant, find = partial(off.plant, workers), partial(align, aligning)
                yield Cell(f"plant {name}", off.folder / MANIFEST, plant, off.data)
                yield Cell(f"align {name}", off.table, find, aligning)

    def information(self, seed: int) -> Iterator[Cell]:
        """Fisher information of the teacher, where a penalty needs it and names no file."""
        variants = (v for name in self.config.objectives for v in self.variants(name).values())
        if any(needs_fisher(v["penalty"]) for v in variants):
            yield self.informing(str(self.teacher(seed)), self.fisher(seed))

    def adaptations(self, seed: int, objectives: list[str]) -> Iterator[Cell]:
        for name in objectives:
            for variant in self.variants(name):
                made = {s: self.adapting(seed, s, name, variant) for s in self.config.shifts}
                runs = [*made.items()]
                if self.config.chain:
                    runs += zip(list(made)[1:], self.chained([*made.values()]), strict=True)
                runs += [(s, run) for s in made for run in self.off(made[s], s)]
                for shift, run in runs:
                    yield self.training(run)
                    yield from self.scorings(run, seed, shift, name)

    def one_for_all(self, seed: int, name: str) -> Iterator[Cell]:
        """One network for all shifts: the mean of an objective's students, and a student of all
        pairs at once, with as many steps as all of these."""
        config, apart = self.config, list(self.config.shifts)
        if not name:
            return
        (variant,) = self.variants(name)
        students = [self.adapting(seed, shift, name, variant) for shift in apart]
        merging = MergeConfig([made.run for made in students], run=str(self.run(seed, MERGED)))
        mean = Path(merging.run)
        yield Cell(f"merge {self.name(mean)}", mean / SUMMARY, lambda: merge(merging), merging)
        first = students[0]
        made = replace(
            first,
            run=str(self.run(seed, TOGETHER)),
            data=replace(config.data, targets={s: self.paired(s).target for s in apart}),
            objective=replace(first.objective, name=TOGETHER),
            steps=len(apart) * first.steps,
        )
        yield self.training(made)
        for run in (mean, Path(made.run)):
            for shift in apart:
                yield self.scoring(run, seed, self.paired(shift), "d2")
            if config.old_domain:
                yield self.scoring(run, seed, config.data, "d1")

    def off(self, made: TrainConfig, shift: str) -> Iterator[TrainConfig]:
        """The same adaptation from pairs that are misaligned, and from these aligned again. Only
        the pairs differ; scores are those of images that are not moved."""
        for off in self.misaligned(shift):
            for ending, data in off.versions.items():
                added = f"_{off.folder.name}{ending}"
                objective = replace(made.objective, name=made.objective.name + added)
                yield replace(made, run=made.run + added, data=data, objective=objective)

    def chained(self, made: list[TrainConfig]) -> Iterator[TrainConfig]:
        """The same adaptations from date to date: the teacher is the student of the date before,
        and sees that date's images. The first date's has none before it."""
        for before, now in pairwise(made):
            yield replace(
                now,
                run=now.run + CHAIN,
                teacher=before.run if before is made[0] else before.run + CHAIN,
                data=replace(now.data, root=before.data.target),
                objective=replace(now.objective, name=now.objective.name + CHAIN),
            )

    def supervised(self, seed: int, wanted: str, runs: list[TrainConfig]) -> Iterator[Cell]:
        for made in runs if wanted in self.baselines else ():
            yield self.training(made)
            for data in self.scored(Path(made.data.target).name):
                yield self.scoring(Path(made.run), seed, data, "d2")
            if wanted == "b2" and self.config.old_domain:
                yield self.scoring(Path(made.run), seed, self.config.data, "d1")
            if wanted == "b2" and self.config.rates.get(B2) and self.config.selection:
                run = Path(made.run)
                yield self.scoring(run, seed, made.data, "d2", split=self.config.selection)

    def scorings(self, made: TrainConfig, seed: int, shift: str, name: str) -> Iterator[Cell]:
        """Of a student of the objective `name`: its scores on the new domain; where variants are
        compared, also on what choices are made on and on the old domain; and its maps beside the
        teacher's."""
        config, run = self.config, Path(made.run)
        for data in self.scored(shift):
            yield self.scoring(run, seed, data, "d2")
        if config.penalties or config.freezes or config.old_domain:
            yield self.scoring(run, seed, config.data, "d1")
        if config.selection and len(self.variants(name)) > 1:
            yield self.scoring(run, seed, self.paired(shift), "d2", split=config.selection)
        compared = config.features_of or list(config.objectives)[:1]
        if config.features and made.objective.name in compared:
            if run == self.first(seed, shift, compared[0]):
                before = self.run(seed, shift, "features")
                yield self.comparing(self.teacher(seed), seed, shift, before)
            yield self.comparing(run, seed, shift, run / "features")

    def scoring(
        self,
        run: Path,
        seed: int,
        data: DataConfig,
        domain: str,
        baseline: str = "b0",
        split: str = "",
    ) -> Cell:
        """Scores of `run` on a domain, with its label-free agreement with the seed's teacher, and
        with the baseline without training that is named."""
        return self.evaluation(
            run,
            teacher=str(self.teacher(seed)) if domain == "d2" else "",
            data=data,
            domain=domain,
            split=split or self.config.split,
            adabn=baseline == "adabn",
            restyle=baseline if baseline in RESTYLES else "",
            ridge=baseline == RIDGE,
        )

    def comparing(self, run: Path, seed: int, shift: str, out: Path) -> Cell:
        """The maps that `run` has of x2 beside those that the teacher has of x1."""
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
        result = out / "activations.json"
        return Cell(f"compare {self.name(out)}", result, lambda: analyse(made), made)


def distort(made: DistortConfig, found: Path | None) -> None:
    """Make a twin, with the parameters that a calibration found where there was one."""
    known = read_json(found)["parameters"] if found else made.shift.parameters
    make_distorted(replace(made, shift=replace(made.shift, parameters=known)))
