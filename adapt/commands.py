"""What each command of scripts/ can be told: a dataclass a command, of config.py's groups."""

from dataclasses import dataclass, field

from adapt.config import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    ShiftConfig,
    TrustConfig,
    at_least,
    one_of,
)
from adapt.errors import InputError
from adapt.objective_config import ObjectiveConfig
from adapt.protocol import ProtocolConfig
from adapt.restyle import BETA, RESTYLES


@dataclass
class Machine:
    """Where a command runs. Nothing here changes what is computed, but for rounding."""

    device: str = "auto"
    """auto | cpu | cuda | cuda:N"""
    precision: str = "auto"
    """auto | fp32 | bf16; auto = bf16 where the device computes it natively."""
    workers: int = 0
    """Processes that decode images; 0 = in the main process."""

    def __post_init__(self) -> None:
        one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        at_least("workers", self.workers, 0)


@dataclass
class TrainConfig(Machine):
    """One supervised or adaptation run: teacher, B1, B2 and the method differ in values only."""

    run: str = ""
    """Run folder: a new name starts, the same name resumes."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    teacher: str = ""
    """Run whose network is the frozen teacher; or a weights file (.safetensors, or a state_dict) of
    the network configured here; or `coco`. The student starts from it too, unless `start` says
    otherwise."""
    start: str = ""
    """Run or weights file that the student starts from; `imagenet`, `coco` or the name of one of
    torchvision's weight enums; `none` = He initialisation."""
    domain: str = "d1"
    """d1 | d2: whose images the supervised term reads."""
    bn: str = "train"
    """Student's batch norm. eval: nothing of it changes; affine: scale and shift train, statistics
    stay; train: batch statistics, all of it changes."""
    ema: float = 0.0
    """Decay of an average of the student's weights, which is then what is evaluated and saved
    (0.999, say); 0 = off. One more copy of the network in memory."""
    steps: int = 1000
    """0 = only make a run of the start, so that it can be evaluated and taught from."""
    batch: int = 8
    seed: int = 0
    log_every: int = 10
    eval_every: int = 0
    """Evaluate on the val split every so many steps; 0 = not while training."""
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("d1", "d2"))
        one_of("bn", self.bn, ("eval", "affine", "train"))
        for what in ("batch", "log_every", "checkpoint_every"):
            at_least(what, getattr(self, what), 1)
        if not 0 <= self.ema < 1:
            raise InputError(f"ema is {self.ema}; it must lie in [0, 1)")
        for what in ("steps", "eval_every", "seed"):
            at_least(what, getattr(self, what), 0)


@dataclass
class EvaluateConfig(Machine):
    """Scores of a run, or of a teacher on any domain (B0, or with adabn or restyle another free
    baseline)."""

    run: str = ""
    """Evaluated run; empty = the teacher itself (B0)."""
    teacher: str = ""
    """Run whose prediction on the old images gives the label-free agreement; empty = the one
    that the run was adapted or fine-tuned from."""
    network: TrustConfig = field(default_factory=TrustConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    domain: str = ""
    """d1 | d2; empty = the domain that the run was trained for."""
    split: str = "val"
    adabn: bool = False
    """Re-estimate batch-norm statistics on the training images of the domain first."""
    restyle: str = ""
    """histogram | fda: give the new images the look of D1's training images first."""
    restyle_beta: float = BETA
    """fda: half the replaced window, in shares of the shorter side (the paper: .01, .05, .09)."""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    batch: int = 8

    @property
    def variant(self) -> str:
        """What sets the evaluation apart from the plain one, for file names."""
        restyle = self.restyle
        if restyle == "fda" and self.restyle_beta != BETA:
            restyle += f"{self.restyle_beta:g}"
        names = ("adabn" if self.adabn else "", restyle, self.protocol.tag)
        return "_".join(name for name in names if name)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("", "d1", "d2"))
        one_of("restyle", self.restyle, ("", *RESTYLES))
        if not 0 < self.restyle_beta < 0.5:
            raise InputError(f"restyle_beta is {self.restyle_beta}; it must lie in (0, 0.5)")
        at_least("batch", self.batch, 1)
        if not self.run and not self.teacher:
            raise InputError("give run=DIR (a trained run) or teacher=DIR domain=d2 (baseline B0)")


