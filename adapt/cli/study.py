"""The study command: from the first training to the report, in one process."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from adapt.data import load, some
from adapt.disk.files import read_mapping, write_json
from adapt.disk.lock import only_writer
from adapt.disk.runs import LOST, unfinished
from adapt.errors import DIVERGED, Stopped
from adapt.evaluation.rows import (
    Row,
    collect,
    rows_of,
    rows_of_teachers,
    run_folders,
    save,
    score_table,
)
from adapt.machine.runtime import say
from adapt.settings.study import StudyConfig
from adapt.settings.viz import OWN, ReportConfig
from adapt.study import FineTuning, Study, study_of
from adapt.study.cells import Cell, check_layers, check_study
from adapt.study.record import Record, uses
from viz.inversion.command import MONTAGE, invert_all
from viz.report import comparison
from viz.report.page import report

NO_REPORT = "none"
"""`report`: the table only."""


def inversions(study: Study) -> Iterator[Cell]:
    """Figure 6: images as the teacher and the first adapted student of each shift see them. With
    the teacher's maps, or students of another objective, they lie in a folder of their own."""
    config = study.config
    if not (config.inversions and config.objectives):
        return
    images = some(load(config.data, config.split), config.inversions).samples
    method = config.inversions_of or next(iter(config.objectives))
    parts = (config.inversion.maps if config.inversion.maps != OWN else "", config.inversions_of)
    folder = "_".join(["inversion", *filter(None, parts)])
    for seed in config.seeds[:1]:
        students = {shift: study.first(seed, shift, method) for shift in config.shifts}
        networks = {"teacher": study.teacher(seed)} | students
        made = replace(config.inversion, device=config.device, run=",".join(map(str, students)))
        for sample in images:
            out = study.root / folder / sample.name
            perform = partial(invert_all, networks, sample.x1, out, made)
            yield Cell(f"invert {sample.name}", out / MONTAGE, perform, made)


def study(config: StudyConfig) -> Path:
    """Do every cell that is not done yet; returns the path of the report, or of the table.

    After every evaluation the table so far lies in <runs>/results.json and results.csv, so that
    a killed study has lost one cell at most.

    Raises:
        InputError: the configuration is wrong, which is found before the first cell where possible,
            or another process does this study.
        Stopped: a signal came, and the same command goes on from there; or trainings diverged, and
            all that does not need them is done.
    """
    check(config)
    planned = study_of(config)
    root = planned.root
    with only_writer(root / "lock", f"runs: another process does the study in {root}"):
        do_cells(planned)
        rows = collect(root)
        rows += rows_of_teachers(rows) if config.source else []
        save(rows, root)
        if isinstance(planned, FineTuning):
            found = comparison.compare(planned)
            comparison.save(found, root)
            say(f"{comparison.text(found)}\n{found['note']}")
        else:
            say(score_table(rows))
        if config.report == NO_REPORT:
            return root / "results.json"
        out = config.report or str(root / "report.html")
        return report(ReportConfig(runs=str(root), out=out, selection=config.selection))


def check(config: StudyConfig) -> None:
    """Check what can be known without training, the layers that are inverted among it.

    Raises:
        InputError: for the first that is wrong.
    """
    check_study(config)
    inverted = config.inversion.taps if config.inversions and config.objectives else ()
    check_layers(config, inverted if isinstance(inverted, dict | list) else ())


def cells_of(planned: Study | FineTuning) -> list[Cell]:
    """All cells of a study in the order of doing, done or not."""
    return [*planned.cells(), *(inversions(planned) if isinstance(planned, Study) else ())]


def do_cells(planned: Study | FineTuning) -> None:
    """Do the cells that are not done yet, and keep the table of results up to date. A training that
    diverges is noted in LOST and passed over, with what would be made from it.

    Raises:
        Stopped: a signal came, or, in the end, trainings diverged.
    """
    cells, record = cells_of(planned), Record(planned.folders)
    record.check(cells)
    rows: dict[str, Row] = {}
    if planned.root.is_dir():
        known = (run for run in run_folders(planned.root) if not unfinished(run))
        rows = {row.metrics: row for run in known for row in rows_of(run)}
    lost: dict[Path, str] = {}
    for number, cell in enumerate(cells, 1):
        if cell.done or any(uses(cell, run) for run in lost):
            continue
        say(f"[{number}/{len(cells)}] {cell.name}")
        started = time.monotonic()
        try:
            cell.perform()
        except Stopped as stopped:
            if stopped.status != DIVERGED:
                raise
            lost[cell.made] = f"{cell.name}: {stopped}"
            note, said = planned.root / LOST, {str(planned.name(cell.made)): str(stopped)}
            write_json(note, (read_mapping(note) if note.is_file() else {}) | said)
            say(f"warning: {lost[cell.made]}. The study goes on without it")
            continue
        record.add(cell)
        say(f"[{number}/{len(cells)}] done in {time.monotonic() - started:.0f} s")
        if cell.name.startswith("evaluate"):
            rows |= {row.metrics: row for row in rows_of(cell.result.parent)}
            save(rows.values(), planned.root)
    if lost:
        raise Stopped(f"the rest is done, but {'; '.join(lost.values())}", DIVERGED)
