"""Groups of settings that commands share: plain dataclasses, checked when they are made.

YAML under configs/ selects and overrides, Hydra composes (only in adapt/cli), `mapping.build` makes
these objects. A field's meaning stands in the docstring below it.
"""

from dataclasses import dataclass, field
from typing import Any

from adapt.errors import InputError, unknown
from adapt.settings.checks import at_least, one_of, size_pair, within

WHICH = (
    "name", "root", "target", "pairs", "shards", "labels", "sbd", "download", "coarse", "variant",
    "classes", "imagenet_val", "train_split", "part", "parts", "parts_seed", "share",
)  # fmt: skip
"""Fields of DataConfig that say which files are read, not how; another data set has its own."""

WHOLE = "all"
"""`data.part`: no part, the whole training split."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class DataConfig:
    """Which images, how large, which part; unset fields come from the start, teacher or run."""

    name: str = ""
    """A key of adapt.data.DATASETS; empty = what the start, teacher or evaluated run used."""
    root: str = ""
    """Folder of D1 (old domain, labelled)."""
    target: str = ""
    """Folder of D2 (new domain): the same layout and names, other pixels."""
    pairs: str = ""
    """`pairs` only: a CSV with the columns x1,x2[,y1][,y2][,valid] instead of two folders."""
    shards: str = ""
    """`pairs` only: tar archives of KEY.x1.jpg, KEY.x2.jpg[, KEY.y.png]: a folder of them, a
    pattern (`/disk*/train-*.tar`), one archive, or a text file that lists them."""
    labels: str = ""
    """`pairs` only: a folder of index masks that match x1 by name, for evaluation."""
    sbd: str = ""
    """`voc` only: SBD's benchmark_RELEASE/dataset folder (.mat labels of trainaug)."""
    download: bool = False
    """Fetch VOC 2012 (and SBD into data.sbd where that is given), Caltech-256 or Food-101 into
    data.root."""
    coarse: bool = False
    """`cityscapes` only: train on train_extra with its coarse labels as well."""
    variant: str = ""
    """`cityscapes` only: what names in data.target end in, where a frame has several files."""
    imagenet_val: str = ""
    """`dogs120` only: ImageNet's validation images, a folder a class, for split=imagenet_val."""
    classes: list[str] = field(default_factory=list)
    """`pairs` only: class names in index order; may stay empty where there are no labels."""
    follow_links: bool = False
    """Read files that symbolic links in the data's folders point to outside of them."""
    train_split: str = ""
    """The list that training reads; empty = the data set's own (`train`; VOC: `trainaug`)."""
    part: str = ""
    """Name of one of `parts`, or `all` = the whole training split; empty = all, or inherited."""
    parts: dict[str, float] = field(default_factory=dict)
    """Disjoint named shares of the training split, cut by `parts_seed`: {a: 0.5, b: 0.5}."""
    parts_seed: int = 0
    share: float = 1.0
    """Share of the training images that is used, drawn by `parts_seed`; a smaller one lies within a
    larger one."""
    resize: list[int] = field(default_factory=list)
    """(H, W) that images and training labels are brought to, or [S]: the shorter side becomes S
    and the shape is kept; [] = native. Evaluation upsamples the prediction to the label's own size
    whatever stands here."""
    crop: list[int] = field(default_factory=list)
    """(H, W) of the random training crop, padded with void where it is larger; [] = whole image."""
    flip: bool = True
    """Mirror half of the training images, both sides of a pair alike."""
    scale: list[float] = field(default_factory=list)
    """[low, high]: training images are enlarged by a random factor between them; [] = off."""
    rotate: float = 0.0
    """Training images are turned by up to so many degrees either way."""
    jitter_x1: float = 0.0
    """Random brightness, contrast and saturation of x1, each by up to this share, hue by a
    quarter of it; drawn apart from that of x2."""
    jitter_x2: float = 0.0
    blur_x1: float = 0.0
    """Gaussian blur of x1 with a random standard deviation of up to so many pixels."""
    blur_x2: float = 0.0
    views: int = 0
    """0 = every epoch draws each image's augmentation anew; n = each image has n fixed ones, and an
    epoch draws one of them."""
    cache: bool = False
    """Keep decoded images in memory (one copy for each loader worker)."""
    explicit: list[str] = field(default_factory=list)
    """Fields named on the command line: they replace inherited values even by the default."""

    def __post_init__(self) -> None:
        size_pair("data.resize", self.resize * 2 if len(self.resize) == 1 else self.resize)
        size_pair("data.crop", self.crop)
        if self.scale and (len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < 16):
            raise InputError(
                f"data.scale is {self.scale}; give [low, high] with 0 < low <= high < 16, or []"
            )
        for what, high in (("rotate", 180), ("jitter_x1", 1), ("jitter_x2", 1), ("blur_x1", 50),
                           ("blur_x2", 50)):  # fmt: skip
            within(f"data.{what}", getattr(self, what), 0, high)
        at_least("data.parts_seed", self.parts_seed, 0)
        at_least("data.views", self.views, 0)
        for name, share in self.parts.items():
            if name in ("", WHOLE):
                raise InputError(f"data.parts: {name!r} cannot name a part; `{WHOLE}` is all of it")
            at_least(f"data.parts.{name}", share, 0, above=True)
        if sum(self.parts.values()) > 1 + 1e-9:
            raise InputError(
                f"data.parts add up to {sum(self.parts.values()):g}; at most 1 is there"
            )
        if not 0 < self.share <= 1:
            raise InputError(f"data.share is {self.share}; it must lie in (0, 1]")
        if self.part and self.part not in (WHOLE, *self.parts):
            raise unknown("data.part", self.part, (WHOLE, *self.parts))


