"""The analyse command: what adapting or fine-tuning did to a network, as JSON and CSV."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from adapt.analysis.activations import activations
from adapt.analysis.weights import QUARTILES, drops, fisher_boxes, weight_distances
from adapt.data import some
from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import place_in, read_config
from adapt.disk.tables import csv_of_records, text_table
from adapt.errors import InputError
from adapt.evaluation.evaluate import data_for
from adapt.evaluation.inference import Reading, Whole, batches_of, evaluate_networks, headline
from adapt.machine.runtime import runtime, say
from adapt.networks.adapters import is_added
from adapt.networks.layers import check, main_path, trace
from adapt.networks.pretrained import head_of
from adapt.networks.saved import (
    Model,
    load_model,
    load_teacher,
    same_classes,
    start_point_of,
    started_from,
)
from adapt.penalties.fisher import load_fisher
from adapt.settings.commands import PAIRS, AnalyseConfig
from adapt.settings.groups import DataConfig

Rows = list[dict[str, Any]]
Found = tuple[dict[str, Any], Rows, Sequence[Sequence[object]]]
"""One analysis: what its JSON holds, the rows of its CSV, and the table that is printed."""


class Trained(NamedTuple):
    """A network before and after a training, and which it is, for the records."""

    folder: Path
    before: Model
    after: Model
    made: dict[str, Any]
    source: str = ""
    """Run whose data the network before was for, if its classes are others."""
    head: frozenset[str] = frozenset()
    """Tensors of the head, which is new then."""

    def grafted(self) -> Model:
        """The network after the training with the head that it had before: every tensor that both
        share comes from the training (001, section 5.1)."""
        if not self.head:
            return self.after
        net, trained = deepcopy(self.before.net), self.after.net.state_dict()
        net.load_state_dict(
            {k: v if k in self.head else trained[k] for k, v in net.state_dict().items()}
        )
        return replace(self.before, net=net)


def table(rows: Rows, *heads: str) -> list[Sequence[object]]:
    """Some columns of rows, under their names."""
    return [heads, *([row.get(head, "") for head in heads] for row in rows)]


def analyse(config: AnalyseConfig) -> Path:
    """Write <out>/<analysis>.json and .csv for each analysis and return the folder.

    Raises:
        InputError: an unfinished run, one that started from nothing that could be compared with,
            networks of two architectures, images or layers that are not there; of a network whose
            head is new, layers of it.
    """
    out = place_in(Path(config.run), config.out, "analysis")
    trained = networks_of(config) if config.run else None
    results = {name: ANALYSES[name](config, trained) for name in config.wanted}
    for name, (content, records, printed) in results.items():
        write_json(out / f"{name}.json", content)
        write_whole(out / f"{name}.csv", csv_of_records(records))
        say(f"{name}:\n{text_table(printed)}\n")
    say(f"{out}: {', '.join(f'{name}.json and .csv' for name in results)}")
    return out


def networks_of(config: AnalyseConfig) -> Trained:
    """The run's network and the one that it came from."""
    folder = Path(config.run)
    after = load_model(folder)
    recorded = read_config(folder)
    if recorded["teacher_network"]["name"]:  # it came from its start, the teacher is another one
        recorded |= {"teacher": "", "teacher_network": {}}
    start_point = config.teacher or start_point_of(recorded) or started_from(recorded["start"])
    if not start_point:
        raise InputError(
            f"{folder} was not trained from the network of a run; give teacher=RUN to compare it "
            "with one"
        )
    before = load_teacher(start_point, recorded, after)
    # keys are of files' tensors
    own = replace(after.network, keys=before.network.keys, one_logit=before.network.one_logit)
    if before.network != own:
        raise InputError(
            f"{start_point} and {folder} have different architectures; give teacher=RUN with a "
            "network of the same kind"
        )
    made = {"run": str(folder), "network": after.network.name, "before": before.digest}
    made |= {"after": after.digest}
    if same_classes(before.classes, after.classes):
        return Trained(folder, before, after, made)
    made |= {"head": "new"}
    return Trained(
        folder, before, after, made, start_point, frozenset(head_of(after.network, after.net))
    )


