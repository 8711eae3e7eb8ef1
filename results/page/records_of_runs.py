"""Finished runs as small records to be committed: what each was, what it reached, its curves.

A record is one JSON file for each study and seed. It holds no weights and no images, and everything
that the page of results prints is computed from such files alone.
"""

import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from adapt.disk.files import finite, read_json, write_whole
from adapt.disk.runs import CONFIG, ENVIRONMENT, SUMMARY, read_config, read_metrics
from adapt.errors import InputError
from adapt.evaluation.rows import method_of, row_of, run_folders
from adapt.machine.runtime import processor
from adapt.shift.distort import MADE_WITH

FORMAT = 1
TEACHER, FEATURES = "teacher", "features"
DIGITS = 3
LOSSES = 10
"""Points of a loss curve that a record keeps."""
SETTINGS = ("steps", "batch", "bn", "freeze", "ema")


def record(runs: Path, out: Path) -> list[Path]:
    """Write <out>/<name of runs>_seed<k>.json for each seed of a study; returns the files.

    Raises:
        InputError: no folder seed<k> with a finished run in it.
    """
    seeds = sorted(p for p in runs.glob("seed*") if p.is_dir() and run_folders(p))
    if not seeds:
        raise InputError(f"runs: {runs} has no folder seed0, seed1, … with finished runs")
    made = []
    for folder in seeds:
        path = out / f"{runs.name}_{folder.name}.json"
        write_whole(path, in_lines(finite(seed_record(folder, runs.name))).encode())
        made.append(path)
    return made


def in_lines(record: dict[str, Any]) -> str:
    """JSON with a line for each run and each evaluation, so that what changes is easy to see."""
    parts = []
    for key, value in record.items():
        if isinstance(value, dict) and value:
            inner = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
            text = "{\n" + ",\n".join(inner) + "\n }"
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(v)}" for v in value) + "\n ]"
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def seed_record(folder: Path, study: str) -> dict[str, Any]:
    """All that a study found with one seed.

    `protocol` is `disjoint` where students see pairs that their teacher did not learn from.
    """
    finished = run_folders(folder)
    configs = {run: read_config(run) for run in finished}
    seed = next(iter(configs.values()))["seed"]
    evaluations = [
        evaluation_of(run, path, folder)
        for run in finished
        for path in sorted(run.glob("metrics_*.json"))
    ]
    scored = (path for run in finished for path in run.glob("metrics_*.json"))
    classes: list[str] = next((read_json(path)["classes"] for path in scored), [])
    return {
        "format": FORMAT,
        "study": study,
        "seed": seed,
        "protocol": protocol_of(configs.values()),
        "classes": classes,
        "shifts": shifts_of(folder.parent),
        "machines": machines_of(finished),
        "runs": {run.relative_to(folder).as_posix(): run_of(run, configs[run]) for run in finished},
        "evaluations": evaluations,
        "features": features_of(folder),
    }


def protocol_of(configs: Iterable[dict[str, Any]]) -> str:
    """`shared` where everything was trained on one part of the data, as in 003; else `disjoint`."""
    return "shared" if len({config["data"]["part"] for config in configs}) == 1 else "disjoint"