@dataclass
class DistortConfig:
    """A data set's shifted twin: same layout and names, filtered images, untouched labels."""

    data: DataConfig = field(default_factory=DataConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    out: str = ""
    seed: int = 0
    """Seeds filters that have one, together with each image's name."""
    workers: int = 0
    """Processes that filter; 0 = one for each core, 1 = this process."""

    def __post_init__(self) -> None:
        at_least("workers", self.workers, 0)
        at_least("seed", self.seed, 0)
        if not self.out:
            raise InputError("out is empty: give the folder that receives the shifted data set")


@dataclass
class InvertConfig:
    """Style inversion: from white noise to what a network sees in an image."""

    run: str = ""
    network: TrustConfig = field(default_factory=TrustConfig)
    image: str = ""
    out: str = ""
    """Folder; empty = <run>/inversion/<image's stem>."""
    taps: dict[str, float] = field(default_factory=dict)
    """Layer name -> weight; empty = pool1..pool5, equally."""
    content: float = 1.0
    """Weight of the content term (003, section 3.3)."""
    style: float = 1.0
    """Weight of the Gram term."""
    tv: float = 0.05
    """Weight of total variation."""
    optimizer: str = "lbfgs"
    """sgd (the paper) | adam | lbfgs"""
    lr: float = 0.0
    """0 = the optimiser's default (viz.inversion.RATES); lbfgs finds its own step length."""
    steps: int = 150
    """Optimiser steps; for L-BFGS function evaluations."""
    size: list[int] = field(default_factory=list)
    """(H, W) the image is brought to; [] = the size that the run was trained at."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, ("sgd", "adam", "lbfgs"))
        for what in ("content", "style", "tv", "lr"):
            at_least(what, getattr(self, what), 0)
        at_least("steps", self.steps, 1)
        if self.content == self.style == 0:
            raise InputError("content and style are both 0: there is nothing to invert")


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


@dataclass
class StudyConfig(Machine):
    """A grid of cells: teacher, shifts, baselines and objectives, for every seed; or, with
    penalties instead, fine-tuning under each of them."""

    name: str = "study"
    runs: str = ""
    """Folder of the study's runs; empty = runs/<name>."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    shifts: dict[str, ShiftConfig] = field(default_factory=dict)
    objectives: dict[str, ObjectiveConfig] = field(default_factory=dict)
    penalties: dict[str, PenaltyConfig] = field(default_factory=dict)
    """Fine-tuning study: one training of the `supervised` stage under each, and nothing else."""
    protocols: dict[str, ProtocolConfig] = field(default_factory=dict)
    """Fine-tuning study: how each network is evaluated; empty = once, as it is by default."""
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
    """How many images of that split are inverted by the teacher and by each shift's student."""
    inversion: InvertConfig = field(default_factory=InvertConfig)
    report: str = ""
    """HTML file; empty = <runs>/report.html."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("bn", self.bn, ("eval", "affine", "train"))
        for baseline in self.baselines:
            one_of("baselines", baseline, ("b0", "adabn", *RESTYLES, "b1", "b2"))
        if not self.seeds:
            raise InputError("seeds is empty: give at least one, for example seeds=[0]")
        at_least("inversions", self.inversions, 0)
        if self.penalties and (self.shifts or self.objectives):
            raise InputError("a study has either penalties, or shifts and objectives")


@dataclass
class ReportConfig:
    """One self-contained HTML file of all runs below a folder."""

    runs: str = "runs"
    network: TrustConfig = field(default_factory=TrustConfig)
    out: str = "report.html"
    examples: int = 3
    """Images shown with their predictions for every shift."""

    def __post_init__(self) -> None:
        at_least("examples", self.examples, 0)
