"""The scan command: measure every file once, check, print, write the report."""

import os
from pathlib import Path
from typing import Any

from adapt.disk.files import write_json
from adapt.errors import Stopped
from adapt.machine.runtime import progress, say
from adapt.scan import checks, duplicates
from adapt.scan.content import content
from adapt.scan.findings import ERROR, WARNING, Finding, count, plain, show
from adapt.scan.measure import Record, measured
from adapt.scan.members import Members, members
from adapt.scan.summary import figures, overview
from adapt.settings.commands import ScanConfig
from adapt.settings.mapping import EXPLICIT, as_dict

FORMAT = 1
SMALL = 300
"""Files up to which starting processes takes longer than measuring."""

FAILED = 1
"""Exit status where there are errors."""


def scan(config: ScanConfig) -> Path:
    """Check `config.data` and write the report; returns its path.

    Raises:
        InputError: there is nothing to scan: unknown data set, no such folder.
        Stopped: with status 1 if there are errors; the report is written.
    """
    found = members(config.data)
    records = measure_all(found, config)
    findings, summary = check(found, records, config)
    for line in overview(summary, config.near):
        say(line)
    show(findings, config.shown, config.out)
    path = Path(config.out)
    totals = {"errors": count(findings, ERROR), "warnings": count(findings, WARNING)}
    given = {k: v for k, v in as_dict(config.data).items() if k != EXPLICIT}
    report = {"format": FORMAT, **totals, "data": given, **summary}
    write_json(path, {**report, "findings": plain(findings)})
    verdict = f"{path}: {totals['errors']} errors, {totals['warnings']} warnings"
    if totals["errors"]:
        raise Stopped(verdict, FAILED)
    say(verdict)
    return path


def measure_all(found: Members, config: ScanConfig) -> dict[tuple[Path, str], Record]:
    jobs = checks.jobs(found.samples, described=config.pairs)
    workers = config.workers or (1 if len(jobs) <= SMALL else os.cpu_count() or 1)
    bar = progress(measured(jobs, workers), what="scan", total=len(jobs))
    return {(r.path, r.role): r for r in bar}


def check(
    found: Members, records: dict[tuple[Path, str], Record], config: ScanConfig
) -> tuple[list[Finding], dict[str, Any]]:
    """All findings, each once, and the figures that go with them."""
    every = list(records.values())
    findings = [
        *found.findings,
        *checks.readable(every),
        *checks.sizes(found, records, config.data),
        *checks.modes(every),
        *checks.blank(every),
        *checks.labels(found, records),
        *duplicates.unshifted(found, records),
    ]
    nearest = {}
    for side in ("x1", "x2") if found.paired else ("x1",):
        findings += duplicates.exact(found, records, side)
        more, nearest[side] = duplicates.near(found, records, side, config.near)
        findings += more
    summary = figures(found, records) | {"nearest": nearest}
    if config.pairs and found.paired:
        verdict = content(found, records, config)
        findings += verdict.findings
        summary["pairs"] = verdict.summary
    return list({f.line: f for f in findings}.values()), summary
