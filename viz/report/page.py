"""One HTML file of all runs below a folder; it opens offline and every number lies in JSON too."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from adapt.disk.files import write_json, write_whole
from adapt.disk.tables import csv_of_records
from adapt.errors import InputError, listing
from adapt.evaluation.rows import rows_of_teachers, save
from adapt.machine.runtime import say
from adapt.settings.choices import B0, B2, TEACHER
from adapt.settings.viz import ReportConfig
from viz.report import comparison
from viz.report.charts import bars, chain_figure, layer_figure
from viz.report.curves import side_by_side, training_curves
from viz.report.error_panels import error_panels
from viz.report.gallery import gallery, montages
from viz.report.layer_section import analyses_section
from viz.report.penalties import Panel, panels_of, selection_of
from viz.report.penalty_section import csv_of_trials, described, penalties_section, rejected
from viz.report.rates import chosen_rates
from viz.report.records import Record, records_below
from viz.report.tables import (
    Entry,
    Line,
    class_table,
    entries_of,
    headline,
    heads_of,
    lines_of,
    per_class,
    shifts_of,
    with_recovered,
)
from viz.report.templates import rendered
from viz.report.verdict_section import verdicts_section

TABLE, CLASSES = "report.json", "per_class.csv"
PENALTIES, TRIALS = "penalties.json", "penalties.csv"
CURVES = 12
"""Training curves that are drawn; every other run's lie in its metrics.jsonl."""


def report(config: ReportConfig) -> Path:
    """Write the report of all finished runs below `config.runs`; returns its path.

    Verdicts without labels come from verdict.json and the pictures beside it. Where runs were
    evaluated, results.json/csv (a line an evaluation), report.json (the tables) and per_class.csv
    go beside them; penalties.json/csv too where runs differ in penalty or frozen layers. What
    cannot be read or drawn is named in the report.

    Raises:
        InputError: no such folder, or no finished run in it that can be read.
    """
    runs, out = Path(config.runs), Path(config.out)
    records, broken = records_below(runs)
    for note in broken:
        say(f"left out of the report: {note}")
    verdicts = verdicts_section(records, config.examples)
    pictured = {record.run for record in records if record.verdict and record.verdict.pictures}
    found = labelled(runs, records, pictured, config)
    inversions, missing = montages(runs)
    compared = comparison.for_report(runs)
    timed = {r.name: r.lines for r in records if r.run in found["firsts"] or not r.entries}
    drawn = [record for record in records if record.lines][:CURVES]
    html = rendered(
        "report.html",
        **found,
        today=date.today().isoformat(),
        runs=str(runs),
        records=records,
        broken=broken,
        machines=machines(records),
        verdicts=verdicts,
        unjudged=listing((r.name for r in records if r.config["teacher"] and not r.verdict), 5),
        comparison=compared,
        errors=error_panels(runs, compared, config.examples),
        analyses=analyses_section(runs, timed),
        montages=inversions,
        missing=missing,
        curves=[
            (r.name, training_curves(r.lines), bool(r.config["teacher"]) and not r.evaluated)
            for r in drawn
        ],
        side_by_side=side_by_side(records),
        more_curves=sum(bool(record.lines) for record in records) - len(drawn),
    )
    write_whole(out, html)
    say(f"report: {out.resolve()}")
    return out


def labelled(
    runs: Path, records: Sequence[Record], pictured: set[Path], config: ReportConfig
) -> dict[str, Any]:
    """What evaluations give report.html, empty where there is none; writes its tables as files.
    Shifts of runs in `pictured` have their pictures with the verdict."""
    own = [entry for record in records for entry in record.entries]
    configs = {record.run: record.config for record in records if record.entries}
    taught = entries_of(rows_of_teachers([entry.row for entry in own], configs))
    entries = with_recovered((*own, *taught))
    selection = config.selection or selection_of(entries)
    panels, every = panels_of(entries, selection), lines_of(entries)
    unchosen, chosen = chosen_rates(entries, selection)
    # Of what is left: two choices that reject each other's would leave nothing.
    left = [entry for entry in entries if entry.row.run not in unchosen]
    dropped = rejected(panels_of(left, selection)) | unchosen
    splits = [line.split for line in every]
    lines = [x for x in every if not dropped.issuperset(e.row.run for e in x.entries)]
    kept = [line.split for line in lines]
    # Figures and sentences are of the split that most lines are of: they never mix splits.
    lines = [line for line in lines if line.split == max(kept, key=kept.count)]
    tables: dict[tuple[str, str], list[Line]] = {}
    for line in sorted(every, key=lambda line: line.split != lines[0].split):
        tables.setdefault((line.split, line.shift), []).append(line)
    galleries, notes = galleries_of(lines, config.examples, pictured)
    return {
        "split": lines[0].split if len(set(splits)) > 1 else "",
        "summary": summary(lines, chosen | described(panels)),
        "tables": [(*place, group, heads_of(group)) for place, group in tables.items()],
        "bars": bars(lines),
        "layers": layer_figure(lines),
        "dates": chain_figure(lines),
        "penalties": penalties_section(panels),
        "classes": class_tables(lines),
        "firsts": {Path(line.entries[0].row.run) for line in every},
        "galleries": galleries,
        "notes": notes,
        "files": written(runs, entries, every, panels) if entries else [],
    }


