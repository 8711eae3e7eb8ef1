"""The evaluate command: one JSON and one per-class CSV for each run, domain and split."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapt.data import DataSet, load, prepare
from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import read_config, read_data
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.evaluation.inference import (
    Evaluation,
    Reading,
    adapt_to,
    evaluate_networks,
    headline,
    mean_loss,
    restyle_to_old,
)
from adapt.evaluation.metrics import ImageScores
from adapt.machine.processes import on_rank_zero, rank_zero_only, shared_errors
from adapt.machine.runtime import runtime, say
from adapt.networks.saved import Model, load_model, origin_of
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import as_dict, inherit_data


def metrics_path(
    run: Path,
    data: DataConfig,
    domain: str,
    split: str,
    variant: str = "",
) -> Path:
    """Where an evaluation is recorded. A new domain's file has the name of its folder, and another
    way of evaluating its own (EvaluateConfig.variant), so that no figures replace others."""
    where = domain if domain == "d1" else f"d2_{Path(data.target).name}"
    names = ["metrics", data.name, where, split, *([variant] if variant else [])]
    return run / f"{'_'.join(names)}.json"


@shared_errors()
def evaluate(config: EvaluateConfig) -> Path:
    """Evaluate a run as configured; returns metrics_<data>_<domain>_<split>[_<variant>].json.

    The file lies in the run's folder, a per-class CSV beside it.

    Raises:
        InputError: an unfinished run, a domain without data, classes that do not fit.
    """
    folder = Path(config.run or config.teacher)
    what = "run" if config.run else "teacher"
    model = load_model(folder, what)
    recorded = read_config(folder, what)
    domain, settings, data = shown_to(folder, model, config.data, config.domain, config.split)
    machine = runtime(config.device, config.precision)
    net = machine.place(model.net)
    reading = Reading(
        settings, model.network, config.batch, config.workers, protocol=config.protocol
    )
    image = "x" + domain[1]
    if config.restyle and domain == "d1":
        raise InputError(f"restyle={config.restyle} is for the new domain: give domain=d2")
    if config.restyle:
        training = load(settings, "train")
        restyle = restyle_to_old(config.restyle, config.restyle_beta, reading, training, data)
        reading = replace(reading, restyle=restyle)
    if config.adabn:
        adapt_to(machine, net, reading, load(settings, "train"), image)
    teacher = None
    origin = config.teacher or origin_of(recorded)
    if domain == "d2" and origin:
        teacher = machine.place(load_model(Path(origin), "teacher", like=model).net).eval()
    if config.loss and data.classification:
        raise InputError("loss=true needs one label a pixel; these images have one label each")
    found = evaluate_networks(machine, net, reading, data, image, teacher)
    loss = config.loss and data.labelled
    path = metrics_path(folder, settings, domain, config.split, config.variant)
    about = {
        "data": data.name,
        "root": settings.root,
        "target": settings.target,
        "domain": domain,
        "split": config.split,
        "adabn": config.adabn,
        "restyle": config.restyle,
        "restyle_beta": config.restyle_beta if config.restyle == "fda" else None,
        "protocol": as_dict(config.protocol),
        "variant": config.variant,
        "precision": machine.precision,
        "model": model.digest,
        "classes": list(model.classes),
        "loss": mean_loss(machine, net, reading, data, image) if loss else None,
    }
    table = per_class(found, model.classes)
    rank_zero_only(write_whole)(path.with_suffix(".csv"), table.encode())
    rank_zero_only(write_json)(path, about | as_dict(found))  # last: a study's sign of being done
    numbers = ", ".join(f"{k} {v:.1f}" for k, v in headline(found).items())
    say(f"{path}: {found.images} images, {numbers}")
    return path


def shown_to(
    run: Path, model: Model, given: DataConfig, domain: str, split: str
) -> tuple[str, DataConfig, DataSet]:
    """Domain, settings and samples of one split on which a run is looked at: the run's own, but for
    what is given.

    Raises:
        InputError: a domain without data, classes that are not the run's.
    """
    recorded = read_config(run)
    domain = domain or ("d2" if recorded["teacher"] else recorded["domain"])
    settings = inherit_data(given, read_data(run))
    settings = replace(settings, target=settings.target if domain == "d2" else "")
    if domain == "d2" and not (settings.target or settings.pairs or settings.shards):
        raise InputError("domain=d2 needs data.target=DIR, the folder of the new domain")
    on_rank_zero(lambda: prepare(settings))
    data = load(settings, split)
    if data.classes and data.classes != model.classes:
        raise InputError(
            f"{run} knows the classes {', '.join(model.classes)}; "
            f"{data.name} has {', '.join(data.classes)}"
        )
    return domain, settings, replace(data, classes=model.classes)


def per_class(found: Evaluation, classes: tuple[str, ...]) -> str:
    """CSV: class, IoU, accuracy and, without labels, IoU with the teacher's prediction; where an
    image has one label, accuracy and agreement."""
    truth, agreement = found.truth, found.agreement
    columns: dict[str, Sequence[float]] = {}
    if isinstance(truth, ImageScores) or isinstance(agreement, ImageScores):
        columns["accuracy"] = truth.accuracy if truth else ()
        columns["agreement"] = agreement.accuracy if agreement else ()
    else:
        columns["iou"] = truth.iou if truth else ()
        columns["accuracy"] = truth.accuracy if truth else ()
        columns["agreement_iou"] = agreement.iou if agreement else ()
    rows = [["class", *columns]]
    for i, name in enumerate(classes):
        rows.append([name, *(f"{v[i]:.4f}" if v else "" for v in columns.values())])
    return csv_of(rows)
