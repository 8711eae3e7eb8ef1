"""A study from its first training to its report, in one process."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from adapt.data import load, some
from adapt.disk.lock import only_writer
from adapt.evaluation.rows import Row, collect, rows_of, save, text_table
from adapt.machine.runtime import say
from adapt.settings.study import StudyConfig
from adapt.settings.viz import OWN, ReportConfig
from adapt.study.cells import Cell
from adapt.study.checks import check_study
from adapt.study.finetuning import FineTuning, study_of
from adapt.study.grid import Study
from viz.inversion.command import MONTAGE, invert_all
from viz.report import comparison
from viz.report.page import report

NO_REPORT = "none"
"""`report`: the table only."""


def inversions(study: Study) -> Iterator[Cell]:
    """Figure 6: an image as the teacher and each shift's first adapted student see it; in a folder
    of its own with the teacher's maps, and of another objective's students."""
    config = study.config
    if not (config.inversions and config.objectives):
        return
    images = some(load(config.data, config.split), config.inversions).samples
    method = config.inversions_of or next(iter(config.objectives))
    parts = (config.inversion.maps if config.inversion.maps != OWN else "", config.inversions_of)
    folder = "_".join(["inversion", *filter(None, parts)])
    for seed in config.seeds[:1]:
        networks = {"teacher": study.teacher(seed)}
        networks |= {shift: study.run(seed, shift, method) for shift in config.shifts}
        for sample in images:
            out = study.root / folder / sample.name
            settings = replace(config.inversion, device=config.device)
            perform = partial(invert_all, networks, sample.x1, out, settings)
            yield Cell(f"invert {sample.name}", out / MONTAGE, perform)


def study(config: StudyConfig) -> Path:
    """Do every cell that is not done yet; returns the path of the report, or of the table.

    After every evaluation the table so far lies in <runs>/results.json and results.csv, so that
    a killed study has lost one cell at most.

    Raises:
        InputError: wrong configuration, before the first cell where possible; another process does
            this study.
        Stopped: a signal or a diverged training; the same command goes on from there.
    """
    check_study(config)
    planned = study_of(config)
    lock = planned.root / "lock"
    with only_writer(lock, f"runs: another process does the study in {planned.root}"):
        return finished(config, planned)


def finished(config: StudyConfig, planned: Study | FineTuning) -> Path:
    """The report, when everything that is not done yet is."""
    cells = list(planned.cells())
    cells += inversions(planned) if isinstance(planned, Study) else []
    rows: dict[str, Row] = {}
    if planned.root.is_dir():
        rows = {row.metrics: row for row in collect(planned.root)}
    for number, cell in enumerate(cells, 1):
        if cell.result.exists():
            continue
        say(f"[{number}/{len(cells)}] {cell.name}")
        started = time.monotonic()
        cell.perform()
        say(f"[{number}/{len(cells)}] done in {time.monotonic() - started:.0f} s")
        if cell.name.startswith("evaluate"):
            rows |= {row.metrics: row for row in rows_of(cell.result.parent)}
            save(rows.values(), planned.root)
    finished = collect(planned.root)
    save(finished, planned.root)
    if isinstance(planned, FineTuning):
        found = comparison.compare(planned)
        comparison.save(found, planned.root)
        say(f"{comparison.text(found)}\n{found['note']}")
    else:
        say(text_table(finished))
    if config.report == NO_REPORT:
        return planned.root / "results.json"
    out = config.report or str(planned.root / "report.html")
    return report(ReportConfig(runs=str(planned.root), out=out, selection=config.selection))
