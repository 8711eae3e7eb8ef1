"""Scans of small trees in this process."""

import json
from pathlib import Path
from typing import Any

from adapt.errors import Stopped
from adapt.scan.command import scan
from adapt.settings.commands import ScanConfig
from adapt.settings.groups import DataConfig

Report = dict[str, Any]


def report(out: Path, data: DataConfig, **changes: Any) -> Report:
    """The report of a scan in this process."""
    try:
        scan(ScanConfig(data=data, out=str(out), workers=1, **changes))
        status = 0
    except Stopped as stop:
        status = stop.status
    found: Report = json.loads(out.read_text())
    assert status == (1 if found["errors"] else 0)
    assert found["errors"] + found["warnings"] == len(found["findings"])
    return found
