"""Finished runs as small records to be committed: what each was, what it reached, its curve.

A record is one JSON file for each study and seed. It holds no weights and no images, and everything
that the page of results prints is computed from such files alone.
"""

import json
import math
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from adapt.disk.files import finite, read_json, write_whole
from adapt.disk.runs import (
    CONFIG,
    ENVIRONMENT,
    LOST,
    SUMMARY,
    read_config,
    read_metrics,
    read_summary,
)
from adapt.errors import InputError
from adapt.evaluation.rows import method_of, read_evaluation, row_of, run_folders
from adapt.machine.runtime import processor
from adapt.networks.saved import ABOUT
from adapt.shift.distort import MADE_WITH

FORMAT = 1
TEACHER = "teacher"
DIGITS = 3
OF_LAYERS: dict[str, Callable[[dict[str, Any]], float]] = {
    "weights": lambda layer: layer["relative"],
    "activations": lambda layer: layer["r2"]["med"],
    "fisher": lambda layer: layer["share"],
}
"""Analysis -> the number of each layer that is kept."""
SETTINGS = ("steps", "batch", "bn", "freeze", "ema")


def record(runs: Path, out: Path) -> list[Path]:
    """Write <out>/<name of runs>_seed<k>.json for each seed of a study; returns the files. What
    such a file had of other runs stays in it, so that a long study can be recorded part by part,
    on whichever machine made a part.

    Raises:
        InputError: no folder seed<k> with a finished run in it.
    """
    seeds = sorted(p for p in runs.glob("seed*") if p.is_dir() and run_folders(p))
    if not seeds:
        raise InputError(f"runs: {runs} has no folder seed0, seed1, … with finished runs")
    made = []
    for folder in seeds:
        path = out / f"{runs.name}_{folder.name}.json"
        found = finite(seed_record(folder, runs.name))
        write_whole(path, in_lines(joined(read_json(path), found) if path.is_file() else found))
        made.append(path)
    return made


def joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """A record with what another adds to it: a run that both have is as `now` has it, and loses the
    scores that it had before if its weights are others."""
    again = {identity(e) for e in now["evaluations"]}
    weights = {place: run["weights"] for place, run in now["runs"].items()}
    stays = [
        e for e in before["evaluations"]
        if identity(e) not in again
        and weights.get(e["run"]) in (None, before["runs"][e["run"]]["weights"])
    ]  # fmt: skip
    tables = {k: before[k] | now[k] for k in ("shifts", "runs", "features", "analyses")}
    lost = {*before.get("diverged", ()), *now["diverged"]} - tables["runs"].keys()
    machines = before["machines"] + [m for m in now["machines"] if m not in before["machines"]]
    found = {"machines": machines, "evaluations": stays + now["evaluations"]}
    return now | tables | found | {"diverged": sorted(lost)}


def identity(evaluation: dict[str, Any]) -> tuple[str, ...]:
    return tuple(evaluation[key] for key in ("run", "method", "shift", "labels", "split"))


def in_lines(record: dict[str, Any]) -> str:
    """JSON with a line for each run and each evaluation, so that what changes is easy to see."""
    parts = []
    for key, value in record.items():
        text = json.dumps(value)
        if isinstance(value, dict) and value:
            inner = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
            text = "{\n" + ",\n".join(inner) + "\n }"
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(v)}" for v in value) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def seed_record(folder: Path, study: str) -> dict[str, Any]:
    """All that a study found with one seed.

    `protocol` is `shared` where everything was trained on one part of the data, as in 003, and
    `disjoint` where students see pairs that their teacher did not learn from.
    """
    configs = {run: read_config(run) for run in run_folders(folder)}
    scored = [(run, path) for run in configs for path in sorted(run.glob("metrics_*.json"))]
    return {
        "format": FORMAT,
        "study": study,
        "seed": next(iter(configs.values()))["seed"],
        "protocol": "shared"
        if len({c["data"]["part"] for c in configs.values()}) == 1
        else "disjoint",
        "classes": read_json(scored[0][1])["classes"] if scored else [],
        "shifts": shifts_of(folder.parent),
        "machines": machines_of(configs),
        "runs": {place(run, folder): run_of(run, config) for run, config in configs.items()},
        "evaluations": [evaluation_of(run, path, folder) for run, path in scored],
        "features": features_of(folder),
        "analyses": analyses_of(folder),
        "diverged": diverged_of(folder, {place(run, folder) for run in configs}),
    }


