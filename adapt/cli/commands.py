"""The commands: what each does, its settings, the choices that it starts from, and its function."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from adapt.settings.choices import NETWORKS, SCHEDULES


@dataclass(frozen=True)
class Command:
    """One command; a script of its name in scripts/ calls it."""

    does: str
    """One sentence."""
    schema: str
    """`module:class` of its settings, below adapt.settings."""
    action: str
    """`module:function` that takes them, imported when it is called."""
    groups: dict[str, str] = field(default_factory=dict)
    """Groups of choices that it uses (folders of configs/, CHOICES), each with its default."""
    values: dict[str, Any] = field(default_factory=dict)
    """Settings whose default is another one here than in the dataclass."""
    several: bool = False
    """Can it run in several processes (torchrun)?"""

    def settings(self) -> type:
        return named(f"adapt.settings.{self.schema}")

    def function(self) -> Callable[[Any], Any]:
        return named(self.action)


def named(path: str) -> Any:
    """What `module:name` stands for."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


NETWORK = {"network": "deeplab_vgg16"}
DATA = {"data": "inherit"}
TRAINING = {**NETWORK, **DATA, "augment": "inherit"}

COMMANDS = {
    "train": Command(
        "Train with labels through the one loop: the teacher, B1 (domain=d2) or B2 (domain=d2 "
        "start=RUN).",
        "training:TrainConfig",
        "adapt.training.train:train",
        {**TRAINING, "objective": "supervised", "penalty": "l2", "schedule": "poly"},
        several=True,
    ),
    "adapt": Command(
        "The method: regress the student's maps of x2 onto the teacher's maps of x1, without "
        "labels on the new domain; then say on held-out pairs whether it helped.",
        "training:TrainConfig",
        "adapt.training.adapt:adapt",
        {**TRAINING, "objective": "pool5", "penalty": "l2_sp", "schedule": "poly"},
        {"domain": "d2"},
        several=True,
    ),
    "evaluate": Command(
        "Score run=DIR, or teacher=DIR on domain=d2 (B0; with adabn=true AdaBN; with "
        "restyle=histogram or fda the new images in the old domain's look).",
        "commands:EvaluateConfig",
        "adapt.evaluation.evaluate:evaluate",
        {**DATA, "protocol": "whole"},
        several=True,
    ),
    "predict": Command(
        "Write index masks by run=DIR into out=DIR: of data and split, or of images=FOLDER.",
        "commands:PredictConfig",
        "adapt.evaluation.predict:predictions",
        {**DATA, "protocol": "whole"},
    ),
    "make_distorted_voc": Command(
        "Make the shifted twin of any data set, VOC or another, in out=DIR.",
        "commands:DistortConfig",
        "adapt.shift.distort:make_distorted",
        {**DATA, "shift": "photocopy"},
    ),
    "calibrate": Command(
        "Find the parameters of a filter that degrade teacher=DIR by shift.distortion percent.",
        "commands:CalibrateConfig",
        "adapt.shift.calibrate:calibrate",
        {**DATA, "shift": "photocopy"},
    ),
    "study": Command(
        "Do all cells of a grid, baselines included, then inversions and the report. It can be "
        "stopped and started again.",
        "study:StudyConfig",
        "adapt.cli.study:study",
        {**TRAINING, "experiment": "demo"},
    ),
    "report": Command(
        "Make one HTML file of the run folders below runs=DIR.",
        "viz:ReportConfig",
        "viz.report.page:report",
    ),
    "invert": Command(
        "Go from white noise to what the network of run=DIR sees in image=FILE.",
        "viz:InvertConfig",
        "viz.inversion.command:invert",
    ),
    "layers": Command(
        "List the layers of network=NAME or run=DIR, to choose taps from.",
        "viz:LayersConfig",
        "viz.layers.command:layers",
        NETWORK,
    ),
    "filters": Command(
        "Draw what the filters do into out=DIR, to an image of your own with image=FILE "
        "labels=FILE.",
        "viz:FiltersConfig",
        "viz.filters:filters",
    ),
    "analyse": Command(
        "Compare run=DIR with the network that it started from: activations, weights and scores on "
        "the old domain; with fisher=FILE.safetensors also look at that file.",
        "commands:AnalyseConfig",
        "adapt.analysis.analyse:analyse",
        DATA,
    ),
    "fisher": Command(
        "Compute the diagonal Fisher information of run=DIR on its old training images, or of "
        "start=FILE with network=NAME data=NAME data.root=DIR, into out=FILE.safetensors.",
        "commands:FisherConfig",
        "adapt.analysis.fisher:fisher",
        {**NETWORK, **DATA},
    ),
    "scan": Command(
        "Look at all of a data set or pair list, data=NAME data.root=DIR, before a long run.",
        "commands:ScanConfig",
        "adapt.scan.command:scan",
        DATA,
    ),
    "export": Command(
        "Write the network of run=DIR into out=DIR, in formats that need nothing of this project, "
        "and compare it.",
        "commands:ExportConfig",
        "adapt.export:export",
        DATA,
    ),
}

CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "network": {name: {"name": name} for name in (*NETWORKS, "resnet101")},
    "schedule": {name: {"name": name} for name in SCHEDULES},
    "penalty": {"none": {"name": "none"}},
    "protocol": {"whole": {}},
    "data": {"folders": {"name": "folders"}, "inherit": {}},
    "augment": {"inherit": {}},
}
"""Choices of groups that set a name only, or nothing; those that set more are files of configs/."""
