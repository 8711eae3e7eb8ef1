"""The report's part about what trainings did to their networks, layer by layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapt.disk.files import read_json
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.settings.choices import ANALYSES as NAMES
from adapt.settings.commands import PAIRS
from viz.report.layer_figures import box_plots, distance_lines, distances_over_time, limits_of
from viz.report.records import check_analysis
from viz.report.sections import PANELS, Section, Table, parts_of

TOGETHER = 4
"""Runs that one box-plot shows side by side."""
TIMED = 18
"""Runs whose distances over time are drawn."""


def found_below(runs: Path, name: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Folder of an analysis, as figures call it -> its JSON, for all below `runs`; and what is
    wrong with those that cannot be read. Other files of this name are passed over."""
    found, broken = {}, []
    for path in sorted(runs.rglob(f"{name}.json")):
        try:
            content = read_json(path)
            if isinstance(content, dict) and "made" in content:
                check_analysis(name, content, str(path))
        except InputError as error:
            broken.append(f"Not shown: {error}")
            continue
        if isinstance(content, dict) and "made" in content:
            folder = path.parent.relative_to(runs)
            found[str(folder.parent if folder.name == "analysis" else folder)] = content
    return found, broken


def source_table(found: Mapping[str, dict[str, Any]]) -> Table:
    """What each run lost on the source (001, Table 5)."""
    names = list(dict.fromkeys(name for content in found.values() for name in content["scores"]))
    heads = ["run", "split", *(f"{n.replace('_', ' ')}: before, behind, lost" for n in names)]
    lines = []
    for run, content in found.items():
        cells = [run, content["made"]["split"]]
        for name in names:
            s = content["scores"].get(name)
            cells.append(f"{s['before']:.1f}, {s['after']:.1f}, {s['drop']:.1f}" if s else "\u2013")
        lines.append([*cells, f"{content['agreement_miou']:.1f}"])
    return Table("Old domain before and behind the training", [*heads, "agreement"], lines)


def timed(trained: Sequence[Path], runs: Path) -> dict[str, list[dict[str, Any]]]:
    """Run -> its lines of metrics.jsonl with distances, of the runs that have any."""
    found = {}
    for run in trained:
        if lines := [line for line in read_metrics(run) if line.get("distances")]:
            found[str(run.relative_to(runs))] = lines
    return found


def analyses_section(runs: Path, trained: Sequence[Path]) -> Section | None:
    """What the analyse command left below `runs`, and the distances that trainings noted; None
    where there is neither."""
    made, found = Section("Layer by layer"), {}
    for name in NAMES:
        found[name], broken = found_below(runs, name)
        made.sentences += broken
    activations: dict[tuple[str, ...], dict[str, list]] = {}
    for name, content in found["activations"].items():
        domain, layers = content["made"]["domain"], content["layers"]
        key = (domain, *(x["layer"] for x in layers))
        activations.setdefault(key, {})[name] = [x["r2"] for x in layers]
    for (domain, *_), alike in activations.items():
        shown = "before on x1, behind on x2" if domain == PAIRS else f"both on images of {domain}"
        for group in parts_of(alike, TOGETHER):
            made.draw(box_plots(group, "R2 of the units' activations", 0, 1.02),
                      "Box-plots of R2 for each layer",
                      f"As Figure 4 of Li, Grandvalet and Davoine (2020): how much of each unit's "
                      f"activation before training explains that behind it, "
                      f"{shown}.")  # fmt: skip
    fishers: dict[tuple[str, ...], dict[str, list]] = {}
    for name, content in found["fisher"].items():
        key = tuple(x["layer"] for x in content["layers"])
        boxes = [x["log10"] for x in content["layers"]]
        if boxes not in fishers.setdefault(key, {}).values():  # several runs looked at one file
            fishers[key][name] = boxes
    for alike in fishers.values():
        for group in parts_of(alike, TOGETHER):
            made.draw(box_plots(group, "log10 of Fisher information"),
                      "Box-plots of log Fisher information for each layer",
                      "As Figure 5: diagonal Fisher information of every parameter; elements that "
                      "are 0 have no logarithm and are left out.")  # fmt: skip
    if found["weights"]:
        rows = {name: content["layers"] for name, content in found["weights"].items()}
        for group in parts_of(rows, 7):
            made.draw(distance_lines(group), "Distance of each layer from its start",
                      "How far each layer went from its start: convolution and linear layers "
                      "joined by a line, norm layers as hollow points; what did not move is "
                      "left out.")  # fmt: skip
    if found["source"]:
        made.tables.append(source_table(found["source"]))
    noted = timed(trained, runs)
    drawn = dict(list(noted.items())[:TIMED])
    limits = limits_of(drawn.values())
    for group in parts_of(drawn, PANELS):
        made.draw(distances_over_time(group, limits),
                  "Distance of each layer from its start over time",
                  "Distance from the start over time, relative to the start's size; first layers "
                  "are dark.")  # fmt: skip
    if len(noted) > TIMED:
        made.sentences.append(f"{len(noted) - TIMED} more runs have distances in metrics.jsonl.")
    return made if made.charts or made.tables or made.sentences else None
