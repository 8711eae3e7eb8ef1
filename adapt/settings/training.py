"""TODO."""

from dataclasses import dataclass, field

from adapt.errors import InputError
from adapt.settings.checks import MOST_IMAGES, MOST_WORKERS, at_least, one_of, within
from adapt.settings.choices import start_named
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
)
from adapt.settings.objective import ObjectiveConfig


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
    """Run or weights file that the student starts from; `backbone:FILE` = a file's weights without
    the layers that depend on the classes; `imagenet`, `coco` or the name of one of torchvision's
    weight enums; `none` = He initialisation."""
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
        self.start = start_named(self.start)
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
