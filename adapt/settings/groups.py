"""Groups of settings that several commands share.

YAML under configs/ selects and overrides, Hydra composes (only in adapt/cli) and `mapping.build`
makes these objects. The docstring below a field is what `--help` and docs/settings.md say of it:
its first sentence in `--help`, all of it on the page.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from adapt.errors import InputError, unknown
from adapt.settings.checks import (
    MOST_CLASSES,
    SIZE,
    Count,
    OneOf,
    Range,
    Settings,
    Share,
    Size,
    Strength,
    one_of,
)
from adapt.settings.choices import (
    CLASSIFIERS,
    DATASETS,
    FILTERS,
    FITS,
    NETWORKS,
    PENALTIES,
    SCHEDULES,
    STRETCH,
)

WHICH = (
    "name", "root", "target", "targets", "pairs", "shards", "transforms", "labels", "sbd",
    "download", "coarse", "variant", "classes", "void", "codes", "tasks", "colors", "bands",
    "bands_x2", "range", "range_x2", "imagenet_val", "train_split", "part", "parts", "parts_seed",
    "consecutive", "share",
)  # fmt: skip
"""Fields of DataConfig that say which files are read and what is in them, not what becomes of it;
another data set has its own."""

WHOLE = "all"
"""`data.part`: no part, the whole training split."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Jitter = Annotated[float, Range(0, 1)]
Blur = Annotated[float, Range(0, 50)]


