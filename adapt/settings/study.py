"""Settings of the study command."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from adapt.errors import InputError
from adapt.settings.checks import (
    Batch,
    Count,
    MemoryFormat,
    OneOf,
    Positive,
    Range,
    Settings,
    one_of,
)
from adapt.settings.choices import ANALYSES, B2, BATCH_NORM, RESTYLES, RIDGE
from adapt.settings.groups import (
    AlsoConfig,
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    ShiftConfig,
)
from adapt.settings.mapping import default_of, flatten
from adapt.settings.objective import ObjectiveConfig
from adapt.settings.protocol import ProtocolConfig
from adapt.settings.training import Machine
from adapt.settings.viz import InvertConfig


@dataclass
class Stage(Settings):
    """Budget of one kind of training in a study."""

    start: str = ""
    """What the stage starts from, as `start` of train: `imagenet`, say. It is for `supervised`
    (the teacher and B1, or fine-tunings) and `pretraining` only."""
    steps: Count = 1000
    """Number of optimiser steps."""
    eval_every: Count = 0
    """Steps from one evaluation on the val split to the next; 0 = none while training."""
    eval_train: Count = 0
    """Number of training images that are scored then too, as `eval_train` of train; 0 = none."""
    checkpoint_every: Positive = 500
    """Steps from one checkpoint to the next."""
    memory_format: MemoryFormat = "channels_last"
    """How its trainings lay their maps out, as `memory_format` of train."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    ema: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Decay of an average of the student's weights, as `ema` of train; 0 = off."""


