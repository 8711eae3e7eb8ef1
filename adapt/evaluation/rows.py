"""The results of all runs below a folder, as rows that tables, figures and reports share."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from glob import escape
from pathlib import Path
from typing import Any

from adapt.disk.files import read_mapping, read_text, write_json, write_whole
from adapt.disk.runs import ABOUT, CONFIG, SUMMARY, read_config, read_summary, unfinished
from adapt.disk.tables import csv_of_records, text_table
from adapt.errors import InputError
from adapt.evaluation.metrics import Scores, distortion
from adapt.machine.runtime import say
from adapt.networks.saved import is_run, start_point_of
from adapt.settings.checks import one_of
from adapt.settings.choices import ADABN, B0, B1, B2, BASELINES, RIDGE, STRETCH, TEACHER
from adapt.settings.mapping import build, check_record
from adapt.settings.protocol import ProtocolConfig


@dataclass(frozen=True)
class Row:
    """One evaluation: what was evaluated, where, and its scores in percent (None = no labels)."""

    shift: str
    """The name of the new domain's folder; empty for scores on D1."""
    method: str
    """One of BASELINES or the name of the objective, with `+AdaBN` or `+fda` where these were
    applied too."""
    penalty: str
    seed: int
    split: str
    miou: float | None
    class_accuracy: float | None
    pixel_accuracy: float | None
    top1: float | None
    """Where an image has one label; there is no mIoU then."""
    agreement: float | None
    """mIoU (or top-1) with the teacher's prediction on the old images as truth; needs no labels."""
    distortion: float | None
    """Of B0: how far the shift degrades the teacher (003, section 4.1)."""
    steps: int
    seconds: float
    """Training time of the run."""
    run: str
    metrics: str
    """The JSON that the row comes from, with the per-class scores."""


def run_folders(runs: Path) -> list[Path]:
    """Every finished run below a folder, in order of their names."""
    if not runs.is_dir():
        raise InputError(f"runs: no such folder: {runs}")
    return sorted(p.parent for p in runs.rglob(CONFIG) if (p.parent / SUMMARY).is_file())


