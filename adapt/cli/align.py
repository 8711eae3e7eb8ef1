"""The align command: the alignment, and its report."""

from pathlib import Path

from adapt.align.command import align, align_part
from adapt.disk.portions import Portion
from adapt.errors import Stopped
from adapt.settings.align import AlignConfig
from viz.report.alignment import report

REPORT = "report.html"


def align_and_report(config: AlignConfig) -> Path:
    """Align as configured; returns the path of the report, of a part that of its journal.

    Raises:
        Stopped: with status 1 if nothing is accepted; the report is written.
    """
    if Portion.of_setting(config.part).number:
        return align_part(config)
    found = align(config)
    path = report(found, Path(config.out) / REPORT, config.examples)
    if found.refused:
        raise Stopped(f"{path}: nothing is aligned", status=1)
    return path
