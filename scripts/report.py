"""Run folders -> one HTML file that opens offline."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.commands import ReportConfig
from scripts._cli import main
from viz.report import report

if __name__ == "__main__":
    main("report", ReportConfig, report)
