"""What a fine-tuning study found, penalty by penalty, beside what the paper printed."""

import statistics
from pathlib import Path
from typing import Any

from adapt.disk.files import read_json, read_mapping, write_json, write_whole
from adapt.disk.runs import read_summary
from adapt.disk.tables import csv_of, text_table
from adapt.errors import InputError
from adapt.evaluation.rows import collect
from adapt.study.grid import FineTuning
from viz.report.tables import Line, Stat, entries_of, lines_of

PAPERS = Path(__file__).with_name("papers.json")
COMPARISON, CLASSES = "comparison.json", "comparison_classes.csv"
METRICS = {"miou": "mIoU", "top1": "top-1"}
PER_CLASS = {"miou": "iou", "top1": "accuracy"}


def compare(study: FineTuning) -> dict[str, Any]:
    """By penalty and protocol: mean, sample standard deviation and number of seeds, the paper's
    figure, and whether the data has the paper's numbers of images and classes, without which the
    two cannot be compared. With the classes, averaged over seeds, as 000's Table II has them.
    """
    config, papers = study.config, read_json(PAPERS)
    names = {protocol.tag: name for name, protocol in config.protocols.items()}
    data: dict[str, Any] = next((d for d in papers["data"] if config.name in d["experiments"]), {})
    rows: list[dict[str, Any]] = []
    columns: dict[str, list[float | None]] = {}
    classes: list[str] = []
    for line in lines_of(entries_of(collect(study.root))):
        metric = next((name for name in METRICS if line.scores[name] is not None), "")
        if not metric or line.split != config.split:
            continue
        first, label = line.entries[0], line.penalty + line.label.removeprefix(line.method)
        protocol = names.get(first.protocol, first.protocol)
        wanted = {"experiment": config.name, "penalty": line.penalty, "protocol": protocol,
                  "metric": metric, "split": line.split}  # fmt: skip
        paper = next((f for f in papers["figures"] if wanted.items() <= f.items()), None)
        classes = first.metrics["classes"]
        counts = {
            "train": int(read_summary(Path(first.row.run))["samples"]),
            "evaluated": int(first.metrics["images"]),
            "classes": len(classes),
        }
        stats = {name: line.scores[name] for name in (metric, "class_accuracy")}
        rows.append(
            {
                "label": label,
                "start": first.config["start"],
                "penalty": line.penalty,
                "protocol": protocol,
                "split": line.split,
                "metric": metric,
                "seeds": [entry.row.seed for entry in line.entries],
                "scores": {name: vars(s) for name, s in stats.items() if s is not None},
                "counts": counts,
                "paper": paper,
                "same_counts": all(data.get(k) == n for k, n in counts.items()),
            }
        )
        columns[f"{label} {protocol}".strip()] = by_class(line, PER_CLASS[metric])
        if paper and len(paper.get("per_class", ())) == len(classes):
            columns[f"{label} {protocol}, paper".strip()] = paper["per_class"]
    return {
        "experiment": config.name,
        "note": papers["note"],
        "rows": rows,
        "classes": classes,
        "columns": columns,
    }


def by_class(line: Line, score: str) -> list[float | None]:
    """A score of every class: means over seeds."""
    columns = zip(*(entry.metrics["truth"][score] for entry in line.entries), strict=True)
    there = [[v for v in column if v is not None] for column in columns]
    return [statistics.fmean(values) if values else None for values in there]


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table as text."""
    scores = {name: str(Stat(**score)) for name, score in row["scores"].items()}
    paper, metric, printed = row["paper"], row["metric"], "-"
    if paper:
        theirs = Stat(*(paper[name] for name in ("mean", "std", "n")))
        printed = f"{theirs} ({paper['table']}, from {paper['start']})"
        printed += "" if row["same_counts"] else ", other data"
    return (
        row["label"], row["protocol"] or "-", METRICS[metric], scores[metric],
        scores.get("class_accuracy", "-"), str(len(row["seeds"])), printed,
    )  # fmt: skip


def text(found: dict[str, Any]) -> str:
    """The table that the study prints."""
    heads = ("penalty", "protocol", "score", "", "class acc", "n", "the paper's")
    return text_table([heads, *map(cells, found["rows"])], left=range(len(heads)))


def for_report(runs: Path) -> dict[str, Any] | None:
    """What a study left below `runs`, as report.html has it; None = it was no fine-tuning.

    Raises:
        InputError: not what a study writes.
    """
    path = runs / COMPARISON
    if not path.is_file():
        return None
    found = read_mapping(path)
    if not found.keys() >= {"experiment", "note", "rows", "classes", "columns"}:
        raise InputError(f"{path}: not the comparison of a fine-tuning study")
    kinds = sorted({PER_CLASS[row["metric"]] for row in found["rows"]})
    return found | {"lines": list(map(cells, found["rows"])), "by_class": ", ".join(kinds)}


def save(found: dict[str, Any], folder: Path) -> None:
    """comparison.json, and the classes as a CSV: a row each, a column for each row of the table."""
    write_json(folder / COMPARISON, found)
    rows = [["class", *found["columns"]]]
    for i, name in enumerate(found["classes"]):
        values = [column[i] for column in found["columns"].values()]
        rows.append([name, *("" if v is None else f"{v:.2f}" for v in values)])
    write_whole(folder / CLASSES, csv_of(rows).encode())
