"""The commands: the settings of each, the choices that it starts from, and its function."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command: `fra NAME`, and a script of its name in scripts/."""

    schema: str
    """`module:class` of its settings, below adapt.settings; the class says what it does."""
    action: str
    """`module:function` that takes them, imported when it is called."""
    groups: dict[str, str] = field(default_factory=dict)
    """Groups of choices that it uses (folders of configs/, CHOICES), each with its default."""
    several: bool = False
    """Can it run in several processes (torchrun)?"""
    dry_run: str = "settings"
    """Function of adapt.cli.dry_run that takes the settings and says what would be done."""

    def settings(self) -> type:
        return named(f"adapt.settings.{self.schema}")

    def function(self) -> Callable[[Any], Any]:
        return named(self.action)


def named(path: str) -> Any:
    """What `module:name` stands for."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


DATA = {"data": "inherit"}
TRAINED = {"network": "deeplab_vgg16", **DATA, "augment": "inherit"}
TAUGHT = {**TRAINED, "teacher_network": "inherit"}

COMMANDS = {
    "train": Command(
        "training:TrainConfig", "adapt.training.train:train",
        {**TAUGHT, "objective": "supervised", "penalty": "l2", "schedule": "poly"},
        several=True, dry_run="training"),
    "adapt": Command(
        "training:AdaptConfig", "adapt.cli.adapt:adapt_and_report",
        {**TAUGHT, "objective": "default", "penalty": "l2_sp", "schedule": "poly"},
        several=True, dry_run="training"),
    "evaluate": Command(
        "commands:EvaluateConfig", "adapt.cli.weights:evaluate",
        {"network": "deeplab_vgg16", **DATA, "protocol": "whole"}, several=True,
        dry_run="evaluation"),
    "predict": Command(
        "commands:PredictConfig", "adapt.cli.weights:predict",
        {"network": "deeplab_vgg16", **DATA, "protocol": "whole"}),
    "make_distorted_voc": Command(
        "commands:DistortConfig", "adapt.shift.distort:make_distorted",
        {**DATA, "shift": "photocopy"}),
    "calibrate": Command(
        "commands:CalibrateConfig", "adapt.shift.calibrate:calibrate",
        {**DATA, "shift": "photocopy"}),
    "study": Command(
        "study:StudyConfig", "adapt.cli.study:study", {**TRAINED, "experiment": "demo"},
        dry_run="study"),
    "report": Command("viz:ReportConfig", "viz.report.page:report"),
    "invert": Command("viz:InvertConfig", "viz.inversion.command:invert"),
    "layers": Command(
        "viz:LayersConfig", "viz.layers.command:layers", {"network": "deeplab_vgg16"}),
    "filters": Command("viz:FiltersConfig", "viz.filters:filters"),
    "analyse": Command("commands:AnalyseConfig", "adapt.analysis.analyse:analyse", DATA),
    "fisher": Command(
        "commands:FisherConfig", "adapt.analysis.fisher:fisher",
        {"network": "deeplab_vgg16", **DATA}),
    "scan": Command("commands:ScanConfig", "adapt.scan.command:scan", DATA),
    "align": Command("align:AlignConfig", "adapt.cli.align:align_and_report", DATA),
    "drift": Command(
        "commands:DriftConfig", "viz.report.drift:drift", {"network": "deeplab_vgg16", **DATA}),
    "merge": Command("commands:MergeConfig", "adapt.training.merge:merge"),
    "export": Command("commands:ExportConfig", "adapt.export:export", DATA),
}  # fmt: skip
