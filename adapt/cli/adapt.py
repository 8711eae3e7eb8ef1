"""The adapt command: the training, its verdict, and the report of both."""

from pathlib import Path

import adapt.training.adapt
from adapt.machine.processes import on_rank_zero
from adapt.settings.training import TrainConfig
from adapt.settings.viz import ReportConfig

REPORT = "report.html"


def adapt_and_report(config: TrainConfig) -> Path:
    """Adapt as configured; returns the path of the report in the run's folder, which the first
    process writes and says."""
    folder = adapt.training.adapt.adapt(config)
    from viz.report.page import report  # which a training need not wait for

    out = ReportConfig(runs=str(folder), out=str(folder / REPORT))
    return on_rank_zero(lambda: report(out))
