"""The scan command: measure every file once, check, print, write the report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from adapt.data.samples import map_fields
from adapt.data.targets import refuse_targets
from adapt.disk.files import write_json
from adapt.disk.portions import Portion
from adapt.disk.tables import text_table
from adapt.errors import Stopped
from adapt.machine.runtime import say
from adapt.scan import checks
from adapt.scan.checks import size_text
from adapt.scan.measure import IMAGE, Records, apart, statistics
from adapt.scan.measured import measure_part, measured
from adapt.scan.members import ERROR, REMEDIES, WARNING, Finding, Members, error, members
from adapt.scan.pairs import content, sample
from adapt.settings.choices import HASH_BITS
from adapt.settings.commands import ScanConfig
from adapt.settings.mapping import EXPLICIT, as_dict

FORMAT = 1
MOST, MANY = 5, 40
"""Lists, sizes, modes and, of more classes than MANY, the commonest that the summary names."""


def scan(config: ScanConfig) -> Path:
    """Check `config.data` and write the report; returns its path. A part only decodes its files,
    and its record is returned.

    Raises:
        InputError: there is nothing to scan: unknown data set, no such folder; or a part is
            missing.
        Stopped: with status 1 if there are errors; the report is written.
    """
    if Portion.of_setting(config.part).number:
        return measure_part(config)
    findings, summary = check(config)
    for line in overview(summary, config.near):
        say(line)
    show(findings, config.shown, config.out)
    counts = Counter(finding.severity for finding in findings)
    errors, warnings = counts[ERROR], counts[WARNING]
    settings = {k: v for k, v in as_dict(config.data).items() if k != EXPLICIT}
    head = {"format": FORMAT, "errors": errors, "warnings": warnings, "data": settings}
    path = Path(config.out)
    write_json(path, {**head, **summary, "findings": [asdict(f) for f in findings]})
    last_line = f"{path}: {errors} errors, {warnings} warnings"
    if errors:
        raise Stopped(last_line, status=1)
    say(last_line)
    return path


def check(config: ScanConfig) -> tuple[list[Finding], dict[str, Any]]:
    """All findings, each once, and the figures that go with them."""
    refuse_targets(config.data, "scan")
    found = members(config.data)
    made = measured(config, found)
    records, broken = apart(made.records)
    remedy = REMEDIES["unreadable"]
    findings = [
        *found.findings,
        *(error("unreadable", r.path, r.error, remedy, role=r.role) for r in broken),
        *checks.sizes(found, records, config.data),
        *checks.modes(records.values()),
        *checks.unused(found, records.values()),
        *checks.blank(records.values()),
        *checks.labels(found, records),
        *checks.unshifted(found, records),
    ]
    nearest = {}
    for side in ("x1", "x2") if found.paired else ("x1",):
        findings += checks.exact(found, records, side)
        more, nearest[side] = checks.near(found, records, side, config.near)
        findings += more
    sizes = Counter(size_text(r.size) for r in records.values() if r.role == IMAGE)
    modes = Counter(f"{r.role} {r.mode}" for r in records.values())
    summary: dict[str, Any] = {
        "lists": {name: len(samples) for name, samples in found.lists.items()},
        "samples": len(found.samples),
        "tasks": sorted(map_fields(found.samples)),
        "files": len(records) + len(broken),
        "sizes": dict(sizes.most_common()),
        "modes": dict(modes.most_common()),
        "labels": {name: shares(found, records, name) for name in found.lists},
        "nearest": nearest,
    }
    if config.statistics:
        jobs = found.images(found.training)
        summary["statistics"] = {
            side: statistics([own[job[0]] for job in jobs[side] if job[0] in own])
            for side, own in made.moments.items()
        }
    if config.pairs and found.paired:
        more, summary["pairs"] = content(found, records, config)
        offset, summary["sample"] = sample(found, records)
        findings += [*more, *offset]
    return list({f.line: f for f in findings}.values()), summary


def shares(members: Members, records: Records, split: str) -> dict[str, float]:
    """Percent of a list's label pixels with each class, with void and with any other value."""
    counts = checks.histogram(members, records, split)
    if not counts:
        return {}
    rows = {name: counts[code] for name, code in zip(members.classes, members.codes, strict=True)}
    rows["void"] = sum(counts[value] for value in members.void)
    rows["other values"] = counts.total() - sum(rows.values())
    return {name: round(100 * (pixels / counts.total()), 4) for name, pixels in rows.items()}


def overview(summary: dict[str, Any], near: int) -> list[str]:
    """The summary as lines; of lists, sizes and modes the first few."""
    first = {}
    for what in ("lists", "sizes", "modes"):
        counts = [f"{name} {n}" for name, n in summary[what].items()]
        more = f" and {len(counts) - MOST} more" if len(counts) > MOST else ""
        first[what] = ", ".join(counts[:MOST]) + more
    lines = [
        f"{summary['samples']} samples ({first['lists']}), {summary['files']} files",
        f"sizes  {first['sizes']}",
        f"modes  {first['modes']}",
    ]
    if labels := {name: percent for name, percent in summary["labels"].items() if percent}:
        rows = [["% of pixels", *(f"{name:>8}" for name in labels)]]
        counted = next(iter(labels.values()))
        *classes, void, others = counted
        shown = MOST if len(classes) > MANY else len(classes)
        most = sorted(classes, key=lambda name: -counted[name])[:shown]
        for row in [*(name for name in classes if name in {*most}), void, others]:
            rows.append([row, *(f"{percent[row]:.2f}" for percent in labels.values())])
        if left := len(classes) - len(most):
            rows.append([f"({left} classes that are rarer)", *("" for _ in labels)])
        lines.append("labels " + text_table(rows).replace("\n", "\n" + " " * len("labels ")))
    if summary["tasks"]:
        lines.append(f"labels {', '.join(summary['tasks'])}: decoded, their values not checked")
    for side, found in summary.get("statistics", {}).items():
        values = [f"network.{k}=[{','.join(map(str, found[k]))}]" for k in ("mean", "std")]
        lines.append(f"{side}     {' '.join(values)}")
    for side, least in summary["nearest"].items():
        if least is not None:
            bits = f"at least {least} of {HASH_BITS} bits (a leak: {near} or less)"
            lines.append(f"leaks  {side} of training and evaluation differ in {bits}")
    pairs = summary.get("pairs", {})
    if "skipped" in pairs:
        lines.append(f"pairs  {pairs['pairs']}, content not compared: {pairs['skipped']}")
    elif pairs:
        lines.append(
            f"pairs  {pairs['pairs']}, each compared with {pairs['compared']} others: these fit "
            f"better in {pairs['doubt_median']:.1%} (median) and "
            f"{pairs['doubt_third_quartile']:.1%} (third quartile) of the cases; "
            f"{pairs['in_doubt']} in doubt"
        )
    lines += [f"pairs  {line}" for line in summary.get("sample", {}).get("lines", ())]
    return lines


def show(findings: Sequence[Finding], most: int, report: str) -> None:
    """Print errors first, at most so many of a kind."""
    of_a_kind = attrgetter("severity", "kind")
    for (severity, kind), group in groupby(sorted(findings, key=of_a_kind), key=of_a_kind):
        every = list(group)
        for finding in every[:most]:
            say(finding.line)
        if len(every) > most:
            say(f"{severity}: {kind}: and {len(every) - most} more, all in {report}")
