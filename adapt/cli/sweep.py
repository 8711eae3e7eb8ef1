"""What a sweep (-m) leaves: Hydra's record, and a table of its adaptations, the best first."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

UNWRITTEN = 74
"""Exit status of a full or read-only disk: EX_IOERR of sysexits.h."""


class Sweep(Callback):
    """Hydra calls it when a sweep begins, after each of its runs, and when it ends. Runs that a
    launcher started in processes of their own are not in the table."""

    def __init__(self) -> None:
        self.runs: list[tuple[list[str], Path]] = []

    def on_multirun_start(self, config: DictConfig, **given: Any) -> None:
        """Hydra's own record ends in a traceback where it cannot be written."""
        from adapt.disk.files import unwritten, write_whole

        record = Path(config.hydra.sweep.dir) / "multirun.yaml"
        try:
            write_whole(record, OmegaConf.to_yaml(config))
        except OSError as error:
            print(f"error: {unwritten(error)}", file=sys.stderr)
            sys.exit(UNWRITTEN)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **given: Any) -> None:
        if folder := config.get("run"):
            self.runs.append((list(job_return.overrides or ()), Path(str(folder))))

    def on_multirun_end(self, config: DictConfig, **given: Any) -> None:
        from adapt.machine.runtime import say

        if table := ranked(self.runs):
            say(table)


def ranked(runs: Sequence[tuple[list[str], Path]]) -> str:
    """The verdicts of runs (settings, folder) as a table, the highest agreement first, with the
    settings in which they differ; empty without any."""
    from adapt.disk.tables import text_table
    from adapt.errors import InputError
    from adapt.training.verdict import GAIN, read_verdict

    found = []
    common = set.intersection(*(set(given) for given, _ in runs)) if runs else set()
    for given, folder in runs:
        what = " ".join(o for o in given if o not in common and not o.startswith("run="))
        try:
            verdict = read_verdict(folder)
        except InputError:  # the report names what is broken
            continue
        if verdict is not None and verdict.after is not None:
            found.append((verdict.after, what, folder, verdict))
    rows = [("agreement", "gain, 90 %", "verdict", "run", "of the sweep")]
    for after, what, folder, verdict in sorted(found, key=lambda row: -row[0]):
        low, high = verdict.intervals.get(GAIN, (float("nan"),) * 2)
        gain = f"{low:+.1f} to {high:+.1f}" if low == low else "too few pairs"
        rows.append((f"{after:.1f}", gain, verdict.conclusion or "-", str(folder), what))
    return text_table(rows, left=(1, 2, 3, 4)) if found else ""
