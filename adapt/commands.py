"""What each command of scripts/ can be told: a dataclass a command, of config.py's groups."""

from dataclasses import dataclass, field
from pathlib import Path

from adapt.bounds import MOST_IMAGES, MOST_WORKERS, at_least, one_of, size_pair, within
from adapt.config import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    ShiftConfig,
    TrustConfig,
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
        within("workers", self.workers, 0, MOST_WORKERS)


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
    freeze: str = ""
    """The first layers, kept as the start has them, batch-norm statistics included: a number of
    convolution and linear layers in forward order, or the last layer by name or alias (`pool3`)."""
    cache_teacher: str = "off"
    """off | ram | file: compute the teacher's maps of each view of an image once and keep them, in
    memory or in a file of the run's folder. For training images that are not augmented, only
    mirrored, or have data.views."""
    gradient_checkpointing: bool = False
    """Keep only the input of each block of layers for the backward pass, which computes the rest
    again: less memory for more time, and the same result bit for bit."""
    ema: float = 0.0
    """Decay of an average of the student's weights, which is then what is evaluated and saved
    (0.999, say); 0 = off. One more copy of the network in memory."""
    steps: int = 1000
    """0 = only make a run of the start, so that it can be evaluated and taught from."""
    batch: int = 8
    seed: int = 0
    log_every: int = 10
    drift_every: int = 5
    """With every so many logged steps goes how far each layer is from its start, |w - w0| / |w0|;
    0 = never."""
    eval_every: int = 0
    """Evaluate on the val split every so many steps; 0 = not while training."""
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("d1", "d2"))
        one_of("cache_teacher", self.cache_teacher, ("off", "ram", "file"))
        one_of("bn", self.bn, ("eval", "affine", "train"))
        self.freeze = "" if self.freeze == "0" else self.freeze
        for what in ("log_every", "checkpoint_every"):
            at_least(what, getattr(self, what), 1)
        within("batch", self.batch, 1, MOST_IMAGES)
        if not 0 <= self.ema < 1:
            raise InputError(f"ema is {self.ema}; it must lie in [0, 1)")
        for what in ("steps", "drift_every", "eval_every", "seed"):
            at_least(what, getattr(self, what), 0)
        if self.schedule.warmup > self.steps > 0:
            raise InputError(
                f"schedule.warmup is {self.schedule.warmup}, steps {self.steps}: the "
                "learning rate would never be reached"
            )


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
        within("batch", self.batch, 1, MOST_IMAGES)
        if not self.run and not self.teacher:
            raise InputError("give run=DIR (a trained run) or teacher=DIR domain=d2 (baseline B0)")


@dataclass
class DistortConfig:
    """A data set's shifted twin: same layout and names, filtered images."""

    data: DataConfig = field(default_factory=DataConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    out: str = ""
    seed: int = 0
    """Seeds filters that have one, together with each image's name."""
    labels: str = "given"
    """`given` = where they were, as in the study; `moved` = with the content that ripple and cubism
    move (void where the image shows none of it)."""
    workers: int = 0
    """Processes that filter; 0 = one for each core, 1 = this process."""

    def __post_init__(self) -> None:
        within("workers", self.workers, 0, MOST_WORKERS)
        at_least("seed", self.seed, 0)
        one_of("labels", self.labels, ("given", "moved"))
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
    precision: str = "auto"
    """auto | fp32 | bf16; auto = bf16 where the device computes it natively, but fp32 for lbfgs,
    whose line search and curvature are differences of losses and gradients."""

    def __post_init__(self) -> None:
        one_of("precision", self.precision, ("auto", "fp32", "bf16"))
        one_of("optimizer", self.optimizer, ("sgd", "adam", "lbfgs"))
        for what in ("content", "style", "tv", "lr"):
            at_least(what, getattr(self, what), 0)
        at_least("steps", self.steps, 1)
        at_least("seed", self.seed, 0)
        size_pair("size", self.size)
        if self.content == self.style == 0:
            raise InputError("content and style are both 0: there is nothing to invert")


@dataclass
class ReportConfig:
    """One self-contained HTML file of all runs below a folder."""

    runs: str = "runs"
    network: TrustConfig = field(default_factory=TrustConfig)
    out: str = "report.html"
    examples: int = 3
    """Images shown with their predictions for every shift."""
    selection: str = ""
    """Split or part that alpha and beta are chosen on; empty = the part of the training data that
    runs were scored on but not trained on, where there is one."""

    def __post_init__(self) -> None:
        at_least("examples", self.examples, 0)
        if not Path(self.out).name:
            raise InputError(f"out is {self.out!r}; give the HTML file that receives the report")
