"""The merge command: one network for all cameras, the mean of students that began as one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor

from adapt.disk.files import write_json, write_whole
from adapt.disk.lock import whole_folder
from adapt.disk.runs import CONFIG, ENVIRONMENT, RunFolder, environment, read_config, read_summary
from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.networks.adapters import sizes_in
from adapt.networks.saved import (
    Model,
    check_classes,
    check_network,
    check_tasks,
    common_classes,
    load_model,
    save_model,
    start_point_of,
)
from adapt.settings.commands import MergeConfig
from adapt.settings.mapping import as_dict, build
from adapt.settings.objective import ObjectiveConfig
from adapt.settings.training import TrainConfig

MEAN, VARIANCE = "running_mean", "running_var"
MERGED = "merged"
"""What tables call the method, and the entry of summary.json that has the runs."""
KEPT = ("data", "also", "teacher", "teacher_network", "start", "domain")
"""Settings that a merged run has of its first student."""


def mean_of(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of networks' tensors, with the statistics that their batch norms would have
    measured on the data of all (Li et al. 2024, arXiv 2407.13771):

        w = mean w_k,  mu = mean mu_k,  var = mean(var_k + mu_k^2) - mu^2

    The latter is computed as mean(var_k + (mu_k - mu)^2), in which nothing cancels. It is exact
    where each mu_k and var_k is of that layer's input in the merged network; after the first layer
    with other weights it is an approximation. Sums are in float64; tensors that are equal in all
    networks stay bit-equal. Integers (batch norm's counter) are rounded.

    Args:
        states: of networks of one architecture, name -> tensor.
        weights: above 0, one a network.
    """

    def mean(tensors: Sequence[Tensor]) -> Tensor:
        parts = [w * t.double() for w, t in zip(weights, tensors, strict=True)]
        return torch.stack(parts).sum(0) / sum(weights)

    found = {}
    for name, own in states[0].items():
        tensors, center = [state[name] for state in states], name.replace(VARIANCE, MEAN)
        if name.endswith(VARIANCE) and center in states[0]:
            means = [state[center].double() for state in states]
            mu = mean(means)
            tensors = [t + (m - mu) ** 2 for t, m in zip(tensors, means, strict=True)]
        merged = mean(tensors)
        found[name] = (merged if own.is_floating_point() else merged.round()).to(own.dtype)
    return found


def merge(config: MergeConfig) -> Path:
    """Write the merged run, whole or not at all, and return its folder. It is a run like those of a
    training: its record has the data and teacher of its first student and no steps, summary.json
    all runs with weights and digests.

    Raises:
        InputError: a run is unfinished, the networks or classes differ, they did not begin as one
            network, or the folder exists.
    """
    path = Path(config.run)
    if path.exists():
        raise InputError(f"run: {path} exists already; give a new folder")
    models = {run: load_model(Path(run), "runs") for run in config.runs}
    weights = config.weights or [1.0] * len(models)
    if added := [run for run, one in models.items() if sizes_in(one.net.state_dict())]:
        raise InputError(f"runs: {added[0]} has adapters, of which there is no mean")
    (first, model), *others = models.items()
    for run, other in others:
        check_network(other, model.network, run, f"runs: the network of {first}")
        check_tasks(other.tasks, model.tasks, run, first)
        check_classes(other.classes, model.classes, run, first)
    begun, student = common_start(models)
    recorded, inputs = read_config(Path(student)), read_summary(Path(student))["inputs"]
    values = {name: recorded[name] for name in KEPT} | {"run": str(path), "steps": 0}
    values |= {"network": model.network, "objective": ObjectiveConfig(MERGED)}
    model.net.load_state_dict(mean_of([m.net.state_dict() for m in models.values()], weights))
    made = as_dict(build(TrainConfig, values))
    parts = zip(models.items(), weights, strict=True)
    summary = {
        "steps": 0,
        "seconds": 0.0,
        "samples": sum(read_summary(Path(run))["samples"] for run in models),
        "inputs": {k: v for k, v in inputs.items() if k in ("teacher", "start")},
        MERGED: [{"run": run, "sha256": m.digest, "weight": w} for (run, m), w in parts],
    }
    with whole_folder(path, "run") as aside:
        write_json(aside / ENVIRONMENT, environment())
        write_whole(aside / CONFIG, yaml.safe_dump(made, sort_keys=False))
        classes = common_classes((), models)
        save_model(aside, model.net, model.network, classes, model.tasks)
        RunFolder(aside, made).finish(summary)
    say(
        f"{path}: the mean of {len(models)} network(s) that began as {begun[:8]}; its data is that "
        f"of {student}, data.target=DIR that of another camera"
    )
    return path


def common_start(models: Mapping[str, Model]) -> tuple[str, str]:
    """SHA-256 of the network that all runs began as, or that one of them is; and the first run that
    began as it (of a teacher alone that itself).

    Raises:
        InputError: there is none; the message has the digest of each.
    """
    starts = {run: start_of(run) for run in models}
    begun = [{starts[run], model.digest} for run, model in models.items()]
    first, model = next(iter(models.items()))
    for digest in filter(None, (starts[first], model.digest)):
        if all(digest in one for one in begun):
            return digest, next((run for run in models if starts[run] == digest), first)
    said = "; ".join(f"{run} began as {start[:8] or 'none'}" for run, start in starts.items())
    raise InputError(f"runs: {said} (SHA-256): they are no students of one teacher")


def start_of(run: str) -> str:
    """SHA-256 of the whole network that a run began as; empty = of new weights, at least in part.

    Raises:
        InputError: it learnt from another network than it began as.
    """
    recorded, inputs = read_config(Path(run)), read_summary(Path(run))["inputs"]
    start = inputs.get("start", "")
    if inputs.get("teacher", start) != start:
        raise InputError(
            f"runs: {run} has the teacher {inputs['teacher'][:8]} and began as another network, "
            f"{start[:8] or 'of new weights'} (SHA-256); only students that began as their teacher "
            "can be averaged"
        )
    return start if start_point_of(recorded) else ""
