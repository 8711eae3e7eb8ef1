"""Settings of the other commands that work on runs and data: a dataclass a command."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from adapt.errors import InputError
from adapt.settings.checks import (
    Batch,
    Count,
    OneOf,
    Part,
    Positive,
    Range,
    Settings,
    Share,
    Size,
    Workers,
)
from adapt.settings.choices import ANALYSES, EXPORTS, HASH_BITS, NORMALISATIONS, RESTYLES
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    ShiftConfig,
    TrustConfig,
)
from adapt.settings.protocol import ProtocolConfig
from adapt.settings.training import Machine

BETA = 0.01
"""FDA: the smallest of its paper's; larger windows bring clouds into empty parts of an image."""
PAIRS = "pairs"
"""`domain` of an analysis: both images of each pair."""


@dataclass
class OfARun(Settings):
    """What the commands that take a trained network and images of its data have in common."""

    run: str = ""
    """Run whose network is taken."""
    network: TrustConfig = field(default_factory=TrustConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    domain: Annotated[str, OneOf("", "d1", "d2")] = ""
    """Domain whose images are read; empty = the one that the run was trained for."""
    split: str = "val"
    """Split or part of the data whose images are read."""


@dataclass
class EvaluateConfig(OfARun, Machine):
    """Score a run, or a teacher on the new images. Give run=DIR, or teacher=DIR on domain=d2: B0,
    with adabn=true AdaBN, with ridge=true a map of a layer's channels that is fitted to pairs, and
    with restyle=histogram or fda the new images in the old domain's look. Both may be weights
    files."""

    network: NetworkConfig = field(default_factory=NetworkConfig)  # type: ignore[assignment]
    """Of weights files; a run knows its own."""
    teacher: str = ""
    """Run whose prediction on the old images gives the label-free agreement; empty = the one that
    the run was adapted or fine-tuned from. Without run it is scored itself (B0)."""
    adabn: bool = False
    """Re-estimate batch-norm statistics on the training images of the domain first (AdaBN)."""
    ridge: bool = False
    """Put a 1x1 map after the layer of a teacher where that undoes most of the shift, fitted in
    closed form on pairs of the training images."""
    restyle: Annotated[str, OneOf("", *RESTYLES)] = ""
    """Way to give the new images the look of D1's training images first; empty = none."""
    restyle_beta: Annotated[float, Range(0, 0.5, above=True, below=True)] = BETA
    """fda: half the replaced window, in shares of the shorter side (the paper: .01, .05, .09)."""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    loss: bool = False
    """Also compute the mean cross-entropy of whole images with their labels."""
    batch: Batch = 8
    """Images in a batch."""
    out: str = ""
    """Folder that receives the files, of a run that cannot be written to; empty = the run's own,
    where reports find them."""

    @property
    def variant(self) -> str:
        """What sets the evaluation apart from the plain one, for file names."""
        restyle = self.restyle
        if restyle == "fda" and self.restyle_beta != BETA:
            restyle += f"{self.restyle_beta:g}"
        treated = ("adabn" if self.adabn else "", "ridge" if self.ridge else "")
        names = (*treated, restyle, self.protocol.tag)
        return "_".join(name for name in names if name)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run and not self.teacher:
            raise InputError("give run=DIR (a trained run) or teacher=DIR domain=d2 (baseline B0)")
        if self.ridge and self.adabn:
            raise InputError("ridge=true is for a teacher as it is: leave out adabn=true")


@dataclass
class PredictConfig(OfARun, Machine):
    """Write index masks by run=DIR, or a weights file, into out=DIR. They are of data and split, or
    of images=FOLDER, LIST or VIDEO, which need no training data."""

    network: NetworkConfig = field(default_factory=NetworkConfig)  # type: ignore[assignment]
    """Of a weights file; a run knows its own."""
    images: str = ""
    """Folder of images, a text file that lists some in its folder, or a video; empty = a split of
    the data set."""
    out: str = ""
    """Folder that receives the index masks."""
    overlay: Share = 0.0
    """Share of the classes' colours in pictures out/overlay/NAME.png; 0 = no pictures."""
    probabilities: bool = False
    """Also write out/probabilities/NAME.npz, float16 (classes, H, W)."""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    batch: Batch = 8
    """Images in a batch."""
    part: Part = ""
    """Part of the images that this call predicts, of as many calls as `i/n` says. `all/n` then sees
    that none is missing. Empty = all in one call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run or not self.out:
            raise InputError(f"predict needs run=DIR and out=DIR; got {self.run!r}, {self.out!r}")


@dataclass
class AnalyseConfig(OfARun, Machine):
    """Compare run=DIR with the network that it started from, layer by layer. It compares
    activations, weights and scores on the old domain; with fisher=FILE.safetensors look at that
    file too."""

    teacher: str = ""
    """The network before the training; empty = the one that the run was adapted or fine-tuned
    from."""
    analyses: list[Annotated[str, OneOf(*ANALYSES)]] = field(default_factory=list)
    """Analyses that are made; [] = all for which something is given."""
    domain: Annotated[str, OneOf("", "d1", "d2", PAIRS)] = ""
    """Domain whose images give the activations; empty = the one that the run was trained for. With
    `pairs` the network before sees x1 and the one after it x2, else both see the same images."""
    images: Count = 0
    """Number of evenly spaced images of the split for the activations; 0 = all."""
    layers: list[str] = field(default_factory=list)
    """Layers of the activations; [] = the network's main path."""
    fisher: str = ""
    """Fisher file, as fisher makes it; it can be looked at without a run."""
    out: str = ""
    """Folder that receives tables and records; empty = RUN/analysis."""
    batch: Batch = 4
    """Images in a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run and not (self.fisher and self.out):
            raise InputError("give run=DIR, or fisher=FILE.safetensors with out=DIR")
        for name in self.analyses:
            if name not in self.possible:
                raise InputError(
                    f"analyses={name} needs {'fisher=FILE' if self.run else 'run=DIR'}"
                )

    @property
    def possible(self) -> list[str]:
        return [n for n in ANALYSES if (self.fisher if n == "fisher" else self.run)]

    @property
    def wanted(self) -> list[str]:
        """What is to be computed."""
        return [n for n in self.possible if not self.analyses or n in self.analyses]


@dataclass
class MergeConfig(Settings):
    """Average students that were adapted apart from one teacher. Those of runs=[DIR,DIR] become
    run=DIR, one network for all their cameras."""

    runs: list[str] = field(default_factory=list)
    """Finished runs whose networks are averaged. Their teacher itself may be one of them, for the
    old camera, and so may an earlier merged run."""
    weights: list[Annotated[float, Range(0, above=True)]] = field(default_factory=list)
    """How much each of the runs counts, in their order; [] = all alike."""
    run: str = ""
    """Folder of the merged run, a new one."""
    network: TrustConfig = field(default_factory=TrustConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs or not self.run:
            raise InputError("give runs=[DIR,DIR] (finished runs) and run=DIR (a new folder)")
        if twice := [run for run in self.runs if self.runs.count(run) > 1]:
            raise InputError(f"runs: {twice[0]!r} stands twice; weights say how much a run counts")
        if self.weights and len(self.weights) != len(self.runs):
            raise InputError(f"weights are {self.weights}; give one for each of {self.runs}, or []")


@dataclass
class ExportConfig(OfARun):
    """Write the network of run=DIR as files that need nothing of this project. They go into out=DIR
    and are compared with the run."""

    out: str = ""
    """Folder that receives the export; an earlier one of the same run there is replaced."""
    formats: list[Annotated[str, OneOf(*EXPORTS)]] = field(default_factory=lambda: list(EXPORTS))
    """File formats that are written."""
    size: Size = field(default_factory=list)
    """Size that the ONNX graph's input has; [] = any, or that of the images where the network takes
    only its own."""
    images: Positive = 8
    """Number of evenly spaced images that parity is checked on."""
    license: str = ""
    """Licence of the exported weights for the model card, as the Hugging Face Hub calls it:
    apache-2.0, cc-by-nc-4.0, other. Empty = the card says that it is unknown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run or not self.out:
            raise InputError("give run=DIR (a finished run) and out=DIR (the folder to write)")
        if not self.formats:
            raise InputError(f"formats is empty: give at least one of {', '.join(EXPORTS)}")
        if self.size and "onnx" not in self.formats:
            raise InputError("size fixes the ONNX graph's input; formats has no onnx")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*|", self.license):
            raise InputError(
                f"license is {self.license!r}; give one of the Hub's names, such as mit, "
                "apache-2.0, cc-by-4.0 or other"
            )


@dataclass
class DistortConfig(Settings):
    """Make the shifted twin of a data set, VOC or another. It has the same layout and names, and
    filtered images."""

    data: DataConfig = field(default_factory=DataConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    out: str = ""
    """Folder that receives the shifted data set."""
    seed: Count = 0
    """Seed of filters that have one, together with each image's name."""
    labels: Annotated[str, OneOf("given", "moved")] = "given"
    """Labels of the twin: `given` = where they were, as in the study, `moved` = with the content
    that ripple and cubism move (void where the image shows none of it)."""
    workers: Workers = 0
    """Number of processes that filter; 0 = one for each core, 1 = this process."""
    shards: Count = 0
    """Number of pairs in a tar archive: `data.shards=out/LIST` reads the old and new images and
    labels of a list. 0 = no archives, but the layout and names of the data set."""
    part: Part = ""
    """Part of the twin that this call makes, of as many calls as `i/n` says. `all/n` then writes
    lists and manifest. Empty = all in one call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out:
            raise InputError("out is empty: give the folder that receives the shifted data set")


@dataclass
class CalibrateConfig(Machine):
    """Find parameters of a filter that degrade teacher=DIR by shift.distortion percent."""

    teacher: str = ""
    """Run that is to be degraded."""
    network: TrustConfig = field(default_factory=TrustConfig)
    data: DataConfig = field(default_factory=DataConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    split: str = "val"
    """Split or part of the data that the teacher's loss is measured on."""
    refine: Count = 4
    """Number of further trials between the two candidates on either side of the wanted
    distortion."""
    images: Count = 0
    """Number of evenly spaced images of the split that are measured; 0 = all."""
    seed: Count = 0
    """Seed of filters that have one, together with each image's name."""
    out: str = ""
    """JSON file that receives the table and the choice; empty = FILTER.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher:
            raise InputError("teacher is empty: give the run that is to be degraded")


@dataclass
class FisherConfig(Settings):
    """Compute the diagonal Fisher information of a network on its old images. It is of run=DIR on
    its training images, or of start=FILE with network=NAME data=NAME data.root=DIR, and goes into
    out=FILE.safetensors."""

    run: str = ""
    """Run whose network and data are taken; or give `start` with `network` and `data`."""
    start: str = ""
    """Weights file (.safetensors, or a state_dict) or `coco`, instead of a run."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with. Of pairs it is the old
    images, x1, that count; whole, without augmentation."""
    split: str = "train"
    """Split or part of the data whose images are used."""
    images: Count = 0
    """Number of evenly spaced images of the split; 0 = all."""
    normalisation: Annotated[str, OneOf(*NORMALISATIONS)] = "sum"
    """What the log-likelihood is over an image's pixels. mean makes F smaller by the square of
    their number."""
    draws: Positive = 1
    """Number of label maps drawn from the network's output for each image."""
    seed: Count = 0
    """Seed of the drawn labels, together with each image's name."""
    out: str = ""
    """The .safetensors file that receives the Fisher information."""
    device: str = "auto"
    """Device that computes: auto | cpu | cuda | cuda:N. The precision is always fp32."""
    workers: Workers = 0
    """Number of processes that decode images; 0 = in the main process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.run) == bool(self.start):
            raise InputError("give run=DIR, or start=FILE network=NAME data=NAME data.root=DIR")
        if Path(self.out).suffix != ".safetensors":
            raise InputError(f"out is {self.out!r}; give a file that ends with .safetensors")


@dataclass
class ScanConfig(Settings):
    """Look at all of a data set or pair list, data=NAME data.root=DIR, before a long run."""

    data: DataConfig = field(default_factory=DataConfig)
    near: Annotated[int, Range(-1, HASH_BITS // 2 - 1)] = 24
    """Bits, of 256, in which the hashes of two near-duplicates may differ; -1 = no search.
    Re-encoded, resized, blurred and brightened copies stay within 24, other images differ in about
    128. Frames of a video lie between, the closer in time the lower."""
    pairs: bool = True
    """Compare the content of each pair, and sample how x2 lies on x1 and how bright both are."""
    statistics: bool = False
    """Print mean and standard deviation of each channel over all pixels of the training images, as
    network.mean and network.std take them."""
    doubt: Annotated[float, Range(0, 1, above=True, below=True)] = 0.05
    """Share of the other images that may fit better than the own partner without a warning. A
    partner drawn at random is above with probability 1 - doubt."""
    wrong: Annotated[float, Range(0, 1, above=True, below=True)] = 0.2
    """Share of the other images above which a better fit is an error."""
    shown: Positive = 20
    """Number of findings of one kind that are printed; the report has all."""
    out: str = "scan.json"
    """JSON file that receives the report."""
    workers: Workers = 0
    """Number of processes that decode; 0 = one for each core, 1 = this process."""
    part: Part = ""
    """Part of the files that this call decodes, of as many calls as `i/n` says. `all/n` then checks
    and writes the report. Empty = all in one call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.doubt > self.wrong:
            raise InputError(
                f"doubt is {self.doubt} and wrong {self.wrong}; 0 < doubt <= wrong < 1 is needed"
            )
        if not self.out:
            raise InputError("out is empty: give the JSON file that receives the report")


@dataclass
class DriftConfig(Machine):
    """Measure layer by layer how far new images are from old ones for a teacher. Give
    teacher=RUN or FILE; the figures, and what helps without a training, go into out=DIR."""

    teacher: str = ""
    """Run or weights file of the network that was trained on the old images."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Of a weights file; a run knows its own."""
    data: DataConfig = field(default_factory=DataConfig)
    """Fields that are set replace those that the run was trained with."""
    pairs: bool = True
    """Take images of one name for the same scene. With false, and where no name is in both folders,
    only the statistics of channels are compared."""
    split: str = ""
    """Split or part of the data that is measured. Empty = the held-out pairs, `val`; without pairs
    all images of both folders."""
    images: Count = 32
    """Number of evenly spaced pairs that are measured, and of training pairs that AdaBN and the
    restylings are estimated on; without pairs of images of either folder. 0 = all."""
    layers: list[str] = field(default_factory=list)
    """Layers that are measured; [] = the network's main path."""
    out: str = ""
    """Folder that receives drift.html, drift.json, drift.csv and channels.csv."""
    batch: Batch = 4
    """Images in a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher or not self.out:
            raise InputError(
                f"drift needs teacher=RUN or FILE and out=DIR; got {self.teacher!r}, {self.out!r}"
            )
