"""Settings of the commands that make pictures: invert, report, filters and layers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from adapt.errors import InputError
from adapt.settings.checks import (
    AUTO,
    BY_PAIRS,
    Count,
    OneOf,
    Positive,
    Precision,
    Settings,
    Size,
    Strength,
    Taps,
)
from adapt.settings.groups import NetworkConfig, TrustConfig

OWN, TEACHER = "own", "teacher"
"""Whose maps an inversion meets."""
RELATIVE, PAPER = "relative", "paper"
"""How an inversion measures the difference of maps."""


@dataclass
class InvertConfig(Settings):
    """Go from white noise to what the network of run=DIR sees in image=FILE. This is style
    inversion."""

    run: str = ""
    """Run whose network is inverted."""
    network: TrustConfig = field(default_factory=TrustConfig)
    image: str = ""
    """Image whose maps are met."""
    loss: Annotated[str, OneOf(RELATIVE, PAPER)] = RELATIVE
    """`relative`: every term is divided by the size of what is to be met, so that all layers weigh
    the same. `paper`: as 003 prints it, 1/2 |F - F'|^2 for the content and Gatys et al.'s
    |G - G'|^2 / (4 C^2 n^2) for the style, summed over the layers; it goes with `optimizer=sgd
    tv=0`."""
    out: str = ""
    """Folder that receives the pictures; empty = RUN/inversion/IMAGE."""
    taps: Annotated[Any, Taps()] = ""
    """Layers whose maps and Gram matrices are met. Those without a weight weigh the same. Empty =
    pool1 to pool5 or, of a network without these, `auto`: the last map of each stride, and the last
    one before the classifier; the choice is printed."""
    content: Strength = 1.0
    """Weight of the content term (003, section 3.3)."""
    style: Strength = 1.0
    """Weight of the Gram term."""
    tv: Strength = 0.05
    """Weight of total variation."""
    maps: Annotated[str, OneOf(OWN, TEACHER)] = "own"
    """Network whose maps of the image are to be met. With its own (the paper) the image itself is
    what every network is drawn to; with the teacher's, what looks to the student as the image does
    to the teacher."""
    optimizer: Annotated[str, OneOf("sgd", "adam", "lbfgs")] = "lbfgs"
    """Optimiser of the pixels; sgd is the paper's."""
    lr: Strength = 0.0
    """Learning rate of sgd and adam; 0 = the optimiser's default. lbfgs finds its own step
    length."""
    steps: Positive = 150
    """Number of optimiser steps; for lbfgs of evaluations of the loss."""
    size: Size = field(default_factory=list)
    """Size that the image is brought to; [] = the one that the run was trained at."""
    seed: Count = 0
    """Seed of the white noise."""
    device: str = "auto"
    """Device that computes: auto | cpu | cuda | cuda:N."""
    precision: Precision = "auto"
    """Precision of the network; auto = bf16 where the device computes it natively, but fp32 for
    lbfgs, whose line search and curvature are differences of losses and gradients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        partners = list(self.taps.values()) if isinstance(self.taps, dict) else []
        if self.taps == BY_PAIRS or any(isinstance(partner, str) for partner in partners):
            raise InputError(
                f"taps is {self.taps!r}; an inversion has no pairs and no second network: give "
                f"{AUTO} | [layer, ...] | {{layer: weight, ...}}"
            )
        if self.content == self.style == 0:
            raise InputError("content and style are both 0: there is nothing to invert")
        if self.loss == PAPER and (self.optimizer != "sgd" or self.tv):
            raise InputError(
                f"loss=paper is SGD without total variation, but optimizer={self.optimizer} "
                f"tv={self.tv:g}: give optimizer=sgd tv=0"
            )


@dataclass
class ReportConfig(Settings):
    """Make one self-contained HTML file of the run folders below runs=DIR."""

    runs: str = "runs"
    """Folder whose runs are reported."""
    network: TrustConfig = field(default_factory=TrustConfig)
    out: str = "report.html"
    """HTML file that receives the report."""
    examples: Count = 3
    """Number of images that are shown with their predictions for every shift."""
    selection: str = ""
    """Split or part that alpha and beta are chosen on; empty = the part of the training data that
    runs were scored on but not trained on, where there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not Path(self.out).name:
            raise InputError(f"out is {self.out!r}; give the HTML file that receives the report")


@dataclass
class FiltersConfig(Settings):
    """Draw what the filters do into out=DIR. image=FILE labels=FILE takes an image of your own."""

    out: str = "filters"
    """Folder that receives gallery.png and sweep_FILTER.png."""
    image: str = ""
    """Image to filter; empty = one of the embedded scenes."""
    labels: str = ""
    """Mask of the image, shown as it follows the content; for an embedded scene its own."""
    classes: Positive = 21
    """Number of classes of the mask, for its colours."""


@dataclass
class LayersConfig(Settings):
    """List the layers of network=NAME or run=DIR, to choose taps from. It also measures how much
    the maps of successive ones differ."""

    run: str = ""
    """Run whose network is listed; empty = `network`, freshly initialised."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    classes: Positive = 21
    """Number of outputs of a network that belongs to no run."""
    size: Size = field(default_factory=list)
    """Size of the input; [] = the one that the run was trained at, else 321x321."""
    depth: Count = 2
    """Number of parts that the listed names have at most; 0 = all. Aliases are always listed."""
    out: str = ""
    """Folder for the table as JSON and CSV, and the figure; empty = nothing is written."""
    image: str = ""
    """Image or folder of images for the figure; empty = the run's validation images."""
    images: Positive = 8
    """Number of them, evenly spaced, that are measured; the first is shown."""
    taps: list[str] = field(default_factory=list)
    """Layers of the figure; [] = the network's main path."""
    seed: Count = 0
    """Seed of the fresh initialisation."""
    device: str = "auto"
    """Device that computes: auto | cpu | cuda | cuda:N."""