@dataclass
class NetworkConfig:
    """Architecture and the normalisation that belongs to it."""

    name: str = "deeplab_vgg16"
    """A key of adapt.networks.NETWORKS; a factory's name where there is one."""
    factory: str = ""
    """`package.module:function` that makes a network of your own; replaces `name`."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """The factory's keyword arguments."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Short names of layers, for taps: {pool5: encoder.4}."""
    width: float = 1.0
    """VGG-16 networks: multiplier of every hidden channel count."""
    batch_norm: bool = False
    """VGG-16 networks: batch normalisation after the convolutions."""
    mean: list[float] = field(default_factory=lambda: list(IMAGENET_MEAN))
    """Per RGB channel, of values in 0..1."""
    std: list[float] = field(default_factory=lambda: list(IMAGENET_STD))
    explicit: list[str] = field(default_factory=list)
    """As data.explicit."""

    def __post_init__(self) -> None:
        self.name = self.factory or self.name
        at_least("network.width", self.width, 0, above=True)
        within("network.width", self.width, 0, 64)
        for what in ("mean", "std"):
            if len(getattr(self, what)) != 3:
                raise InputError(f"network.{what} is {getattr(self, what)}; give three numbers")
            for value in getattr(self, what):
                within(f"network.{what}", value, -1e3, 1e3)
        if min(self.std) <= 0:
            raise InputError(f"network.std is {self.std}; every value must be above 0")


@dataclass
class TrustConfig:
    """Commands that load a run whose network has a factory must be given its name again."""

    factory: str = ""


@dataclass
class PenaltyConfig:
    """Omega(w, w0), applied outside autograd, once for each step of the optimiser."""

    name: str = "none"
    """A key of adapt.penalties.PENALTIES."""
    alpha: float = 0.0
    """Strength on the parameters shared with the start."""
    beta: float = 0.0
    """Strength on new parameters, pulled to 0: beta/2 |w_new|^2."""
    kinds: str = "weights"
    """`weights` = all but biases and norm parameters; `conv` = weights of convolutions and linear
    layers only; `all`."""
    apply: str = "gradient"
    """gradient | decoupled | proximal. `gradient`: added to the objective's, so that momentum and
    Adam's moments take it in. `decoupled`: w -= lr dOmega/dw, as AdamW's decay. `proximal`: behind
    the optimiser's step, the threshold being lr alpha; the one that puts weights of L1-SP and GL-SP
    exactly on their start. The latter two stand outside momentum: with SGD at momentum m an alpha
    of theirs pulls as alpha (1 - m) of the first."""
    epsilon: float = 1e-4
    """L1-SP and GL-SP with `gradient` or `decoupled`: distance of a weight from its start (root
    mean square over a group) below which the pull fades to 0, since the penalty has a kink there.
    lr alpha / epsilon should stay below 1."""
    groups: str = "channel"
    """GL-SP: `channel` = the fan-in of one output channel; `layer` = a whole tensor."""
    fisher: str = ""
    """The Fisher penalties: safetensors file of parameter name -> diagonal Fisher information."""
    fisher_scale: str = "mean"
    """`mean` = divided by its mean over the penalised shared parameters; `raw` = as it stands."""

    def __post_init__(self) -> None:
        at_least("penalty.alpha", self.alpha, 0)
        at_least("penalty.beta", self.beta, 0)
        at_least("penalty.epsilon", self.epsilon, 0, above=True)
        one_of("penalty.kinds", self.kinds, ("weights", "conv", "all"))
        one_of("penalty.apply", self.apply, ("gradient", "decoupled", "proximal"))
        one_of("penalty.groups", self.groups, ("channel", "layer"))
        one_of("penalty.fisher_scale", self.fisher_scale, ("mean", "raw"))


