"""Settings of `train` and `adapt`, which differ in values only, and of where a command runs."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from adapt.errors import InputError
from adapt.settings.checks import (
    Adapters,
    Batch,
    Count,
    MemoryFormat,
    OneOf,
    Positive,
    Precision,
    Range,
    Settings,
    Strength,
    Taps,
    Workers,
)
from adapt.settings.choices import BATCH_NORM, LOGGERS, start_named
from adapt.settings.groups import (
    AlsoConfig,
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    TeacherNetworkConfig,
)
from adapt.settings.objective import ObjectiveConfig


@dataclass
class Machine(Settings):
    """Where a command runs. Nothing here changes what is computed, but for rounding."""

    device: str = "auto"
    """Device that computes: auto | cpu | cuda | cuda:N."""
    precision: Precision = "auto"
    """Precision of the networks; auto = bf16 where the device computes it natively."""
    workers: Workers = 0
    """Number of processes that decode images; 0 = in the main process."""


@dataclass
class TrainConfig(Machine):
    """Train with labels: the teacher, B1 (domain=d2) or B2 (domain=d2 start=RUN)."""

    run: str = ""
    """Run folder: a new name starts, the same name resumes."""
    data: DataConfig = field(default_factory=DataConfig)
    also: AlsoConfig = field(default_factory=AlsoConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    teacher_network: TeacherNetworkConfig = field(default_factory=TeacherNetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    taps: Annotated[Any, Taps()] = ""
    """Layers whose maps are regressed, instead of the objective's. `auto` takes, on the way down to
    the coarsest maps, the last map of each stride, and the last map before the classifier; the
    choice is printed. `pairs` takes those after which a 1x1 map, fitted in closed form to 50 of the
    training pairs, lets the teacher say of 20 other new images most of what it says of the old
    ones; the scores are printed. {teacher's layer: student's layer} pairs layers of other names,
    and `auto` those of equal stride in two networks. Weights that are not given grow linearly with
    depth and add up to 1. An objective without regression gets it, with weight 1; its other terms
    stay. Empty = the objective's own."""
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    teacher: str = ""
    """Run whose network is the frozen teacher. It may also be a weights file (.safetensors, or a
    state_dict) of the network configured here, or `coco`. `FILE@KEY` takes what lies under that key
    of a file. The student starts from it too, unless `start` says otherwise, which a student of
    another network needs."""
    start: str = ""
    """Run or weights file that the student starts from; `none` = He initialisation.
    `backbone:FILE` takes a file's weights without the layers that depend on the classes;
    `imagenet`, `coco` and the names of torchvision's weight enums are fetched."""
    domain: Annotated[str, OneOf("d1", "d2")] = "d1"
    """Domain whose images the supervised term reads."""
    mixup: Strength = 0.0
    """Mix each pair with another one of its batch (Zhang et al. 2018): both images with those of
    the same partner by the same share, drawn from Beta(mixup, mixup). The teacher sees the mixed
    x1. It is for objectives without labels; 0 = off."""
    crop_shift: Count = 0
    """Move the crops of x1 and x2 against each other, by up to this many cells of the network's
    largest stride either way, drawn for each step, and compare what both show. They get smaller by
    as much; 0 = off."""
    bn: Annotated[str, OneOf(*BATCH_NORM)] = "train"
    """Batch norm of the student. `eval`: nothing of it changes; `affine`: scale and shift train,
    statistics stay; `train`: batch statistics, all of it changes."""
    adabn: bool = False
    """Start with the batch-norm statistics of the new domain's training images (AdaBN). With
    steps=0 the run is that baseline itself, which every command takes like any other run, as the
    start of one with adapters or freeze."""
    freeze: str = ""
    """First layers that are kept as the start has them, batch-norm statistics included. Give a
    number of convolution and linear layers in forward order, or the last layer by name or alias
    (`pool3`)."""
    adapters: Annotated[Any, Adapters()] = ""
    """Small modules after some layers, which alone are trained; all else stays bit for bit as the
    start has it, as with bn=eval. {layer: rank} puts x + up(relu(down(x))) after each layer, with
    1x1 convolutions to `rank` channels and back, and {auto: rank} after those that taps=auto takes;
    rank 0 is one linear map of all channels, and rank `ridge` one that starts where it undoes the
    shift best in closed form (ridge regression on up to 50 pairs). RUN/adapters.safetensors are
    those of a run, which its base gets again. Empty = none, or those of the start."""
    cache_teacher: Annotated[str, OneOf("off", "ram", "file")] = "off"
    """Where the teacher's maps of each view of an image are kept, once computed: in memory, or in a
    file of the run's folder. It is for training images that are not augmented, only mirrored, or
    have data.views."""
    gradient_checkpointing: bool = False
    """Keep only the input of each block of layers for the backward pass, which computes the rest
    again: less memory for more time, and the same result bit for bit."""
    memory_format: MemoryFormat = "channels_last"
    """How maps lie in memory, in PyTorch's words. `channels_last` is mostly the faster one; on CPUs
    without AVX-512 `contiguous` is, for networks with many channels on large maps, such as VGG-16.
    Sums and dropout are then taken in another order."""
    ema: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Decay of an average of the student's weights, such as 0.999; 0 = off. The average is then
    what is evaluated and saved, and takes one more copy of the network in memory."""
    steps: Count = 1000
    """Number of optimiser steps. 0 only makes a run of the start, so that it can be evaluated and
    taught from."""
    batch: Batch = 8
    """Images in a batch, of all processes together."""
    seed: Count = 0
    """Seed of the initialisation, the order of the images and their augmentation."""
    log_every: Positive = 10
    """Steps from one logged step to the next."""
    loggers: list[Annotated[str, OneOf(*LOGGERS)]] = field(default_factory=lambda: ["tensorboard"])
    """Where the logged numbers go beside metrics.jsonl: tensorboard, wandb, mlflow."""
    drift_every: Count = 5
    """Logged steps from one measurement of each layer's distance from its start, |w - w0| / |w0|,
    to the next; 0 = never."""
    eval_every: Count = 0
    """Steps from one evaluation on the val split to the next; 0 = none while training. Where the
    objective learns from one label a pixel, of at most 1,000 classes, the mean cross-entropy is
    computed as well."""
    eval_train: Count = 0
    """Number of evenly spaced training images, whole and not augmented, that are scored as well at
    `eval_every`, to see over-fitting; 0 = none."""
    checkpoint_every: Positive = 500
    """Steps from one checkpoint to the next."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.start = start_named(self.start)
        self.freeze = "" if self.freeze == "0" else self.freeze
        self.adapters = self.adapters or ""
        if self.adapters:
            if self.bn == "affine" or self.freeze:
                wrong = f"freeze={self.freeze}" if self.freeze else f"bn={self.bn}"
                raise InputError(f"{wrong}: with adapters all else is kept anyway; leave it out")
            self.bn = "eval"
        if self.adabn and (self.adapters or self.freeze):
            raise InputError(
                f"adabn=true changes statistics that {'adapters' if self.adapters else 'freeze'} "
                "would keep: make a run with adabn=true steps=0 first, and start from it"
            )
        if self.eval_train and not self.eval_every:
            raise InputError(
                f"eval_train is {self.eval_train}, but eval_every is 0: nothing is scored"
            )
        if self.schedule.warmup > self.steps > 0:
            raise InputError(
                f"schedule.warmup is {self.schedule.warmup}, steps {self.steps}: the "
                "learning rate would never be reached"
            )
        if self.schedule.asynchronous > self.steps * self.batch > 0:
            raise InputError(
                f"schedule.asynchronous is {self.schedule.asynchronous}, but {self.steps} steps of "
                f"{self.batch} see {self.steps * self.batch} images: nothing would be updated"
            )


@dataclass
class AdaptConfig(TrainConfig):
    """Adapt a teacher to a new domain by pairs without labels: the method. The student's maps of x2
    are regressed onto the teacher's maps of x1; then held-out pairs say whether it helped."""

    domain: Annotated[str, OneOf("d1", "d2")] = "d2"