@dataclass
class Pretraining(Stage):
    """The task that fine-tunings come from: with data of its own, its network is trained first."""

    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class StudyConfig(Machine):
    """Do all cells of a grid of trainings and evaluations, then the report. The cells are teacher,
    shifts, baselines and objectives, for every seed, and inversions; the same command goes on where
    it was stopped. With penalties each objective is trained under each of them; with penalties
    alone the study is a fine-tuning."""

    name: str = "study"
    """Name of the study."""
    runs: str = ""
    """Folder of the study's runs; empty = runs/NAME."""
    source: str = ""
    """Folder of another study, whose teachers and shifted twins serve this one as well."""
    data: DataConfig = field(default_factory=DataConfig)
    also: AlsoConfig = field(default_factory=AlsoConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    shifts: dict[str, ShiftConfig] = field(default_factory=dict)
    """New domains of the grid by name."""
    objectives: dict[str, ObjectiveConfig] = field(default_factory=dict)
    """Objectives that the teacher's network is adapted with, by name."""
    penalties: dict[str, PenaltyConfig] = field(default_factory=dict)
    """Penalties by name, under each of which each objective is adapted, instead of under the
    adaptation's own. Such students are scored on the old domain and on `selection` as well.
    Penalties that need Fisher information get the teacher's. Without shifts and objectives there is
    one training of the `supervised` stage under each."""
    freezes: list[str] = field(default_factory=list)
    """Further adaptations under the adaptation's own penalty, or fine-tunings under each penalty,
    with `freeze` of train for each."""
    freezes_of: list[str] = field(default_factory=list)
    """Penalties of a fine-tuning that are combined with `freezes`; [] = all."""
    selection: str = ""
    """Split or part of the data that choices are made on, by labels or without."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Learning rates that an objective, or `B2`, is trained with instead of the stage's. Where
    there are several, each is scored on `selection` as well."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further settings of train for the trainings of one objective or, in a fine-tuning, of one
    penalty: {w_inc_kd: {ema: 0.99, schedule: {lr: 0.02}}}."""
    shares: list[Annotated[float, Range(0, 1, above=True, below=True)]] = field(
        default_factory=list
    )
    """Shares of the labels that further B2, or fine-tunings under each penalty, are trained with,
    the smaller within the larger; 1 is done anyway."""
    teacher_part: str = ""
    """Part of the data that the teacher learns from; empty = the pairs' own, as in 003. With a part
    of its own the pairs can be images that it has never seen."""
    chain: bool = False
    """The shifts are dates in their order, each further from the old domain. Every objective is
    also adapted from date to date: the student of one date teaches that of the next, on pairs of
    these two dates' images. It stands in tables as NAME_chain beside NAME, whose teacher is the
    first one at every date, and the report draws both over the dates."""
    offsets: list[Annotated[float, Range(0, above=True)]] = field(default_factory=list)
    """Pixels of the files by which x2 of the training pairs is moved on purpose: all in one
    direction (`systematic`), and each in one of its own (`random`). From such pairs, as they are
    and after `align`, every objective is adapted as well, and scored on images that are not moved.
    Tables have NAME_systematic_8 and NAME_systematic_8_aligned beside NAME."""
    together: str = ""
    """Objective of one network for all shifts, made in two ways: `merged` and `together`. The first
    is the mean of the objective's students, the second a student of all pairs at once with as many
    steps as all of these. Both are scored on every shift."""
    old_domain: bool = False
    """Score each student and B2 on the old domain as well: what is kept of it."""
    moved: bool = False
    """Score also against labels that follow what ripple and cubism move."""
    features: list[str] = field(default_factory=list)
    """Layers whose maps of x2, before and after adapting, are compared with the teacher's of x1."""
    features_of: list[str] = field(default_factory=list)
    """Objectives whose students are compared so; [] = the first."""
    fisher_images: Count = 0
    """Number of images that Fisher information is computed from; 0 = all that the teacher, or the
    network that fine-tunings come from, was trained with."""
    pretraining: Pretraining = field(default_factory=Pretraining)
    """A training on `pretraining.data` before fine-tunings, which then start from its backbone. It
    is one for all seeds, and penalties that need Fisher information get its own. With
    `pretraining.steps=0` it is its start as that is: ImageNet's own classifier, say."""
    analyses: list[Annotated[str, OneOf(*ANALYSES)]] = field(default_factory=list)
    """Analyses of each fine-tuned network beside the one that it came from, as those of analyse."""
    protocols: dict[str, ProtocolConfig] = field(default_factory=dict)
    """Protocols by name that each network of a fine-tuning is evaluated with; {} = the default."""
    loss: bool = False
    """Compute the mean cross-entropy beside the scores of a fine-tuning, on both splits."""
    baselines: list[Annotated[str, OneOf("b0", "adabn", *RESTYLES, RIDGE, "b1", "b2")]] = field(
        default_factory=lambda: ["b0", "adabn", "b1", "b2"]
    )
    """Baselines of each shift."""
    supervised: Stage = field(default_factory=Stage)
    """The training of the teacher and B1; its penalty serves B2 as well."""
    adaptation: Stage = field(default_factory=Stage)
    """The method; its steps and schedule serve B2 as well."""
    bn: Annotated[str, OneOf(*BATCH_NORM)] = "train"
    """Batch norm of the student, as `bn` of train."""
    batch: Batch = 8
    """Images in a batch."""
    seeds: list[Count] = field(default_factory=lambda: [0])
    """Seeds that the whole grid is done with."""
    split: str = "val"
    """Split that every cell is scored on."""
    inversions: Count = 1
    """Number of evenly spaced images of that split that the teacher and each shift's student
    invert. There are none where there are no objectives."""
    inversions_of: str = ""
    """Objective whose students these are; empty = the first."""
    inversion: InvertConfig = field(default_factory=InvertConfig)
    report: str = ""
    """HTML file that receives the report; empty = RUNS/report.html, `none` = no report."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds:
            raise InputError("seeds is empty: give at least one, for example seeds=[0]")
        kind, unused = ("fine-tuning", ADAPTATION) if self.tunes else ("adaptation", FINE_TUNING)
        if ignored := next((n for n in self.changed if n in unused), ""):
            hint = "which has penalties and no shifts" if self.tunes else "which has shifts"
            raise InputError(f"{ignored} is set, but a study of {kind}, {hint}, has no use for it")
        for name in self.rates:
            one_of("rates", name, (*self.objectives, B2))
        for name in self.settings:
            one_of("settings", name, self.penalties if self.tunes else self.objectives)
        for name in self.features_of:
            one_of("features_of", name, self.objectives)
        if self.together:
            one_of("together", self.together, self.objectives)
            if self.penalties or self.freezes or len(self.rates.get(self.together, ())) > 1:
                raise InputError(
                    f"together is {self.together}, of which each shift must have one student: give "
                    "one rate, and no penalties or freezes"
                )
        for name in self.freezes_of:
            one_of("freezes_of", name, self.penalties)
        if self.rates.get(B2) and "b2" not in self.baselines and not self.tunes:
            raise InputError("rates.B2 is set, but baselines has no b2")
        if self.shares and "b2" not in self.baselines and not self.tunes:
            raise InputError("shares is set, but baselines has no b2, which would learn from them")
        for what, needed in (("features_of", "features"), ("inversions_of", "inversions")):
            if getattr(self, what) and not getattr(self, needed):
                raise InputError(f"{what} is set, but {needed} is not: nothing would be done")
        if self.source and not (self.objectives or {"b1", "b2"} & {*self.baselines}):
            raise InputError(
                "source is set, but no objective and no b1 or b2, so that there is nothing to train"
            )
        for name, own in self.settings.items():
            self.refuse_own(name, flatten(own))
        if self.adaptation.start:
            raise InputError("adaptation.start is set, but an adaptation starts from the teacher")
        for name in ("run", "image", "out"):
            if getattr(self.inversion, name):
                raise InputError(f"inversion.{name} is set, but a study names it itself")
        if self.inversions_of:
            one_of("inversions_of", self.inversions_of, self.objectives)
        if self.chain and (len(self.shifts) < 2 or not self.objectives):
            raise InputError("chain=true needs two shifts, the dates, and an objective")

    def refuse_own(self, name: str, own: dict[str, Any]) -> None:
        """InputError for settings of an objective or penalty that the study itself sets."""
        if strange := sorted(own.keys() & {*OWN}):
            raise InputError(f"settings.{name}.{strange[0]} is set, but the study sets it itself")
        if "schedule.lr" in own and self.rates.get(name):
            raise InputError(f"settings.{name}.schedule.lr and rates.{name} are set: give one")

    @property
    def tunes(self) -> bool:
        """Is it a fine-tuning, rather than an adaptation to shifts?"""
        return bool(self.penalties) and not self.shifts

    @property
    def changed(self) -> list[str]:
        """Fields that are not at their default."""
        return [f.name for f in fields(self) if getattr(self, f.name) != default_of(f)]


OWN = ("run", "seed", "teacher", "start", "domain", "objective.name", "penalty.name")
"""Settings of a training that a study sets for each of its own."""
FINE_TUNING = ("also", "protocols", "loss", "pretraining", "analyses", "freezes_of")
"""What only a study of fine-tuning uses."""
ADAPTATION = (
    "source", "objectives", "rates", "offsets", "teacher_part", "chain", "together", "old_domain",
    "moved", "features", "features_of", "baselines", "adaptation", "inversions", "inversions_of",
    "inversion",
)  # fmt: skip
"""What only a study of adaptation uses."""