def place(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def run_of(run: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What a training was, in a few words and numbers: the SHA-256 of its network, too, and of the
    teacher that it learned from or, as B2, started from."""
    summary, data = read_json(run / SUMMARY), config["data"]
    inputs = summary.get("inputs", {})
    return {
        "method": method_of(config, {"domain": config["domain"], "adabn": False}),
        "shift": Path(data["target"]).name if config["domain"] == "d2" else "",
        "penalty": config["penalty"]["name"],
        "alpha": config["penalty"]["alpha"],
        "beta": config["penalty"]["beta"],
        "lr": config["schedule"]["lr"],
        "part": data["part"],
        "share": data.get("share", 1.0),
        **{key: config[key] for key in SETTINGS},
        "taps": list(config["objective"]["regression"]["taps"]),
        "weights": read_json(run / ABOUT)["sha256"],
        "teacher": inputs.get("teacher", inputs.get("start", "")),
        "samples": summary["samples"],
        "seconds": summary["seconds"],
        "finished": time.strftime("%Y-%m-%d", time.gmtime((run / SUMMARY).stat().st_mtime)),
        "curve": [
            {"step": m["step"]}
            | {k: rounded(v) for k, v in m["evaluation"].items()}
            | {f"training/{k}": rounded(v) for k, v in m.get("training", {}).items()}
            for m in read_metrics(run)
            if "evaluation" in m
        ],
    }


def evaluation_of(run: Path, path: Path, folder: Path) -> dict[str, Any]:
    """One file of scores."""
    metrics = read_evaluation(path)
    row = row_of(run, path, read_config(run), read_summary(run), metrics)
    twin = Path(metrics["target"]) if metrics["domain"] == "d2" else None
    moved = twin is not None and labels_of(twin) == "moved"
    scores = ("miou", "class_accuracy", "pixel_accuracy", "agreement", "distortion")
    return {
        "run": place(run, folder),
        "method": row.method,
        "shift": row.shift.removesuffix("_moved") if moved else row.shift,
        "labels": "moved" if moved else "given",
        "split": row.split,
        "images": metrics["images"],
        **{name: rounded(getattr(row, name)) for name in scores},
        "loss": rounded(metrics.get("loss"), 4),
        "iou": [rounded(v) for v in (metrics["truth"] or {}).get("iou", ())],
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
                goal = read_json(calibrated)
                kept = ("wanted", "distortion", "constant", "split", "images")
                about["calibration"] = {key: rounded(goal[key]) for key in kept}
            found[path.parent.name] = about
    return found


def machines_of(configs: dict[Path, dict[str, Any]]) -> list[dict[str, Any]]:
    """Versions, hardware and commit, each once."""
    found: list[dict[str, Any]] = []
    for run, config in configs.items():
        about = read_json(run / ENVIRONMENT)
        made = {key: about[key] for key in ("threads", "gpus", "python", "packages")}
        made |= {"cpu": processor(), "precision": config["precision"]}
        made["commit"] = about["git"]["commit"]
        if made not in found:
            found.append(made)
    return found


def diverged_of(folder: Path, finished: Set[str]) -> list[str]:
    """Trainings of a study that ended without a network, as the study noted."""
    note = folder.parent / LOST
    lost = [Path(run) for run in read_json(note)] if note.is_file() else []
    every = (place(run, Path(folder.name)) for run in lost if run.is_relative_to(folder.name))
    return sorted({*every} - finished)


def features_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Maps of x2 beside the teacher's of x1, layer by layer: `<shift>` before, and by run after."""
    found = {}
    for path in sorted(folder.rglob("features/activations.json")):
        owner = path.parent.parent
        kind = "after" if (owner / CONFIG).is_file() else "before"
        found[f"{kind} {place(owner, folder)}"] = [
            {
                "layer": layer["layer"],
                "distance": rounded(layer["distance"], 4),
                "r2": rounded(layer["r2"]["med"], 4),
                "identity": rounded(layer["identity"]["med"], 4),
            }
            for layer in read_json(path)["layers"]
        ]
    return found


def analyses_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What each fine-tuning did to the network that it came from, by run: mIoU of the old task
    `before` and `after`, |w - w0| / |w0| of each layer, the median R2 of its units (001, Figure 4),
    and each layer's share of the Fisher information (Figure 5)."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/analysis/*.json")):
        made, own = read_json(path), found.setdefault(path.parent.parent.name, {})
        if path.stem == "source":
            own["source"] = {k: rounded(made["scores"]["miou"][k]) for k in ("before", "after")}
        for key, value in OF_LAYERS.items():
            if path.stem == key:
                own[key] = {layer["layer"]: rounded(value(layer), 4) for layer in made["layers"]}
    return found


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Numbers to a few digits; what is not finite becomes None, as JSON has no word for it."""
    if not isinstance(value, float):
        return value
    return round(value, digits) if math.isfinite(value) else None