@dataclass
class ScheduleConfig:
    """Optimiser and learning rate; the rate of a step is a pure function of the step."""

    name: str = "poly"
    """poly | step | cosine | constant"""
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    """SGD's momentum; AdamW's first beta."""
    weight_decay: float = 0.0
    """The optimiser's own decay; refused together with a penalty on the same parameters."""
    power: float = 0.9
    """poly: lr (1 - t/steps)^power."""
    milestones: list[float] = field(default_factory=lambda: [0.667])
    """step: shares of the steps after which the rate is multiplied by gamma."""
    gamma: float = 0.1
    warmup: int = 0
    """Steps of linear warm-up."""
    new_multiplier: float = 1.0
    """Learning-rate factor of parameters that the start does not have."""
    shared_multiplier: float = 1.0
    """Learning-rate factor of parameters shared with the start."""

    def __post_init__(self) -> None:
        one_of("schedule.name", self.name, ("poly", "step", "cosine", "constant"))
        one_of("schedule.optimizer", self.optimizer, ("sgd", "adamw"))
        at_least("schedule.lr", self.lr, 0, above=True)
        for what in ("weight_decay", "new_multiplier", "shared_multiplier", "warmup", "power"):
            at_least(f"schedule.{what}", getattr(self, what), 0)
        if not 0 <= self.momentum < 1:
            raise InputError(f"schedule.momentum is {self.momentum}; it must lie in [0, 1)")
        at_least("schedule.gamma", self.gamma, 0, above=True)
        for share in self.milestones:
            within("schedule.milestones", share, 0, 1)


@dataclass
class ShiftConfig:
    """One of the filters in transforms/ with its parameters."""

    name: str = "photocopy"
    parameters: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the filter; checked by the filter before any image is read."""
    distortion: float = 0.0
    """Wanted loss of the teacher in percent (003, section 4.1): a study takes the candidate that
    comes nearest, `calibrate` says which it is; 0 = the parameters as they stand."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """Changes of the parameters that calibration tries, weakest first."""

    def __post_init__(self) -> None:
        within("shift.distortion", self.distortion, 0, 100)


MOST_SCALE = 16
"""Scales must be below, as those of training: 100 for 1.00 would ask for any memory."""


@dataclass
class ProtocolConfig:
    """How an image becomes a prediction: whole by default, in windows, at several scales."""

    window: list[int] = field(default_factory=list)
    """(H, W) of windows that slide over the image; [] = the whole image at once."""
    stride: list[int] = field(default_factory=list)
    """(H, W) from window to window; [] = two thirds of the window."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Factors by which the image is enlarged; their probabilities are averaged."""
    flip: bool = False
    """Average with the prediction of the mirrored image, at every scale."""
    crops: int = 1
    """Classification: 1 = the centre of data.crop's size; 10 = the centre and the corners, each
    also mirrored, their probabilities averaged."""

    def __post_init__(self) -> None:
        size_pair("protocol.window", self.window)
        size_pair("protocol.stride", self.stride)
        if self.stride and not self.window:
            raise InputError(f"protocol.stride is {self.stride}; it needs protocol.window=[H,W]")
        if self.stride and any(s > w for s, w in zip(self.stride, self.window, strict=True)):
            raise InputError(
                f"protocol.stride is {self.stride}, protocol.window {self.window}: windows that do "
                "not touch leave gaps"
            )
        if self.crops not in (1, 10):
            raise InputError(f"protocol.crops is {self.crops}; it must be 1 or 10")
        if not self.scales:
            raise InputError("protocol.scales is empty; [1.0] is the image as it is")
        for scale in self.scales:
            at_least("protocol.scales", scale, 0, above=True)
            if scale >= MOST_SCALE:
                raise InputError(f"protocol.scales is {scale}; it must be below {MOST_SCALE}")

    @property
    def tag(self) -> str:
        """For file names: `` for whole images, `window321x321_scales0.75-1_flip`, say."""
        parts = []
        if self.window:
            parts.append(f"window{'x'.join(map(str, self.window))}")
        if self.stride:
            parts.append(f"stride{'x'.join(map(str, self.stride))}")
        if self.scales != [1.0]:
            parts.append(f"scales{'-'.join(f'{s:g}' for s in self.scales)}")
        parts += [f"crops{self.crops}"] if self.crops != 1 else []
        return "_".join([*parts, *(["flip"] if self.flip else [])])