def analyse_activations(config: AnalyseConfig, trained: Trained) -> Found:
    """R2 of every unit after the training with respect to before (001, Figure 4), in fp32."""
    wanted = "d2" if config.domain == PAIRS else config.domain
    given = config.data, wanted, config.split
    domain, settings, data = data_for(trained.folder, trained.after, *given)
    data = some(data, config.images)
    own = f"x{domain[1]}"
    seen = ("x1", "x2") if config.domain == PAIRS else (own, own)
    machine = runtime(config.device, "fp32")
    before, after = machine.place(trained.before.net), machine.place(trained.after.net)
    reading = Reading(settings, trained.after.network, config.batch, config.workers)
    whole = Whole(data, settings, [seen[1]])
    traced = trace(after, tuple(whole[0][seen[1]].shape[-2:]))
    names = config.layers or [x.name for x in main_path(traced) if not is_added(x.name)]
    check(traced, names, "layers")
    if behind := [n for n in names if any(k.startswith(f"{n}.") for k in trained.head)]:
        if config.layers:
            raise InputError(f"layers: {behind[0]} belongs to the head, which is new")
        names = names[: names.index(behind[0])]

    def images() -> Iterator[tuple[Tensor, ...]]:
        for *both, valid in batches_of(machine, reading, data, "activations", *dict.fromkeys(seen)):
            counts = [valid] if config.domain == PAIRS and valid is not None else []
            yield both[0], both[-1], *counts

    units = activations(before, after, names, images())
    rows = [u.as_dict() for u in units]
    records = [
        {"layer": u.layer, "unit": k, "r2": float(r2), "identity": float(same)}
        for u in units
        for k, (r2, same) in enumerate(zip(u.r2, u.identity, strict=True))
    ]
    shown = [
        row | {f"R2: {key}": row["r2"][key] for key in QUARTILES[1:4]}
        | {"identity: med": row["identity"]["med"]}
        for row in rows
    ]  # fmt: skip
    heads = ("layer", "units", "silent", "R2: q1", "R2: med", "R2: q3", "identity: med")
    about = {"data": data.name, "split": config.split, "domain": config.domain or domain,
             "before_sees": seen[0], "after_sees": seen[1]}  # fmt: skip
    made = trained.made | about | {"images": len(data.samples)}
    return {"made": made, "layers": rows}, records, table(shown, *heads)


def analyse_weights(config: AnalyseConfig, trained: Trained) -> Found:
    """|w - w0| of each layer; of a new head there is none."""
    before = {k: v for k, v in trained.before.net.state_dict().items() if k not in trained.head}
    rows, left_out = weight_distances(trained.after.net, before)
    content = {"made": trained.made, "layers": rows, "left_out": left_out}
    return content, rows, table(rows, "layer", "parameters", "start", "distance", "relative")


def analyse_source(config: AnalyseConfig, trained: Trained) -> Found:
    """Scores on the old domain before and after the training (001, Table 5), and how far the two
    networks still agree there (label-free). A network with a new head gets its old one back, and is
    scored on `val` of the run that it came from."""
    if trained.head:
        where, split = (Path(trained.source), trained.before, DataConfig()), "val"
    else:
        where, split = (trained.folder, trained.after, config.data), config.split
    _, settings, data = data_for(*where, "d1", split)
    reading = Reading(settings, trained.before.network, config.batch, config.workers)
    machine, old = runtime(config.device, config.precision), {}
    before, after = machine.place(trained.before.net).eval(), machine.place(trained.grafted().net)
    if data.labelled:
        old = headline(evaluate_networks(machine, before, reading, data, "x1"))
    new = headline(evaluate_networks(machine, after, reading, data, "x1", before))
    key = "agreement_top1" if data.classification else "agreement_miou"
    agreement, found = new.pop(key), drops(old, new)
    about = {"data": data.name, "split": split, "images": len(data.samples),
             "precision": machine.precision}  # fmt: skip
    rows: Rows = [{"score": key, **values} for key, values in found.items()]
    rows.append({"score": key, "before": 100.0, "after": agreement})
    content = {"made": trained.made | about, "scores": found, key: agreement}
    return content, rows, table(rows, "score", "before", "after", "drop", "relative")


def analyse_fisher(config: AnalyseConfig, trained: object) -> Found:
    """log10 F of each layer (001, Figure 5)."""
    fisher = load_fisher(Path(config.fisher))
    rows = fisher_boxes(fisher.values)
    heads = ("layer", "parameters", "zero", "mean", "share", *QUARTILES)
    flat = [{head: (row["log10"] | row)[head] for head in heads} for row in rows]
    content = {"made": fisher.made, "mean": fisher.mean, "layers": rows}
    named = [(*heads[:5], *(f"log10: {q}" for q in QUARTILES)), *table(flat, *heads)[1:]]
    return content, flat, named


ANALYSES: dict[str, Callable[[AnalyseConfig, Any], Found]] = {
    "fisher": analyse_fisher, "weights": analyse_weights, "activations": analyse_activations,
    "source": analyse_source,
}  # fmt: skip
"""The cheap ones first, so that wrong input ends soon. Adding one is a function and a line here and
its name in adapt/settings/choices.py."""
