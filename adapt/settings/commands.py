"""What each command of scripts/ can be told: a dataclass a command, of config.py's groups."""

from dataclasses import dataclass, field
from pathlib import Path

from adapt.errors import InputError
from adapt.settings.checks import MOST_IMAGES, MOST_WORKERS, at_least, one_of, size_pair, within
from adapt.settings.choices import HASH_BITS, NORMALISATIONS, RESTYLES
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    ProtocolConfig,
    ShiftConfig,
    TrustConfig,
)
from adapt.settings.training import Machine

BETA = 0.01
"""FDA: the smallest of its paper's; larger windows bring clouds into empty parts of an image."""


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
    loss: bool = False
    """Also the mean cross-entropy of whole images with their labels; costs a second pass."""
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
class CalibrateConfig(Machine):
    """Parameters of a filter by which a teacher loses as much as wanted."""

    teacher: str = ""
    network: TrustConfig = field(default_factory=TrustConfig)
    data: DataConfig = field(default_factory=DataConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    split: str = "val"
    refine: int = 4
    """Further trials between the two candidates on either side of the wanted distortion."""
    images: int = 0
    """Evenly spaced images of the split that are measured; 0 = all."""
    seed: int = 0
    """Seeds filters that have one, together with each image's name."""
    out: str = ""
    """JSON file with the table and the choice; empty = <filter>.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("images", self.images, 0)
        at_least("refine", self.refine, 0)
        at_least("seed", self.seed, 0)
        if not self.teacher:
            raise InputError("teacher is empty: give the run that is to be degraded")


@dataclass
class PredictConfig(Machine):
    """What a run's network says of images, as PNG files."""

    run: str = ""
    network: TrustConfig = field(default_factory=TrustConfig)
    images: str = ""
    """Folder of images; empty = a split of the data set."""
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    domain: str = ""
    """d1 | d2; empty = the domain that the run was trained for."""
    split: str = "val"
    out: str = ""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    batch: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("", "d1", "d2"))
        within("batch", self.batch, 1, MOST_IMAGES)
        if not self.run or not self.out:
            raise InputError(f"predict needs run=DIR and out=DIR; got {self.run!r}, {self.out!r}")


@dataclass
class FisherConfig:
    """Diagonal Fisher information of a network, for the penalties that use it."""

    run: str = ""
    """Run whose network and data are taken; or `start` with `network` and `data`."""
    start: str = ""
    """Weights file (.safetensors, or a state_dict) or `coco`."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with. Of pairs it is the old
    images, x1, that count; whole, without augmentation."""
    split: str = "train"
    images: int = 0
    """Evenly spaced images of the split; 0 = all."""
    normalisation: str = "sum"
    """sum | mean: of the log-likelihood over an image's pixels. mean makes F smaller by the square
    of their number."""
    draws: int = 1
    """Label maps drawn from the network's output for each image."""
    seed: int = 0
    """Of the drawn labels, together with each image's name."""
    out: str = ""
    """The .safetensors file."""
    device: str = "auto"
    """auto | cpu | cuda | cuda:N. The precision is always fp32."""
    workers: int = 0
    """Processes that decode images; 0 = in the main process."""

    def __post_init__(self) -> None:
        one_of("normalisation", self.normalisation, NORMALISATIONS)
        for what, low in (("images", 0), ("draws", 1), ("seed", 0)):
            at_least(what, getattr(self, what), low)
        within("workers", self.workers, 0, MOST_WORKERS)
        if bool(self.run) == bool(self.start):
            raise InputError("give run=DIR, or start=FILE network=NAME data=NAME data.root=DIR")
        if Path(self.out).suffix != ".safetensors":
            raise InputError(f"out is {self.out!r}; give a file that ends with .safetensors")


PAIRS = "pairs"
NAMES = ("fisher", "weights", "activations", "source")