@dataclass
class DataConfig(Settings, where="data."):
    """Which images are read, and how; what is not set comes from the start, teacher or run."""

    name: Annotated[str, OneOf("", *DATASETS)] = ""
    """Data set; empty = the one that the start, the teacher or the evaluated run used."""
    root: str = ""
    """Folder of D1, the old, labelled domain."""
    target: str = ""
    """Folder of D2, the new domain: the same layout and names, other pixels."""
    targets: dict[str, str] = field(default_factory=dict)
    """Several new domains instead, which one student learns at once: {NAME: DIR} as data.target,
    or for `pairs` also {NAME: CSV} as data.pairs. Batches hold them evenly. data.target then picks
    one of them."""
    pairs: str = ""
    """`pairs` only: CSV file with the columns x1,x2[,y1][,y2][,valid], instead of two folders."""
    shards: str = ""
    """`pairs` only: tar archives of KEY.x1.jpg, KEY.x2.jpg[, KEY.y.png]. Give a folder of them, a
    pattern (`/disk*/train-*.tar`), one archive, or a text file that lists them."""
    transforms: str = ""
    """CSV of homographies from x1's pixels to x2's, as `align` writes it. Each x2 is warped into
    the geometry of its x1, and what it does not show there is not valid."""
    labels: str = ""
    """`pairs` only: folder of index masks that match x1 by name, for evaluation."""
    sbd: str = ""
    """`voc` and `d3` only: SBD's folder benchmark_RELEASE/dataset, with its .mat labels."""
    download: bool = False
    """Fetch VOC 2012, Caltech-256 or Food-101 into data.root. SBD too is fetched, into data.sbd,
    where that is given."""
    coarse: bool = False
    """`cityscapes` only: train on train_extra with its coarse labels as well."""
    variant: str = ""
    """`cityscapes` only: ending of the names in data.target, where a frame has several files."""
    imagenet_val: str = ""
    """`dogs120` only: ImageNet's validation images, a folder a class, for split=imagenet_val."""
    classes: list[str] = field(default_factory=list)
    """`pairs` only: names of the classes in the order of their indices. It may stay empty where
    there are no labels."""
    void: list[Annotated[int, Range(0, MOST_CLASSES)]] = field(default_factory=list)
    """Label values that count nowhere, besides 255 (65535 where there are more than 255 classes);
    [] = the data set's own."""
    codes: list[Annotated[int, Range(0, MOST_CLASSES)]] = field(default_factory=list)
    """Label value of each class, in the order of the classes; [] = the data set's own, mostly its
    index."""
    tasks: dict[str, dict[str, list[Annotated[int, Range(0, MOST_CLASSES)]]]] = field(
        default_factory=dict
    )
    """Named label maps of the same images, of which each is a task that a head of the network
    learns. Give {task: {class: [mask values]}}, or {} for the classes that the data set has itself.
    Its masks are the columns y1_TASK and y2_TASK of data.pairs, else those of the data set. One
    task alone makes a network without heads. {} = those of the data set."""
    colors: list[list[Annotated[int, Range(0, 255)]]] = field(default_factory=list)
    """Colour [red, green, blue] of each label value 0, 1, 2, ... of masks that are pictures, so of
    each class; data.void and data.codes count places in this list. [] = masks hold indices."""
    bands: list[Annotated[int, Range(1, 4096)]] = field(default_factory=list)
    """Channels of a file that are read, in their order, the first being 1 as in GDAL: [4,1,2]. An
    alpha channel is one of them. [] = red, green and blue of a file with three, or the grey of one
    three times; alpha is left out."""
    bands_x2: list[Annotated[int, Range(1, 4096)]] = field(default_factory=list)
    """The same of x2; [] = as data.bands."""
    range: list[float] = field(default_factory=list)
    """Lowest and highest value of files that have not 8 bits a value, such as [0,4095] of a camera
    of 12 bits; what lies beyond is cut off. [] = the range of the file's type, which floating point
    has none."""
    range_x2: list[float] = field(default_factory=list)
    """The same of x2; [] = as data.range."""
    follow_links: bool = False
    """Read files that symbolic links in the data's folders point to outside of them."""
    train_split: str = ""
    """List that training reads; empty = the data set's own (`train`; VOC: `trainaug`)."""
    part: str = ""
    """Name of one of data.parts, or `all` = the whole training split; empty = all, or inherited."""
    parts: dict[str, Annotated[float, Range(0, above=True)]] = field(default_factory=dict)
    """Disjoint named shares of the training split, such as {a: 0.5, b: 0.5}, cut by parts_seed."""
    parts_seed: Count = 0
    """Seed of the cut into data.parts and of the draw of data.share."""
    consecutive: bool = False
    """Cut data.parts in the order of the images' names instead. Frames of a video that follow each
    other are alike, so that one drawn by chance says little of new scenes."""
    share: Annotated[float, Range(0, 1, above=True)] = 1.0
    """Share of the training images that is used. It is drawn by parts_seed; a smaller one lies
    within a larger one."""
    resize: list[int] = field(default_factory=list)
    """[height, width] that images and training labels are brought to, each from its own size; [] =
    as they are. [S] makes the shorter side S and keeps the shape. Evaluation upsamples the
    prediction to the label's own size whatever stands here."""
    fit: Annotated[str, OneOf(*FITS)] = STRETCH
    """How an image of another shape is brought to that of data.resize=[height, width]. `stretch`
    brings its sides there apart, `crop` cuts it around its middle, `pad` puts black around it,
    which is void in labels and not valid. What is cut off or added is not scored."""
    crop: Size = field(default_factory=list)
    """Size of the random training crop; [] = the whole image. Smaller images are padded with
    void."""
    flip: bool = True
    """Mirror half of the training images, both sides of a pair alike."""
    scale: list[float] = field(default_factory=list)
    """Bounds [low, high] of the random factor by which training images are enlarged; [] = off."""
    rotate: Annotated[float, Range(0, 180)] = 0.0
    """Largest angle in degrees by which training images are turned, either way."""
    jitter_x1: Jitter = 0.0
    """Largest random change of the colours of x1: brightness, contrast and saturation each by up to
    this share, hue by a quarter of it. It is drawn apart from that of x2."""
    jitter_x2: Jitter = 0.0
    """Largest random change of the colours of x2, as data.jitter_x1."""
    blur_x1: Blur = 0.0
    """Largest standard deviation, in pixels, of the random Gaussian blur of x1."""
    blur_x2: Blur = 0.0
    """Largest standard deviation, in pixels, of the random Gaussian blur of x2."""
    views: Count = 0
    """Number of fixed augmentations that each image has, of which an epoch draws one; 0 = every
    epoch draws anew."""
    cache: bool = False
    """Keep decoded images in memory, one copy for each worker."""
    explicit: list[str] = field(default_factory=list)
    """Fields named on the command line: they replace inherited values even by the default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shorter = self.resize * 2 if len(self.resize) == 1 else self.resize
        SIZE.check("data.resize", shorter)
        for what in ("range", "range_x2"):
            ends = getattr(self, what)
            known = len(ends) == 2 and all(map(math.isfinite, ends)) and ends[0] < ends[1]
            if ends and not known:
                raise InputError(f"data.{what} is {ends}; give [lowest, highest], or []")
        colours = {tuple(colour) for colour in self.colors}
        if len(colours) < len(self.colors) or any(len(colour) != 3 for colour in colours):
            raise InputError(
                f"data.colors is {self.colors}; give [red,green,blue] of each class, all different"
            )
        if self.scale and (len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < 16):
            raise InputError(
                f"data.scale is {self.scale}; give [low, high] with 0 < low <= high < 16, or []"
            )
        for name in ("", WHOLE):
            if name in self.parts:
                raise InputError(f"data.parts: {name!r} cannot name a part; `{WHOLE}` is all of it")
        if (total := sum(self.parts.values())) > 1 + 1e-9:
            raise InputError(f"data.parts add up to {total:g}; at most 1 is there")
        if self.part and self.part not in (WHOLE, *self.parts):
            raise unknown("data.part", self.part, (WHOLE, *self.parts))

    @property
    def cut_seed(self) -> int | None:
        """Seed of the cut into parts; None = in order."""
        return None if self.consecutive else self.parts_seed

    def reading(self, side: str) -> tuple[list[int], list[float]]:
        """Bands and range of x1 or x2."""
        if side == "x2":
            return self.bands_x2 or self.bands, self.range_x2 or self.range
        return self.bands, self.range


@dataclass
class AlsoConfig(DataConfig, where="also."):
    """A second data set, whose images are drawn at random among those of data, each with its own
    label map; what is not set is as in data, but for which files are read."""


@dataclass
class NetworkConfig(Settings, where="network."):
    """The architecture, and the normalisation of images that belongs to it."""

    name: Annotated[str, OneOf(*NETWORKS, others="a classifier of torchvision")] = "deeplab_vgg16"
    """Network; a factory's name where there is one."""
    factory: str = ""
    """Function `package.module:function` that makes a network of your own, instead of name."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the factory."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Short names of layers, for taps: {pool5: encoder.4}."""
    keys: dict[str, str] = field(default_factory=dict)
    """Prefixes in the names of a weights file's tensors, and what stands there in the network:
    {decode_head.conv_seg: classifier.4}. The longest that fits counts, `*` is any one part of a
    name, and an empty prefix takes one off or puts one before all."""
    width: Annotated[float, Range(0, 64, above=True)] = 1.0
    """VGG-16 networks, fcn32s_alexnet and sunet64: multiplier of every hidden channel count."""
    batch_norm: bool = False
    """VGG-16 networks: batch normalisation after the convolutions."""
    pool5a: bool = False
    """deeplab_vgg16: an average pool of stride 1 between pool5 and fc6, which the authors' public
    network has and their paper does not mention."""
    auxiliary: Strength = 0.0
    """Weight, in training, of the cross-entropy of an auxiliary head, the layer `aux_classifier`,
    on the fourth stage. PSPNet (0.4) and torchvision's DeepLabV3 and FCN can have it, and a factory
    of yours. It is not in the finished model. 0 = no such head."""
    one_logit: bool = False
    """One output for two classes, whose sigmoid is the chance of the second. A factory that takes
    the number of classes is called with 1. A weights file tells it by itself."""
    void: bool = False
    """The network's last output, one more than there are classes, means void. Where it is the
    highest, nothing is predicted, which is wrong where there is a label."""
    mean: list[Annotated[float, Range(-1e3, 1e3)]] = field(
        default_factory=lambda: list(IMAGENET_MEAN)
    )
    """Mean of each channel that images are normalised with, in the network's order and range; as
    many numbers as the network sees channels."""
    std: list[Annotated[float, Range(0, 1e6, above=True)]] = field(
        default_factory=lambda: list(IMAGENET_STD)
    )
    """Standard deviation of each channel that images are normalised with."""
    order: Annotated[str, OneOf("rgb", "bgr")] = "rgb"
    """Order in which the network sees three channels; images are read as RGB."""
    range: int = 1
    """Largest value of a channel before mean and std, which are of this range: 1 or 255."""
    preprocessing: str = ""
    """File of others that says mean, std, order and range. It may be transformers'
    preprocessor_config.json, timm's config.json (pretrained_cfg), or the parameters of
    segmentation_models_pytorch as JSON."""
    explicit: list[str] = field(default_factory=list)
    """As data.explicit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factory and self.name != type(self).name:
            one_of(f"{self.where}name", self.name, (*NETWORKS, *CLASSIFIERS))
        self.name = self.factory or self.name
        for theirs, ours in self.keys.items():
            if theirs.count("*") != ours.count("*"):
                raise InputError(f"{self.where}keys.{theirs} is {ours!r}; give each side as many *")
        if self.void and self.one_logit:
            raise InputError(f"{self.where}void is for networks with an output for each class")
        mean, std = f"{self.where}mean", f"{self.where}std"
        if not self.mean or len(self.mean) != len(self.std):
            raise InputError(
                f"{mean} is {self.mean}, {std} {self.std}; give a number of each for every channel"
            )
        if self.order == "bgr" and len(self.mean) != 3:
            raise InputError(f"{self.where}order is bgr; {mean} has {len(self.mean)} channel(s)")
        if self.range not in (1, 255):
            raise InputError(f"{self.where}range is {self.range}; it must be 1 or 255")
        if self.range == 255 and tuple(self.mean) == IMAGENET_MEAN:
            raise InputError(f"{self.where}range is 255; give {mean} and {std} in 0..255 too")

    def outputs(self, classes: int) -> int:
        """How many outputs a network for so many classes is made with."""
        return 1 if self.one_logit else classes + (self.void and classes > 0)


@dataclass
class TeacherNetworkConfig(NetworkConfig, where="teacher_network."):
    """The teacher's architecture and normalisation, where the student is another network; what is
    not set is as in network."""

    name: Annotated[str, OneOf("", *NETWORKS, others="a classifier of torchvision")] = ""
    """Network of a teacher that is a weights file; a run knows its own. Empty = the student's."""


