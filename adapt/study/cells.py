"""The cells of a study: one command each, finished as soon as the file that it ends with exists."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapt.analysis.analyse import analyse
from adapt.analysis.fisher import fisher
from adapt.disk.files import read_json
from adapt.disk.runs import SUMMARY
from adapt.evaluation.evaluate import evaluate, metrics_path
from adapt.settings.commands import (
    AnalyseConfig,
    CalibrateConfig,
    DistortConfig,
    EvaluateConfig,
    FisherConfig,
)
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.settings.training import TrainConfig
from adapt.shift.calibrate import calibrate
from adapt.shift.distort import MANIFEST, make_distorted
from adapt.training.train import train


@dataclass(frozen=True)
class Cell:
    """One command of a study. It is finished as soon as the file `result` exists."""

    name: str
    result: Path
    perform: Callable[[], Any]


def within(root: Path, path: Path) -> Path:
    """The path as cells' names have it: below the study's folder, or another study's as it is."""
    return path.relative_to(root) if path.is_relative_to(root) else path


def training(root: Path, made: TrainConfig) -> Cell:
    run = Path(made.run)
    return Cell(f"train {within(root, run)}", run / SUMMARY, lambda: train(made))


def scoring(root: Path, made: EvaluateConfig) -> Cell:
    """Scores of a run, named by the run and by what it is scored on."""
    run = Path(made.run)
    result = metrics_path(run, made.data, made.domain, made.split, made.variant)
    where = f"{within(root, run)} on {result.stem.removeprefix('metrics_')}"
    return Cell(f"evaluate {where}", result, lambda: evaluate(made))


def informing(made: FisherConfig, name: str) -> Cell:
    return Cell(f"fisher {name}", Path(made.out), lambda: fisher(made))


def comparing(root: Path, made: AnalyseConfig) -> Cell:
    """Maps of x2 beside the teacher's maps of x1."""
    out = Path(made.out)
    return Cell(f"compare {within(root, out)}", out / "activations.json", lambda: analyse(made))


def calibrating(made: CalibrateConfig) -> Cell:
    out = Path(made.out)
    return Cell(f"calibrate {out.stem}", out, lambda: calibrate(made))


def distorting(
    data: DataConfig, shift: ShiftConfig, out: Path, labels: str, workers: int, found: Path | None
) -> Cell:
    """A shifted twin, with the parameters that a calibration found where one is named."""

    def perform() -> None:
        chosen = replace(shift, parameters=read_json(found)["parameters"]) if found else shift
        made = DistortConfig(
            data=data, shift=chosen, out=str(out), labels=labels, workers=workers or 1
        )
        make_distorted(made)

    return Cell(f"distort {out.name}", out / MANIFEST, perform)
