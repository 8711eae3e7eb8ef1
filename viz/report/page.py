"""One HTML file of all runs below a folder; it opens offline and every number lies in JSON too."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import read_config, read_environment, read_metrics
from adapt.disk.tables import csv_of_records
from adapt.errors import InputError
from adapt.evaluation.rows import collect, save
from adapt.machine.runtime import say
from adapt.settings.choices import B0, B2, TEACHER
from adapt.settings.viz import ReportConfig
from viz.pictures import data_uri
from viz.report import comparison
from viz.report.charts import bars, layer_figure, training_curves
from viz.report.gallery import gallery, montages
from viz.report.layer_section import analyses_section
from viz.report.penalties import panels_of
from viz.report.penalty_section import csv_of_trials, described, penalties_section, rejected
from viz.report.tables import Line, entries_of, headline, heads_of, lines_of, per_class, shifts_of

TABLE, CLASSES = "report.json", "per_class.csv"
PENALTIES, TRIALS = "penalties.json", "penalties.csv"
CURVES = 12
"""Training curves that are drawn; every other run's lie in its metrics.jsonl."""


def report(config: ReportConfig) -> Path:
    """Write the report of all finished, evaluated runs below `config.runs`; returns its path.

    Beside the runs go results.json/csv (a line an evaluation), report.json (the tables) and
    per_class.csv; penalties.json/csv too where runs differ in penalty or frozen layers. What cannot
    be drawn is named in the report.

    Raises:
        InputError: no such folder, or no evaluated run in it.
    """
    runs, out = Path(config.runs), Path(config.out)
    rows = collect(runs)
    if not rows:
        raise InputError(
            f"runs: no finished run with metrics_*.json below {runs}; evaluate one first"
        )
    entries = entries_of(rows)
    panels = panels_of(entries, config.selection)
    every, dropped = lines_of(entries), rejected(panels)
    splits = [line.split for line in every]
    lines = [x for x in every if not dropped.issuperset(e.row.run for e in x.entries)]
    kept = [line.split for line in lines]
    # Figures and sentences are of the split that most lines are of: they never mix splits.
    lines = [line for line in lines if line.split == max(kept, key=kept.count)]
    tables: dict[tuple[str, str], list[Line]] = {}
    for line in sorted(every, key=lambda line: line.split != lines[0].split):
        tables.setdefault((line.split, line.shift), []).append(line)
    trained = runs_of(every)
    save(rows, runs)
    write_json(runs / TABLE, [line.as_dict() for line in every])
    write_whole(runs / CLASSES, csv_of_records(per_class(entries)).encode())
    files = [TABLE, CLASSES, "results.json", "results.csv"]
    if panels:
        write_json(runs / PENALTIES, [panel.as_dict() for panel in panels])
        write_whole(runs / TRIALS, csv_of_trials(panels).encode())
        files += [PENALTIES, TRIALS]
    firsts = list(dict.fromkeys(Path(line.entries[0].row.run) for line in every))
    galleries, notes = galleries_of(lines, config.examples)
    inversions, broken = montages(runs)
    curves = [(str(r), found) for r in trained[:CURVES] if (found := read_metrics(r))]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    html = environment.get_template("report.html").render(
        today=date.today().isoformat(),
        runs=str(runs),
        machines=machines(trained),
        split=lines[0].split if len(set(splits)) > 1 else "",
        summary=summary(lines, described(panels)),
        comparison=comparison.for_report(runs),
        tables=[(*place, group, heads_of(group)) for place, group in tables.items()],
        bars=bars(lines),
        layers=layer_figure(lines),
        penalties=penalties_section(panels),
        analyses=analyses_section(runs, firsts),
        classes=class_tables(lines),
        galleries=galleries,
        notes=notes,
        montages=inversions,
        broken=broken,
        curves=[(run, training_curves(found)) for run, found in curves],
        more_curves=len(trained) - len(curves),
        configurations=[
            (str(run), yaml.safe_dump(read_config(run), sort_keys=False)) for run in trained
        ],
        files=files,
    )
    write_whole(out, html.encode())
    say(f"report: {out.resolve()}")
    return out


def runs_of(lines: Iterable[Line]) -> list[Path]:
    """Every run once, in the tables' order."""
    return list(dict.fromkeys(Path(e.row.run) for line in lines for e in line.entries))


def machines(runs: Iterable[Path]) -> list[str]:
    """Versions and hardware in a line; several where the runs were made on several."""
    found = []
    for run in runs:
        about = read_environment(run)
        packages = ", ".join(f"{k} {v}" for k, v in about["packages"].items() if v)
        where = ", ".join(about["gpus"]) or f"CPU, {about['threads']} threads"
        found.append(f"Python {about['python']}, {packages}; {where}; {about['platform']}")
    return list(dict.fromkeys(found))


def summary(lines: list[Line], chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """The facts of report.html's sentence on each shift, from the table; `chosen` says of a run
    which it is among several."""
    method, facts = headline(lines), []
    clean = next((x.scores["miou"] for x in lines if x.method == TEACHER), None)
    for shift in shifts_of(lines):
        alike = [x for x in lines if x.shift == shift]
        found = {x.method: x for x in reversed(alike) if x.scores["miou"]}
        if clean and found.keys() >= {B0, method}:
            best, several = found[method], sum(x.method == method for x in alike) > 1
            which = f"{best.label}, penalty {best.penalty}" if several else ""
            which = chosen.get(best.entries[0].row.run, which)
            facts.append({"clean": clean, "lines": found, "best": best, "which": which})
    return facts


def class_tables(lines: list[Line]) -> list[dict[str, Any]]:
    """Per shift: classes down, methods across, IoU in percent of the first seed; a table for each
    data set's classes."""
    labelled = [x for x in lines if (x.entries[0].metrics["truth"] or {}).get("iou")]
    keys = dict.fromkeys((x.shift, tuple(x.entries[0].metrics["classes"])) for x in labelled)
    made = []
    for shift, classes in [key for key in keys if key[0]]:
        alike = [x for x in labelled if tuple(x.entries[0].metrics["classes"]) == classes]
        clean = [x for x in alike if x.method == TEACHER]
        columns = clean[:1] + [x for x in alike if x.shift == shift]
        ious = [x.entries[0].metrics["truth"]["iou"] for x in columns]
        body = [(name, [iou[i] for iou in ious]) for i, name in enumerate(classes)]
        heads = [x.label if x.shift else "teacher on D1" for x in columns]
        made.append({"shift": shift, "heads": heads, "body": body})
    return made


def galleries_of(lines: list[Line], count: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Galleries of the shifts whose runs and images are still there, and a note for the others."""
    method, made, notes = headline(lines), [], []
    for shift in shifts_of(lines):
        found = {x.method: x.entries[0].row for x in reversed(lines) if x.shift == shift}
        if method not in found:
            notes.append(f"{shift}: no adapted student, so no pictures.")
            continue
        others = {B2: Path(found[B2].run)} if B2 in found else {}
        row = found[method]
        try:
            made.append(gallery(shift, Path(row.run), others, row.split, count))
        except InputError as error:
            notes.append(f"{shift}: no pictures: {error}")
    return made, notes