@dataclass
class TrustConfig(Settings):
    """Commands that load a run whose network has a factory must be given its name again."""

    factory: str = ""
    """Factory of the run's network, repeated here as a sign that you trust its code. The variable
    FRA_TRUST of the environment gives that sign once, with patterns: `nets:*,unet:unet`."""


@dataclass
class PenaltyConfig(Settings, where="penalty."):
    """The pull Omega(w, w0) on the weights, applied once for each step of the optimiser."""

    name: Annotated[str, OneOf(*PENALTIES)] = "none"
    """Penalty; none = no pull on the weights."""
    alpha: Strength = 0.0
    """Strength on the parameters shared with the start."""
    beta: Strength = 0.0
    """Strength on new parameters, which are pulled to 0: beta/2 |w_new|^2."""
    kinds: Annotated[str, OneOf("weights", "conv", "all")] = "weights"
    """Parameters that are penalised: `weights` = all but biases and norm parameters, `conv` =
    weights of convolutions, linear layers and attention only."""
    apply: Annotated[str, OneOf("gradient", "decoupled", "proximal")] = "gradient"
    """How the pull enters the optimiser's step. `gradient`: it is added to the objective's, so that
    momentum and Adam's moments take it in. `decoupled`: w -= lr dOmega/dw, as AdamW's decay.
    `proximal`: after the optimiser's step, the threshold being lr alpha; it is the one that puts
    weights of L1-SP and GL-SP exactly on their start. The latter two stand outside momentum: with
    SGD at momentum m an alpha of theirs pulls as alpha (1 - m) of the first."""
    epsilon: Annotated[float, Range(0, above=True)] = 1e-4
    """Distance of a weight from its start below which the pull of L1-SP and GL-SP fades to 0, as
    their penalty has a kink there. It counts with `gradient` or `decoupled` and is the root mean
    square over a group; lr alpha / epsilon should stay below 1."""
    groups: Annotated[str, OneOf("channel", "layer")] = "channel"
    """Groups of GL-SP: `channel` = the fan-in of one output channel, `layer` = a whole tensor."""
    fisher: str = ""
    """Safetensors file of the diagonal Fisher information, for the penalties that use it."""
    fisher_scale: Annotated[str, OneOf("mean", "raw")] = "mean"
    """Scale of the Fisher information: `mean` = divided by its mean over the shared parameters
    that are pulled, `raw` = as it stands."""