def written(
    runs: Path, entries: Sequence[Entry], lines: Sequence[Line], panels: Sequence[Panel]
) -> list[str]:
    """Write the tables beside the runs; returns the names of the files."""
    save([entry.row for entry in entries], runs)
    write_json(runs / TABLE, [line.as_dict() for line in lines])
    write_whole(runs / CLASSES, csv_of_records(per_class(entries)))
    if not panels:
        return [TABLE, CLASSES, "results.json", "results.csv"]
    write_json(runs / PENALTIES, [panel.as_dict() for panel in panels])
    write_whole(runs / TRIALS, csv_of_trials(panels))
    return [TABLE, CLASSES, "results.json", "results.csv", PENALTIES, TRIALS]


def machines(records: Iterable[Record]) -> list[str]:
    """Versions and hardware in a line; several where the runs were made on several."""
    found = []
    for about in (record.environment for record in records):
        packages = ", ".join(f"{k} {v}" for k, v in about["packages"].items() if v)
        where = ", ".join(about["gpus"]) or f"CPU, {about['threads']} threads"
        found.append(f"Python {about['python']}, {packages}; {where}; {about['platform']}")
    return list(dict.fromkeys(found))


def summary(lines: list[Line], chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """The facts of report.html's sentence on each shift, from the table; `chosen` says of a run
    which it is among several."""
    method, facts = headline(lines), []
    for shift in shifts_of(lines):
        alike = [x for x in lines if x.shift == shift]
        found = {x.method: x for x in reversed(alike) if x.scores["miou"]}
        if found.keys() >= {B0, method}:
            best, several = found[method], sum(x.method == method for x in alike) > 1
            own = of_its_teacher(best, [x for x in alike if x.method == B0])
            found[B0] = own or found[B0]
            clean = of_its_teacher(best, [x for x in lines if x.method == TEACHER])
            which = f"{best.label}, penalty {best.penalty}" if several else ""
            which = chosen.get(best.entries[0].row.run, which)
            b2 = found[B2].label if sum(x.method == B2 for x in alike) > 1 else B2
            if clean and (score := clean.scores["miou"]):
                facts.append(
                    {"clean": score, "lines": found, "best": best, "which": which, "b2": b2}
                )
    return facts


def of_its_teacher(student: Line, lines: Sequence[Line]) -> Line | None:
    """Of a baseline's lines that of a student's own teacher; the first where none is known to be,
    as in folders that were moved."""
    origins = {entry.origin for entry in student.entries}
    own = (x for x in lines if any(entry.origin in origins for entry in x.entries))
    return next(own, next(iter(lines), None))


def class_tables(lines: list[Line]) -> list[dict[str, Any]]:
    """Per shift, and of several heads without one: classes down, methods across, IoU in percent of
    the first seed; a table for each data set's classes."""
    labelled = [x for x in lines if (x.entries[0].metrics["truth"] or {}).get("iou")]
    several = [x for x in labelled if x.shift or x.entries[0].metrics.get("task")]
    keys = dict.fromkeys((x.shift, tuple(x.entries[0].metrics["classes"])) for x in several)
    made = []
    for shift, classes in keys:
        alike = [x for x in labelled if tuple(x.entries[0].metrics["classes"]) == classes]
        clean = [x for x in alike if x.method == TEACHER]
        columns = (clean[:1] if shift else []) + [x for x in alike if x.shift == shift]
        ious = [x.entries[0].metrics["truth"]["iou"] for x in columns]
        body = [(name, [iou[i] for iou in ious]) for i, name in enumerate(classes)]
        heads = [x.label if x.shift == shift else "teacher on D1" for x in columns]
        made.append(class_table(f"IoU on {shift or 'D1'}, first seed", heads, body, CLASSES))
    return made


def galleries_of(
    lines: list[Line], count: int, pictured: set[Path]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Galleries of the shifts whose runs and images are still there, and a note for the others but
    those of runs in `pictured`, which need no network."""
    method, made, notes = headline(lines), [], []
    for shift in shifts_of(lines):
        entries = {x.method: x.entries[0] for x in reversed(lines) if x.shift == shift}
        found = {name: entry.row for name, entry in entries.items()}
        if method not in found:
            notes.append(f"{shift}: no adapted student, so no pictures.")
            continue
        if Path(found[method].run) in pictured:
            continue
        others = {B2: Path(found[B2].run)} if B2 in found else {}
        row = found[method]
        try:
            target = entries[method].target
            made.append(gallery(shift, Path(row.run), others, row.split, count, target))
        except InputError as error:
            notes.append(f"{shift}: no pictures: {error}")
    return made, notes