def run_of(run: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What a training was, in a few words and numbers."""
    summary, metrics = read_json(run / SUMMARY), read_metrics(run)
    data, evaluated = config["data"], [m for m in metrics if "evaluation" in m]
    method = method_of(config, {"domain": config["domain"], "adabn": False})
    return {
        "method": method,
        "shift": Path(data["target"]).name if config["domain"] == "d2" else "",
        "penalty": config["penalty"]["name"],
        "alpha": config["penalty"]["alpha"],
        "lr": config["schedule"]["lr"],
        "part": data["part"],
        "share": data.get("share", 1.0),
        **{key: config[key] for key in SETTINGS},
        "samples": summary["samples"],
        "seconds": summary["seconds"],
        "finished": time.strftime("%Y-%m-%d", time.gmtime((run / SUMMARY).stat().st_mtime)),
        "curve": [
            {"step": m["step"]} | {k: rounded(v) for k, v in m["evaluation"].items()}
            for m in evaluated
        ],
        "loss": thinned([(m["step"], m["loss"]) for m in metrics if "loss" in m], LOSSES),
    }


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[list[float]]:
    """At most so many [step, mean value of the points since the one before]."""
    every = max(1, math.ceil(len(points) / most))
    chunks = [points[i : i + every] for i in range(0, len(points), every)]
    return [[chunk[-1][0], rounded(fmean(v for _, v in chunk))] for chunk in chunks]


def evaluation_of(run: Path, path: Path, folder: Path) -> dict[str, Any]:
    """One file of scores."""
    row, metrics = row_of(run, path), read_json(path)
    truth = metrics["truth"] or {}
    twin = Path(metrics["target"]) if metrics["domain"] == "d2" else None
    moved = twin is not None and labels_of(twin) == "moved"
    return {
        "run": run.relative_to(folder).as_posix(),
        "method": row.method,
        "shift": row.shift.removesuffix("_moved") if moved else row.shift,
        "labels": "moved" if moved else "given",
        "split": row.split,
        "images": metrics["images"],
        "miou": rounded(row.miou),
        "class_accuracy": rounded(row.class_accuracy),
        "pixel_accuracy": rounded(row.pixel_accuracy),
        "agreement": rounded(row.agreement),
        "distortion": rounded(row.distortion),
        "loss": rounded(metrics.get("loss"), 4),
        "iou": [rounded(v) for v in truth.get("iou", ())],
    }


def labels_of(twin: Path) -> str:
    """How the labels of a shifted twin were made; by its name where the twin is gone."""
    made_with = twin / MADE_WITH
    if made_with.is_file():
        return str(read_json(made_with).get("labels", "given"))
    return "moved" if twin.name.endswith("_moved") else "given"


def shifts_of(runs: Path) -> dict[str, Any]:
    """Filter, parameters and, where one was made, calibration of each twin of a study."""
    found: dict[str, Any] = {}
    for path in sorted(runs.glob(f"shifts/*/{MADE_WITH}")):
        made = read_json(path)
        if made.get("labels", "given") == "given":
            about = {"filter": made["shift"], "parameters": made["parameters"]}
            calibrated = path.parent.with_name(f"{path.parent.name}.json")
            if calibrated.is_file():
                about["calibration"] = calibration_of(read_json(calibrated))
            found[path.parent.name] = about
    return found


def calibration_of(made: dict[str, Any]) -> dict[str, Any]:
    kept = ("wanted", "distortion", "constant", "split", "images")
    reached = [trial["distortion"] for trial in made["trials"]]
    about = {key: rounded(made[key]) for key in kept}
    return about | {"lowest": rounded(min(reached)), "highest": rounded(max(reached))}


def machines_of(runs: Iterable[Path]) -> list[dict[str, Any]]:
    """Versions and hardware, each once."""
    found: list[dict[str, Any]] = []
    for run in runs:
        about = read_json(run / ENVIRONMENT)
        made = {
            "cpu": processor(),
            "threads": about["threads"],
            "gpus": about["gpus"],
            "python": about["python"],
            "packages": about["packages"],
            "precision": read_config(run)["precision"],
        }
        if made not in found:
            found.append(made)
    return found


def features_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Maps of x2 beside the teacher's of x1, layer by layer: `<shift>` before, and by run after."""
    found = {}
    for path in sorted(folder.rglob(f"{FEATURES}/activations.json")):
        owner = path.parent.parent
        kind = "after" if (owner / CONFIG).is_file() else "before"
        found[f"{kind} {owner.relative_to(folder).as_posix()}"] = [
            {
                "layer": layer["layer"],
                "distance": rounded(layer["distance"], 4),
                "r2": rounded(layer["r2"]["med"], 4),
                "identity": rounded(layer["identity"]["med"], 4),
            }
            for layer in read_json(path)["layers"]
        ]
    return found


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Numbers to a few digits; what is not finite becomes None, as JSON has no word for it."""
    if not isinstance(value, float):
        return value
    return round(value, digits) if math.isfinite(value) else None
