"""Runs as the report has them: every file is read once, and a broken one costs its run only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.disk.files import read_text
from adapt.disk.runs import (
    AGAIN,
    CONFIG,
    SUMMARY,
    other_config,
    other_curve,
    read_config,
    read_environment,
    read_metrics,
    read_summary,
    unfinished,
)
from adapt.errors import InputError
from adapt.evaluation.rows import read_evaluation, row_of, run_folders
from adapt.machine.runtime import say
from adapt.training.verdict import Verdict, read_verdict
from viz.report.tables import Entry


@dataclass(frozen=True)
class Record:
    """A finished run."""

    run: Path
    name: str
    """Below the folder that is reported; of that folder itself its own."""
    config: dict[str, Any]
    configuration: str
    """The text of config.yaml."""
    summary: dict[str, Any]
    environment: dict[str, Any]
    lines: list[dict[str, Any]]
    """Of metrics.jsonl."""
    verdict: Verdict | None
    entries: list[Entry]
    """Its evaluations."""

    @property
    def evaluated(self) -> bool:
        """Was it scored while it trained?"""
        return any("evaluation" in line for line in self.lines)

    @property
    def about(self) -> dict[str, str]:
        """Where the run comes from, as the report's table has it."""
        git = self.environment["git"]
        changed = ", changed" if git.get("dirty") else ""
        return {
            "steps": f"{self.summary['steps']:,}",
            "seconds": f"{self.summary['seconds']:,.0f}",
            "commit": f"{git['commit'][:10]}{changed}" if git.get("commit") else "not in git",
            "command": self.environment.get("command") or "not recorded",
        }


def record_of(run: Path, runs: Path) -> Record:
    """A finished run below `runs`; InputError for a file that is not what its command writes."""
    config, summary = read_config(run), read_summary(run)
    entries = []
    for path in sorted(run.glob("metrics_*.json")):
        metrics = read_evaluation(path)
        entries.append(Entry(row_of(run, path, config, summary, metrics), config, metrics))
    return Record(
        run=run,
        name=run.resolve().name if run == runs else name_of(run, runs),
        config=config,
        configuration=read_text(run / CONFIG),
        summary=summary,
        environment=read_environment(run),
        lines=read_metrics(run),
        verdict=read_verdict(run),
        entries=entries,
    )


def name_of(run: Path, runs: Path) -> str:
    """A run as the report calls it: by its path below `runs`, or by its whole path elsewhere."""
    return str(run.relative_to(runs) if run.is_relative_to(runs) else run)


def records_below(runs: Path) -> tuple[list[Record], list[str]]:
    """Every finished run below a folder, in order of their names; and for each that cannot be read
    or is not finished what is wrong with it.

    Raises:
        InputError: no such folder, or no finished run in it that can be read.
    """
    found, broken = [], []
    for run in run_folders(runs):
        try:
            found.append(record := record_of(run, runs))
            wanted = record.summary.get("curve")
            if problem := unfinished(run):
                say(f"warning: {problem}; {AGAIN}")
            if wanted and (problem := other_curve(run, wanted)):
                say(f"warning: {problem}")
            if problem := other_config(run):
                say(f"warning: {problem}")
        except InputError as error:
            broken.append(str(error))
    if not found:
        raise InputError(broken[0] if broken else f"runs: {nothing_in(runs)}")
    begun = sorted(path.parent for path in runs.rglob(CONFIG))
    broken += [f"{run}: its training has not finished" for run in begun
               if not (run / SUMMARY).exists()]  # fmt: skip
    return found, broken


def nothing_in(runs: Path) -> str:
    """Why there is no finished run: the folder may be one that has lost a file."""
    lost = [name for name in (CONFIG, SUMMARY) if not (runs / name).is_file()]
    if len(lost) == 1:
        return f"{runs} has no {lost[0]}: its training has not finished, or it was removed"
    return f"no finished run below {runs}"