def method_of(config: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The name of an evaluation in tables, from the run's configuration."""
    if config["teacher"]:
        name = str(config["objective"]["name"])
    elif config["domain"] == "d2":
        name = B2 if start_point_of(config) else B1
        if (share := config["data"].get("share", 1.0)) < 1:
            name += f" ({share:.0%} of labels)"
    elif metrics["domain"] == "d1":
        name = TEACHER
    else:
        name = ""
    treated = (
        ADABN if metrics["adabn"] else "",
        RIDGE if metrics.get("ridge") else "",
        metrics.get("restyle", ""),
    )
    label = "+".join(filter(None, (name, *treated))) or B0
    label += f" ({task})" if (task := metrics.get("task")) else ""
    return f"{label} ({tag})" if (tag := protocol_of(metrics)) else label


def protocol_of(metrics: dict[str, Any]) -> str:
    """The tag of an evaluation's protocol; empty for whole images."""
    return build(ProtocolConfig, metrics.get("protocol", {}), "protocol.").tag


def place_of(method: str) -> int:
    """The position of a method in tables: that of BASELINES, however it was evaluated, then several
    of them together, then objectives."""
    name = method.partition(" (")[0]
    if name in BASELINES:
        return BASELINES.index(name)
    return len(BASELINES) + (name.partition("+")[0] not in BASELINES)


def images_path(metrics: Path) -> Path:
    """Beside the record of an evaluation: the CSV with the mIoU of each image."""
    return metrics.with_name(f"images_{metrics.stem.removeprefix('metrics_')}.csv")


def read_image_scores(metrics: Path) -> dict[str, float]:
    """mIoU of each image by name, NaN of one without a labelled pixel.

    Raises:
        InputError: the file is missing, as of evaluations of earlier versions, or not of this kind.
    """
    path = images_path(metrics)
    if not path.is_file():
        raise InputError(f"{path}: no such file; evaluate the run again to have it")
    try:
        rows = csv.DictReader(io.StringIO(read_text(path)))
        return {row["image"]: float(row["miou"] or "nan") for row in rows}
    except (KeyError, ValueError):
        raise InputError(f"{path}: not the scores of images that evaluate writes") from None


@dataclass
class ScoresRecord:
    """Scores in the file of an evaluation, in percent; null = there are none."""

    class_accuracy: float | None
    accuracy: list[float | None]
    miou: float | None = None
    pixel_accuracy: float | None = None
    iou: list[float | None] | None = None
    top1: float | None = None


@dataclass
class EvaluationRecord:
    """What readers need of metrics_*.json; without what has a default it is read as well."""

    data: str
    target: str
    domain: str
    split: str
    adabn: bool
    classes: list[str]
    images: int
    truth: Any
    agreement: Any
    ridge: str = ""
    restyle: str = ""
    restyle_beta: float | None = None
    variant: str = ""
    root: str = ""
    pairs: str = ""
    resize: list[int] = field(default_factory=list)
    fit: str = STRETCH
    task: str = ""
    """Of a network with several heads."""
    loss: float | None = None
    protocol: dict[str, Any] = field(default_factory=dict)


def read_evaluation(path: Path) -> dict[str, Any]:
    """The content of a metrics_*.json.

    Raises:
        InputError: the file is not what evaluate writes.
    """
    found = read_mapping(path)
    check_record(EvaluationRecord, found, str(path))
    build(ProtocolConfig, found.get("protocol", {}), f"{path}: protocol.")
    one_of(f"{path}: domain", found["domain"], ("d1", "d2"))
    for what in ("data", "split", "variant", "task"):  # parts of the names of files
        if set(found.get(what, "")) & set("/\0"):
            raise InputError(f"{path}: {what} is {found[what]!r}, which no file is named by")
    classes = len(found["classes"])
    for what in ("truth", "agreement"):
        if (scores := found[what]) is None:
            continue
        check_record(ScoresRecord, scores, f"{path}: {what}")
        for name in ("iou", "accuracy"):
            if name in scores and (count := len(scores[name] or ())) != classes:
                raise InputError(f"{path}: {what}: {name} has {count} values for {classes} classes")
    return found


def row_of(
    run: Path, path: Path, config: dict[str, Any], summary: dict[str, Any], metrics: dict[str, Any]
) -> Row:
    """The row of one metrics file, from what the run and the file hold."""
    truth, agreement = metrics["truth"] or {}, metrics["agreement"] or {}
    return Row(
        shift=shift_of(metrics) if metrics["domain"] == "d2" else "",
        method=method_of(config, metrics),
        penalty=config["penalty"]["name"],
        seed=config["seed"],
        split=metrics["split"],
        miou=truth.get("miou"),
        class_accuracy=truth.get("class_accuracy"),
        pixel_accuracy=truth.get("pixel_accuracy"),
        top1=truth.get("top1"),
        agreement=agreement.get("miou", agreement.get("top1")),
        distortion=None if config["teacher"] else distortion_of(metrics, path),
        steps=summary["steps"],
        seconds=summary["seconds"],
        run=str(run),
        metrics=str(path),
    )


def shift_of(metrics: dict[str, Any]) -> str:
    """The name of a new domain: of its folder, or of that which the list of its pairs lies in."""
    pairs = Path(metrics.get("pairs", "")).absolute()
    return Path(metrics["target"]).name or f"{pairs.parent.name}/{pairs.name}"


def distortion_of(metrics: dict[str, Any], path: Path) -> float | None:
    """The distortion of a teacher on the new domain, where its scores on D1 lie beside them; None
    where these are 0, of which there is no share."""
    variant = "".join(f"_{tag}" for what in ("variant", "task") if (tag := metrics.get(what)))
    name = f"metrics_{metrics['data']}_d1_{metrics['split']}{variant}"
    changed = metrics["adabn"] or metrics.get("ridge") or metrics.get("restyle")
    if metrics["domain"] == "d1" or changed:
        return None
    every = (read_evaluation(p) for p in sorted(path.parent.glob(f"{escape(name)}*.json")))
    clean = next((one for one in every if alike(one, metrics)), None)
    means = []
    for truth in ((clean or {}).get("truth") or {}, metrics["truth"] or {}):
        miou, accuracy = truth.get("miou"), truth.get("class_accuracy")
        if miou is None or accuracy is None:  # no labels, or none of the pixels has one
            return None
        means.append(Scores(miou, accuracy, math.nan, (), ()))
    return distortion(*means) if means[0].miou else None


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Do two evaluations differ in the domain alone? What one of them does not say counts as equal;
    earlier versions said less."""
    same = ("data", "root", "split", "resize", "fit", "variant", "task", "protocol", "adabn")
    return all(one[key] == other[key] for key in same if key in one and key in other)


def rows_of(run: Path) -> list[Row]:
    """One row for every metrics file of a finished run."""
    config, summary = read_config(run), read_summary(run)
    return [
        row_of(run, path, config, summary, read_evaluation(path))
        for path in sorted(run.glob("metrics_*.json"))
    ]


def collect(runs: Path) -> list[Row]:
    """The rows of every finished run below `runs`."""
    return [row for run in run_folders(runs) for row in rows_of(run)]


def rows_of_teachers(
    rows: Sequence[Row], configs: Mapping[Path, dict[str, Any]] | None = None
) -> list[Row]:
    """What students are judged against where their teacher (of B2 its start) lies elsewhere: the
    teacher's scores on the images that `rows` are of. None of a run that is not there any more;
    one that cannot be read is said. `configs` are those of the rows' runs; None = they are read."""
    shown = {(row.split, *at) for row in rows for at in (("", ""), images_of(row))}
    if configs is None:
        configs = {run: read_config(run) for run in dict.fromkeys(Path(row.run) for row in rows)}
    known = {*map(network_of, configs)}
    found: list[Row] = []
    for start in dict.fromkeys(start_point_of(c) for c in configs.values() if c["domain"] == "d2"):
        run = Path(start)
        there = is_run(start) and (run / CONFIG).is_file() and not unfinished(run)
        if not there or network_of(run) in known:
            continue
        try:
            found += (row for row in rows_of(run) if (row.split, *images_of(row)) in shown)
        except InputError as error:
            say(f"left out, a teacher: {error}")
    return found


def network_of(run: Path) -> str:
    """What tells a run's network from others: the digest of its weights, a copy's, too."""
    about = run / ABOUT
    return str(read_mapping(about).get("sha256") if about.is_file() else run.resolve())


def images_of(row: Row) -> tuple[str, str]:
    """The shift, and where its images lie."""
    return row.shift, read_evaluation(Path(row.metrics))["target"] if row.shift else ""


def save(rows: Iterable[Row], folder: Path) -> None:
    """results.json and results.csv."""
    table = [asdict(row) for row in rows]
    write_json(folder / "results.json", table)
    text = csv_of_records(table, [f.name for f in fields(Row)])
    write_whole(folder / "results.csv", text)


def score_table(rows: Iterable[Row]) -> str:
    """The table that commands print: a line for each shift and method, percent."""
    rows = sorted(rows, key=lambda row: (row.shift, place_of(row.method), row.method, row.seed))
    kinds = dict.fromkeys("mIoU" if row.top1 is None else "top-1" for row in rows)
    table: list[tuple[str, ...]] = [
        ("shift", "method", "|".join(kinds), "class acc", "agreement", "seed")
    ]
    for row in rows:
        scores = (row.miou if row.top1 is None else row.top1, row.class_accuracy, row.agreement)
        cells = ("-" if v is None else f"{v:.1f}" for v in scores)
        table.append((row.shift or "(clean)", row.method, *cells, str(row.seed)))
    return text_table(table, left=(0, 1))
