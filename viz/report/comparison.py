"""What a fine-tuning study found, penalty by penalty, beside what the paper printed."""

import statistics
from pathlib import Path
from typing import Any

from adapt.disk.files import read_json, read_mapping, write_json, write_whole
from adapt.disk.runs import read_summary
from adapt.disk.tables import csv_of, text_table
from adapt.errors import InputError
from adapt.evaluation.rows import collect
from adapt.study.fine_tuning import FineTuning
from viz.report.tables import Line, Stat, class_table, entries_of, lines_of, stat

PAPERS = Path(__file__).with_name("papers.json")
COMPARISON, CLASSES = "comparison.json", "comparison_classes.csv"
METRICS = {"miou": "mIoU", "top1": "top-1"}
HEADS = (
    "penalty", "protocol", "score", "", "class acc", "n", "the paper's", "lost on source",
    "the paper's",
)  # fmt: skip
SOURCE_DROP = {"metric": "source_drop", "split": "source"}
PER_CLASS = {"miou": "iou", "top1": "accuracy"}


def compare(study: FineTuning) -> dict[str, Any]:
    """By penalty and protocol: mean, sample standard deviation and number of seeds, the paper's
    figure, and whether the data has the paper's numbers of images and classes, without which the
    two cannot be compared. With the classes, averaged over seeds, as 000's Table II has them. Of a
    network with several heads each has a row, and classes of its own in the columns.
    """
    config, papers = study.config, read_json(PAPERS)
    names = {protocol.tag: name for name, protocol in config.protocols.items()}
    data: dict[str, Any] = next((d for d in papers["data"] if config.name in d["experiments"]), {})
    rows: list[dict[str, Any]] = []
    columns: dict[str, dict[str, float | None]] = {}
    for line in lines_of(entries_of(collect(study.root))):
        metric = next((name for name in METRICS if line.scores[name] is not None), "")
        if not metric or line.split != config.split:
            continue
        first, label = line.entries[0], line.penalty + line.label.removeprefix(line.method)
        protocol = names.get(first.protocol, first.protocol)
        wanted = {"experiment": config.name, "penalty": line.penalty, "protocol": protocol,
                  "metric": metric, "split": line.split}  # fmt: skip
        paper = figure(papers, wanted)
        task = first.metrics.get("task", "")
        classes = [f"{task}: {name}" if task else name for name in first.metrics["classes"]]
        counts = {
            "train": int(read_summary(Path(first.row.run))["samples"]),
            "evaluated": int(first.metrics["images"]),
            "classes": len(classes),
        }
        stats = {name: line.scores[name] for name in (metric, "class_accuracy")}
        rows.append(
            {
                "label": f"{label} {task}".strip(),
                "start": first.config["start"],
                "penalty": line.penalty,
                "protocol": protocol,
                "split": line.split,
                "metric": metric,
                "seeds": [entry.row.seed for entry in line.entries],
                "scores": {name: vars(s) for name, s in stats.items() if s is not None},
                "source_drop": vars(lost) if (lost := source_drop(line, metric)) else None,
                "counts": counts,
                "paper": paper,
                "paper_source_drop": figure(papers, wanted | SOURCE_DROP),
                "same_counts": all(data.get(k) == n for k, n in counts.items()),
            }
        )
        both = {f"{label} {protocol}".strip(): by_class(line, PER_CLASS[metric])}
        if paper and len(paper.get("per_class", ())) == len(classes):
            both[f"{label} {protocol}, paper".strip()] = paper["per_class"]
        for column, values in both.items():
            columns.setdefault(column, {}).update(zip(classes, values, strict=True))
    every = list(dict.fromkeys(name for column in columns.values() for name in column))
    return {
        "experiment": config.name,
        "note": papers["note"],
        "rows": rows,
        "classes": every,
        "columns": {k: [column.get(name) for name in every] for k, column in columns.items()},
        "compared": {name: str(p.relative_to(study.root)) for name, p in study.compared().items()},
    }


def figure(papers: dict[str, Any], wanted: dict[str, str]) -> dict[str, Any] | None:
    """A figure that a paper printed."""
    return next((f for f in papers["figures"] if wanted.items() <= f.items()), None)


def source_drop(line: Line, metric: str) -> Stat | None:
    """What was lost on the data of the network that the line came from (001, Table 5), where the
    study analysed it."""
    found = (Path(entry.row.run) / "analysis/source.json" for entry in line.entries)
    scores = [read_json(path)["scores"].get(metric, {}) for path in found if path.is_file()]
    return stat(score.get("drop") for score in scores)


def by_class(line: Line, score: str) -> list[float | None]:
    """A score of every class: means over seeds."""
    columns = zip(*(entry.metrics["truth"][score] for entry in line.entries), strict=True)
    there = [[v for v in column if v is not None] for column in columns]
    return [statistics.fmean(values) if values else None for values in there]


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table as text."""
    scores = {name: str(Stat(**score)) for name, score in row["scores"].items()}
    metric, lost = row["metric"], row.get("source_drop")
    source = (str(Stat(**lost)), theirs(row, "paper_source_drop")) if lost else ("-", "-")
    return (
        row["label"], row["protocol"] or "-", METRICS[metric], scores[metric],
        scores.get("class_accuracy", "-"), str(len(row["seeds"])), theirs(row, "paper"), *source,
    )  # fmt: skip


def theirs(row: dict[str, Any], name: str) -> str:
    """A paper's figure beside a row, and where it stands."""
    paper = row[name]
    if not paper:
        return "-"
    printed = Stat(paper["mean"], paper["std"] or 0.0, paper["n"])
    other = "" if row["same_counts"] else ", other data"
    return f"{printed} ({paper['table']}, from {paper['start']}){other}"


def text(found: dict[str, Any]) -> str:
    """The table that the study prints."""
    return text_table(table_of(found["rows"]), left=range(len(HEADS)))


def table_of(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Heads and lines; without what was lost on the source's data where no study analysed that."""
    analysed = any(row.get("source_drop") for row in rows)
    return [line[: None if analysed else -2] for line in (HEADS, *map(cells, rows))]


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
    heads, *lines = table_of(found["rows"])
    rows = list(zip(found["classes"], zip(*found["columns"].values(), strict=True), strict=True))
    by_class = ", ".join(kinds)
    classes = class_table(f"By class, {by_class}", list(found["columns"]), rows, CLASSES)
    return found | {"heads": heads, "lines": lines, "by_class": by_class, "table": classes}


def save(found: dict[str, Any], folder: Path) -> None:
    """comparison.json, and the classes as a CSV: a row each, a column for each row of the table."""
    write_json(folder / COMPARISON, found)
    rows = [["class", *found["columns"]]]
    for i, name in enumerate(found["classes"]):
        values = [column[i] for column in found["columns"].values()]
        rows.append([name, *("" if v is None else f"{v:.2f}" for v in values)])
    write_whole(folder / CLASSES, csv_of(rows))
