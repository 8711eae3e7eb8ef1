"""The evaluate command: a JSON and a per-class CSV for each run, domain and split."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from math import isnan
from pathlib import Path
from typing import Any

from adapt.data import DataSet, by_target, by_task, prepare
from adapt.data.samples import pairing
from adapt.data.sampling import check_sizes, void_warning
from adapt.data.targets import of_old
from adapt.disk.files import read_mapping, write_json, write_whole
from adapt.disk.runs import place_in, read_config, read_data
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.evaluation.baselines import treated
from adapt.evaluation.inference import (
    Evaluation,
    Reading,
    evaluate_networks,
    headline,
)
from adapt.evaluation.metrics import MATRIX, ImageScores
from adapt.evaluation.rows import images_path
from adapt.machine.processes import on_rank_zero, rank_zero_only, shared_errors
from adapt.machine.runtime import runtime, say
from adapt.networks.preprocessing import sees
from adapt.networks.saved import (
    Model,
    check_classes,
    check_one_head,
    check_tasks,
    load_model,
    load_teacher,
    start_point_of,
)
from adapt.networks.taps import of_task
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import AlsoConfig, DataConfig
from adapt.settings.mapping import as_dict, build, inherit_data


def metrics_path(run: Path, data: DataConfig, domain: str, split: str, variant: str) -> Path:
    """Where an evaluation is recorded. The name holds the folder of a new domain and the variant of
    the evaluation (EvaluateConfig.variant), so that no figures replace others."""
    where = domain if domain == "d1" else f"d2_{Path(data.target).name}"
    names = ["metrics", data.name, where, split, *([variant] if variant else [])]
    return run / f"{'_'.join(names)}.json"


def place_for(path: Path, about: dict[str, Any]) -> Path:
    """Where an evaluation that is described by `about` is recorded: at `path`, or beside it with a
    number where the record there is of anything else, so that it stays."""
    names = (path if n == 1 else path.with_stem(f"{path.stem}_{n}") for n in count(1))
    return next(p for p in names if not p.is_file() or described(p, about))


def described(path: Path, about: dict[str, Any]) -> bool:
    """Is a record of this evaluation, or none that can be read, which is said? Records of earlier
    versions know less of it."""
    try:
        found = read_mapping(path)
    except InputError as error:
        say(f"warning: {error}; it is written anew")
        return True
    return all(found[k] == v for k, v in about.items() if k in found)


@shared_errors()
def evaluate(config: EvaluateConfig) -> Path:
    """Evaluate a run as configured; returns metrics_<data>_<domain>_<split>[_<variant>].json in the
    run's folder, or in `out`, with a per-class CSV beside it and images_<...>.csv with each image's
    mIoU. Of several heads, or new domains, each has files of its own, those of a head end in
    _<task>, and the first is returned.

    Raises:
        InputError: the run is unfinished, the domain has no data, or the classes do not fit.
    """
    folder = Path(config.run or config.teacher)
    model = load_model(folder, "run" if config.run else "teacher")
    given = (config.data, config.domain, config.split)
    domain, found = heads_for(folder, model, *given)
    paths = [
        score(config, model, domain, task, *one)
        for task, of in found.items()
        for one in by_target(*of).values()
    ]
    return paths[0]


def score(
    config: EvaluateConfig,
    model: Model,
    domain: str,
    task: str,
    settings: DataConfig,
    data: DataSet,
) -> Path:
    """Evaluate one head of a network, or its only one (an empty `task`), on the samples of its
    domain; returns the record."""
    folder = Path(config.run or config.teacher)
    recorded, out = read_config(folder), place_in(folder, config.out)
    image = "x" + domain[1]
    if config.run and config.teacher and domain == "d1":
        raise InputError("teacher= says whose prediction x2's is compared with: give domain=d2 too")
    check_sizes(data, settings, [image])
    machine = runtime(config.device, config.precision)
    say(sees(model.network))
    net = of_task(machine.place(model.net), task)
    reading = Reading(settings, model.network, config.batch, config.workers, config.protocol)
    net, reading, how = treated(config, machine, net, reading, data, image, recorded)
    teacher = None
    origin = config.teacher or start_point_of(recorded)
    if domain == "d2" and origin:
        judge = load_teacher(origin, recorded, model)
        check_tasks(judge.tasks, model.tasks, f"teacher: {origin}", str(folder))
        check_classes(judge.classes, model.classes, f"teacher: {origin}", str(folder))
        teacher = of_task(machine.place(judge.net).eval(), task)
        reading = replace(reading, teacher=judge.network)
    elif not data.with_labels:
        raise InputError(
            f"split {config.split} of {data.name} has no labels to score by; predict writes what a "
            "test server scores"
        )
    if 0 < data.with_labels < len(data.samples):
        there = f"{data.with_labels} of {len(data.samples)} samples of {data.name}"
        say(f"warning: only {there} have labels; scores are of these")
    if config.loss and data.classification:
        raise InputError("loss=true needs one label a pixel; these images have one label each")
    found = evaluate_networks(machine, net, reading, data, image, teacher, config.loss)
    about = {
        "data": data.name,
        "root": settings.root,
        "target": settings.target,
        "pairs": settings.pairs or settings.shards,
        "labels": settings.labels,
        "samples": pairing(data.samples),
        "resize": settings.resize,
        "fit": settings.fit,
        "bands": settings.reading(image)[0],
        "range": settings.reading(image)[1],
        "teacher": origin if teacher is not None else "",
        "domain": domain,
        "split": config.split,
        **how,
        "protocol": as_dict(config.protocol),
        "variant": config.variant,
        "precision": machine.precision,
        "model": model.digest,
        "classes": list(data.classes),
    }
    about |= {"task": task} if task else {}
    variant = "_".join(filter(None, (config.variant, task)))
    path = metrics_path(out, settings, domain, config.split, variant)
    path = on_rank_zero(lambda: place_for(path, about))
    write(path, about, found)
    return path


def write(path: Path, about: dict[str, Any], found: Evaluation) -> None:
    """The record of an evaluation and the tables beside it, and a line of what matters."""
    classes = about["classes"]
    rank_zero_only(write_whole)(path.with_suffix(".csv"), per_class(found, classes))
    numbers = as_dict(found)
    if images := numbers.pop("per_image"):
        each = csv_of([("image", "miou"), *((name, round(v, 4)) for name, v in images.items())])
        rank_zero_only(write_whole)(images_path(path), each)
    rank_zero_only(write_json)(path, about | numbers)  # last: to a study it means "done"
    said = {
        k: "none (no pixel counts)" if isnan(v) else f"{v:.1f}" for k, v in headline(found).items()
    }
    scores = ", ".join(f"{k} {v}" for k, v in said.items())
    say(f"{path}: {found.images} images, {scores}")
    if found.truth and found.confusion is None:
        say(f"{path}: no confusion matrix, as there are more than {MATRIX} classes")
    if found.truth and found.void:
        pairs = zip(classes, found.truth.accuracy, strict=True)
        if absent := [name for name, share in pairs if isnan(share)]:
            say(void_warning(found.void, absent))


def heads_for(
    run: Path, model: Model, given: DataConfig, domain: str, split: str
) -> tuple[str, dict[str, tuple[DataConfig, DataSet]]]:
    """The domain, and for each head of a run's network, `` where there is one, the settings and
    samples of one split: of the run's own data sets, except for what is given. Of another data set
    it is the heads for which that has a label map.

    Raises:
        InputError: the domain has no data, or its classes are not the run's.
    """
    recorded, own = read_config(run), read_data(run)
    domain = domain or ("d2" if recorded["teacher"] else recorded["domain"])
    sets = [inherit_data(given, own)]
    if recorded["also"]["name"] and sets[0].name == own.name:
        sets.append(build(AlsoConfig, recorded["also"] | {"download": False}, "also."))
    sets = [one if domain == "d2" else of_old(one) for one in sets]
    for one in sets:
        if domain == "d2" and not (one.target or one.targets or one.pairs or one.shards):
            raise InputError("domain=d2 needs data.target=DIR, the folder of the new domain")
        on_rank_zero(partial(prepare, one))
    found = by_task(sets, split, named=bool(model.tasks))
    if "" in found:
        settings, data = found[""]
        check_classes(model.classes, data.classes, str(run), data.name)
        return domain, {"": (settings, replace(data, classes=data.classes or model.classes))}
    shared = {task: of for task, of in found.items() if task in model.tasks}
    known = {task: model.tasks[task] for task in shared} or model.tasks
    maps = {task: data.classes for task, (_, data) in (shared or found).items()}
    check_tasks(known, maps, str(run), sets[0].name)
    return domain, shared


def data_for(
    run: Path, model: Model, given: DataConfig, domain: str, split: str
) -> tuple[str, DataConfig, DataSet]:
    """As `heads_for`, of a network with one head; InputError where it has several."""
    check_one_head(model, str(run))
    domain, found = heads_for(run, model, given, domain, split)
    return domain, *found[""]


def per_class(found: Evaluation, classes: Sequence[str]) -> str:
    """CSV: class, IoU, accuracy and IoU with the teacher's prediction; of images with one label
    class, accuracy and agreement."""
    columns = {"accuracy": getattr(found.truth, "accuracy", ())}
    if isinstance(found.truth or found.agreement, ImageScores):
        columns["agreement"] = getattr(found.agreement, "accuracy", ())
    else:
        columns = {"iou": getattr(found.truth, "iou", ()), **columns}
        columns["agreement_iou"] = getattr(found.agreement, "iou", ())
    rows = [["class", *columns]]
    for i, name in enumerate(classes):
        rows.append([name, *(f"{v[i]:.4f}" if v else "" for v in columns.values())])
    return csv_of(rows)