@dataclass
class ScheduleConfig(Settings, where="schedule."):
    """The optimiser and its learning rate, which is a pure function of the step."""

    name: Annotated[str, OneOf(*SCHEDULES)] = "poly"
    """Course of the learning rate over the steps."""
    optimizer: Annotated[str, OneOf("sgd", "adamw")] = "sgd"
    """Optimiser of the student's weights."""
    lr: Annotated[float, Range(0, above=True)] = 0.01
    """Learning rate after the warm-up."""
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
    """Momentum of SGD; the first beta of AdamW."""
    weight_decay: Strength = 0.0
    """Decay of the optimiser itself. It is refused together with a penalty on the same
    parameters."""
    power: Strength = 0.9
    """poly: exponent of lr (1 - t/steps)^power."""
    milestones: list[Share] = field(default_factory=lambda: [0.667])
    """step: shares of the steps after which the rate is multiplied by gamma."""
    gamma: Annotated[float, Range(0, above=True)] = 0.1
    """step: factor of the rate at each milestone."""
    warmup: Count = 0
    """Number of steps in which the rate rises linearly to lr."""
    new_multiplier: Strength = 1.0
    """Learning-rate factor of parameters that the start does not have."""
    shared_multiplier: Strength = 1.0
    """Learning-rate factor of parameters shared with the start."""
    clip: Strength = 0.0
    """Largest norm of a batch's gradient, without the penalty's, to which a longer one is scaled
    (gradient clipping); 0 = none."""
    asynchronous: Count = 0
    """Images after which parameters step (gradient accumulation), counted apart for the backbone
    and for each head (UberNet: Kokkinos 2017, Table 3). Until then their gradients are averaged
    over batches, weighted by labelled pixels. Momentum and learning rate follow the images that
    each has seen. 0 = all step with every batch."""


@dataclass
class ShiftConfig(Settings, where="shift."):
    """One of the filters that make a new domain, with its parameters."""

    name: Annotated[str, OneOf(*FILTERS)] = "photocopy"
    """Filter that is applied to the images of the old domain."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the filter, which checks them before any image is read."""
    distortion: Annotated[float, Range(0, 100)] = 0.0
    """Wanted loss of the teacher in percent (003, section 4.1); 0 = the parameters as they stand. A
    study takes the candidate that comes nearest, `calibrate` says which it is."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """Changes of the parameters that calibration tries, weakest first."""