@dataclass
class AnalyseConfig(Machine):
    """A run beside the network that it started from, and a Fisher file, layer by layer."""

    run: str = ""
    """The run behind the training; empty = `fisher` alone is looked at."""
    teacher: str = ""
    """The network before it; empty = the one that the run was adapted or fine-tuned from."""
    network: TrustConfig = field(default_factory=TrustConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    analyses: list[str] = field(default_factory=list)
    """fisher | weights | activations | source; [] = all for which something is given."""
    domain: str = ""
    """Of the activations. d1 | d2: both networks see these images; pairs: the one before x1, the
    one behind x2; empty = the domain that the run was trained for."""
    split: str = "val"
    images: int = 0
    """Evenly spaced images of the split for the activations; 0 = all."""
    layers: list[str] = field(default_factory=list)
    """Layers of the activations; [] = the network's main path."""
    fisher: str = ""
    """File of scripts/fisher.py."""
    out: str = ""
    """Folder; empty = <run>/analysis."""
    batch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("domain", self.domain, ("", "d1", "d2", PAIRS))
        for name in self.analyses:
            one_of("analyses", name, NAMES)
        at_least("images", self.images, 0)
        within("batch", self.batch, 1, MOST_IMAGES)
        if not self.run and not (self.fisher and self.out):
            raise InputError("give run=DIR, or fisher=FILE.safetensors with out=DIR")
        for name in self.analyses:
            if not (self.fisher if name == "fisher" else self.run):
                raise InputError(
                    f"analyses={name} needs {'fisher=FILE' if self.run else 'run=DIR'}"
                )

    @property
    def wanted(self) -> list[str]:
        """What is to be computed."""
        given = [n for n in NAMES if (self.fisher if n == "fisher" else self.run)]
        return [n for n in given if not self.analyses or n in self.analyses]


FORMATS = ("safetensors", "onnx")


@dataclass
class ExportConfig:
    """A run's network as files that need nothing of this project, compared with it."""

    run: str = ""
    network: TrustConfig = field(default_factory=TrustConfig)
    out: str = ""
    """Folder; an earlier export of the same run there is replaced."""
    formats: list[str] = field(default_factory=lambda: list(FORMATS))
    """safetensors | onnx"""
    size: list[int] = field(default_factory=list)
    """(H, W) that the ONNX graph's input has; [] = any."""
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    domain: str = ""
    """d1 | d2; empty = the domain that the run was trained for."""
    split: str = "val"
    images: int = 8
    """How many images of the split, evenly spaced, parity is checked on."""

    def __post_init__(self) -> None:
        one_of("domain", self.domain, ("", "d1", "d2"))
        for name in self.formats:
            one_of("formats", name, FORMATS)
        size_pair("size", self.size)
        at_least("images", self.images, 1)
        if not self.run or not self.out:
            raise InputError("give run=DIR (a finished run) and out=DIR (the folder to write)")
        if not self.formats:
            raise InputError(f"formats is empty: give at least one of {', '.join(FORMATS)}")
        if self.size and "onnx" not in self.formats:
            raise InputError("size fixes the ONNX graph's input; formats has no onnx")


@dataclass
class ScanConfig:
    """Which data set is scanned, and what counts as alike."""

    data: DataConfig = field(default_factory=DataConfig)
    near: int = 24
    """Bits, of 256, in which the hashes of two images may differ for a near-duplicate: re-encoded,
    resized, blurred and brightened copies stay within 24, other images differ in about 128. Frames
    of a video lie between, the closer in time the lower. -1 = no search."""
    pairs: bool = True
    """Compare the content of each pair."""
    doubt: float = 0.05
    """Share of the other images that may fit better than the own partner; above, a warning. A
    partner drawn at random is above with probability 1 - doubt."""
    wrong: float = 0.2
    """Above this share, an error."""
    shown: int = 20
    """Findings of one kind printed; the report has all."""
    out: str = "scan.json"
    """The report."""
    workers: int = 0
    """Processes that decode; 0 = one for each core, 1 = this process."""

    def __post_init__(self) -> None:
        within("workers", self.workers, 0, MOST_WORKERS)
        at_least("shown", self.shown, 1)
        if not -1 <= self.near < HASH_BITS // 2:
            raise InputError(
                f"near is {self.near}; it must be in 0..{HASH_BITS // 2 - 1} bits, or -1 = off"
            )
        if not 0 < self.doubt <= self.wrong < 1:
            raise InputError(
                f"doubt is {self.doubt} and wrong {self.wrong}; 0 < doubt <= wrong < 1 is needed"
            )
        if not self.out:
            raise InputError("out is empty: give the JSON file that receives the report")
