"""Settings of the study command."""

from dataclasses import dataclass, field

from adapt.errors import InputError
from adapt.settings.checks import at_least, one_of
from adapt.settings.choices import B2, RESTYLES
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ProtocolConfig,
    ScheduleConfig,
    ShiftConfig,
)
from adapt.settings.objective import ObjectiveConfig
from adapt.settings.training import Machine
from adapt.settings.viz import InvertConfig


@dataclass
class Stage:
    """Budget of one kind of training in a study."""

    start: str = ""
    """`supervised` only: what teacher and B1 start from, as TrainConfig.start (`imagenet`)."""
    steps: int = 1000
    eval_every: int = 0
    checkpoint_every: int = 500
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    ema: float = 0.0
    """As TrainConfig.ema."""


@dataclass
class StudyConfig(Machine):
    """A grid of cells: teacher, shifts, baselines and objectives, for every seed; with penalties,
    each objective under each of them; with penalties alone, fine-tuning."""

    name: str = "study"
    runs: str = ""
    """Folder of the study's runs; empty = runs/<name>."""
    source: str = ""
    """Folder of another study, whose teachers and shifted twins serve this one as well."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    shifts: dict[str, ShiftConfig] = field(default_factory=dict)
    objectives: dict[str, ObjectiveConfig] = field(default_factory=dict)
    penalties: dict[str, PenaltyConfig] = field(default_factory=dict)
    """Each objective is adapted under each, instead of under the adaptation's own, and scored on
    the old domain and on `selection` as well. Those that need Fisher information get the
    teacher's. Without shifts and objectives: one training of the `supervised` stage under each."""
    freezes: list[str] = field(default_factory=list)
    """Further adaptations under the adaptation's own penalty: TrainConfig.freeze for each."""
    selection: str = ""
    """Split or part of the data (data.parts) that choices are made on, by labels or without."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Objective, or `B2` -> learning rates that it is adapted with instead of the stage's (B2:
    beside it). Where there are several, each is scored on `selection` as well."""
    shares: list[float] = field(default_factory=list)
    """B2 is trained with these shares of the labels too, the smaller within the larger."""
    teacher_part: str = ""
    """Part of the data (data.parts) that the teacher learns from, so that pairs can be images that
    it has never seen; empty = the pairs' own, as in 003."""
    moved: bool = False
    """Score also against labels that follow what ripple and cubism move."""
    features: list[str] = field(default_factory=list)
    """Layers whose maps of x2, before and after adapting, are compared with the teacher's of x1."""
    features_of: list[str] = field(default_factory=list)
    """Objectives whose students are compared so; [] = the first."""
    fisher_images: int = 0
    """Images that Fisher information is computed from; 0 = all of the teacher's."""
    protocols: dict[str, ProtocolConfig] = field(default_factory=dict)
    """Fine-tuning study: how each network is evaluated; empty = once, as it is by default."""
    loss: bool = False
    """Fine-tuning study: EvaluateConfig.loss beside the scores, on both splits."""
    baselines: list[str] = field(default_factory=lambda: ["b0", "adabn", "b1", "b2"])
    supervised: Stage = field(default_factory=Stage)
    """Teacher and B1; its penalty serves B2 as well."""
    adaptation: Stage = field(default_factory=Stage)
    """The method; its steps and schedule serve B2 as well."""
    bn: str = "train"
    batch: int = 8
    seeds: list[int] = field(default_factory=lambda: [0])
    split: str = "val"
    """What every cell is scored on."""
    inversions: int = 1
    """How many images of that split, evenly spaced, are inverted by the teacher and by each shift's
    student; none where there are no objectives."""
    inversions_of: str = ""
    """Objective whose students these are; empty = the first."""
    inversion: InvertConfig = field(default_factory=InvertConfig)
    report: str = ""
    """HTML file; empty = <runs>/report.html; `none` = no report."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("bn", self.bn, ("eval", "affine", "train"))
        for baseline in self.baselines:
            one_of("baselines", baseline, ("b0", "adabn", *RESTYLES, "b1", "b2"))
        if not self.seeds:
            raise InputError("seeds is empty: give at least one, for example seeds=[0]")
        for name in self.rates:
            one_of("rates", name, (*self.objectives, B2))
        for name in self.features_of:
            one_of("features_of", name, tuple(self.objectives))
        if self.inversions_of:
            one_of("inversions_of", self.inversions_of, tuple(self.objectives))
        for share in self.shares:
            if not 0 < share < 1:
                raise InputError(f"shares has {share}; each must lie in (0, 1): B2 itself is 1")
        at_least("inversions", self.inversions, 0)
        at_least("fisher_images", self.fisher_images, 0)
