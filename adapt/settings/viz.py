"""What the commands of viz can be told: inversion, report, filters, layers."""

from dataclasses import dataclass, field
from pathlib import Path

from adapt.errors import InputError
from adapt.settings.checks import at_least, one_of, size_pair
from adapt.settings.groups import (
    NetworkConfig,
    TrustConfig,
)

OWN, TEACHER = "own", "teacher"
"""Whose maps an inversion meets."""


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
    maps: str = "own"
    """own | teacher: whose maps of the image are to be met. With its own (the paper) the image
    itself is what every network is drawn to; with the teacher's, what looks to the student as the
    image does to the teacher."""
    optimizer: str = "lbfgs"
    """sgd (the paper) | adam | lbfgs"""
    lr: float = 0.0
    """0 = the optimiser's default (viz.inversion.style.RATES); lbfgs finds its own step length."""
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
        one_of("maps", self.maps, (OWN, TEACHER))
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


@dataclass
class FiltersConfig:
    """Pictures of what the filters do."""

    out: str = "filters"
    """Folder that receives gallery.png and sweep_<filter>.png."""
    image: str = ""
    """Image to filter; empty = one of the embedded scenes."""
    labels: str = ""
    """Mask of the image, shown as it follows the content; for an embedded scene its own."""
    classes: int = 21
    """Classes of the mask, for its colours."""

    def __post_init__(self) -> None:
        at_least("classes", self.classes, 1)


@dataclass
class LayersConfig:
    """A network's layers, to choose taps from, and how much the maps of successive ones differ."""

    run: str = ""
    """Run whose network is listed; empty = `network`, freshly initialised."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    classes: int = 21
    """Outputs of a network that belongs to no run."""
    size: list[int] = field(default_factory=list)
    """(H, W) of the input; [] = the size that the run was trained at, else 321x321."""
    depth: int = 2
    """How many parts the listed names have at most; 0 = all. Aliases are always listed."""
    out: str = ""
    """Folder for the table as JSON and CSV, and the figure; empty = nothing is written."""
    image: str = ""
    """Image or folder of images for the figure; empty = the run's validation images."""
    images: int = 8
    """How many of them, evenly spaced, are measured; the first is shown."""
    taps: list[str] = field(default_factory=list)
    """Layers of the figure; [] = the network's main path."""
    seed: int = 0
    """Of the fresh initialisation."""
    device: str = "auto"

    def __post_init__(self) -> None:
        size_pair("size", self.size)
        for what, low in (("classes", 1), ("images", 1), ("depth", 0), ("seed", 0)):
            at_least(what, getattr(self, what), low)
