"""The commands: what each may be told and which function does it, imported when it is called."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

SETTINGS = "adapt.settings"


@dataclass(frozen=True)
class Command:
    """One command; a script of its name in scripts/ calls it."""

    schema: str
    """`module:class` of its settings, below adapt.settings."""
    action: str
    """`module:function` that takes them."""
    several: bool = False
    """Can it run in several processes (torchrun)?"""

    def settings(self) -> type:
        return named(f"{SETTINGS}.{self.schema}")

    def function(self) -> Callable[[Any], Any]:
        return named(self.action)


def named(path: str) -> Any:
    """What `module:name` stands for."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


COMMANDS = {
    "adapt": Command("training:TrainConfig", "adapt.training.adapt:adapt", several=True),
    "analyse": Command("commands:AnalyseConfig", "adapt.analysis.analyse:analyse"),
    "calibrate": Command("commands:CalibrateConfig", "adapt.shift.calibrate:calibrate"),
    "evaluate": Command("commands:EvaluateConfig", "adapt.evaluation.evaluate:evaluate", True),
    "export": Command("commands:ExportConfig", "adapt.export:export"),
    "filters": Command("viz:FiltersConfig", "viz.filters:filters"),
    "fisher": Command("commands:FisherConfig", "adapt.analysis.fisher:fisher"),
    "invert": Command("viz:InvertConfig", "viz.inversion.command:invert"),
    "layers": Command("viz:LayersConfig", "viz.layers.command:layers"),
    "make_distorted_voc": Command("commands:DistortConfig", "adapt.shift.distort:make_distorted"),
    "predict": Command("commands:PredictConfig", "adapt.evaluation.predict:predictions"),
    "report": Command("viz:ReportConfig", "viz.report.page:report"),
    "scan": Command("commands:ScanConfig", "adapt.scan.command:scan"),
    "study": Command("study:StudyConfig", "adapt.cli.study:study"),
    "train": Command("training:TrainConfig", "adapt.training.train:train", several=True),
}
