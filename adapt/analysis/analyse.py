"""The analyse command: what adapting or fine-tuning did to a network, as JSON and CSV."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adapt.analysis.activations import Units, activations
from adapt.analysis.weights import drops, fisher_boxes, weight_distances
from adapt.data import DataSet
from adapt.data.sampling import some
from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import read_config
from adapt.disk.tables import csv_of_records, text_table
from adapt.errors import InputError
from adapt.evaluation.evaluate import data_for
from adapt.evaluation.inference import Reading, Whole, evaluate_networks, groups, headline, stack
from adapt.machine.runtime import runtime, say
from adapt.networks.layers import check, main_path, trace
from adapt.networks.saved import Model, load_model, origin_of
from adapt.networks.taps import normalise
from adapt.penalties.fisher import load_fisher
from adapt.settings.commands import PAIRS, AnalyseConfig


@dataclass(frozen=True)
class Pair:
    """A network before and behind a training."""

    folder: Path
    before: Model
    after: Model

    @property
    def made(self) -> dict[str, Any]:
        return {
            "run": str(self.folder),
            "network": self.after.network.name,
            "before": self.before.digest,
            "after": self.after.digest,
        }


@dataclass(frozen=True)
class Found:
    """One analysis: what its JSON holds, the rows of its CSV, and what is printed."""

    content: dict[str, Any]
    table: list[dict[str, Any]]
    printed: list[Sequence[object]]


def analyse(config: AnalyseConfig) -> Path:
    """Write <out>/<analysis>.json and .csv for each analysis and return the folder.

    Raises:
        InputError: an unfinished run, one that started from nothing that could be compared with,
            networks of two architectures, images or layers that are not there.
    """
    out = Path(config.out or Path(config.run) / "analysis")
    pair = networks_of(config) if config.run else None
    results = {name: ANALYSES[name](config, pair) for name in config.wanted}
    for name, found in results.items():
        write_json(out / f"{name}.json", found.content)
        write_whole(out / f"{name}.csv", csv_of_records(found.table).encode())
        say(f"{name}:\n{text_table(found.printed)}\n")
    say(f"{out}: {', '.join(f'{name}.json and .csv' for name in results)}")
    return out


def networks_of(config: AnalyseConfig) -> Pair:
    """The run's network and the one that it came from."""
    folder = Path(config.run)
    after = load_model(folder)
    origin = config.teacher or origin_of(read_config(folder))
    if not origin:
        raise InputError(
            f"{folder} was not trained from a network for its task; give teacher=RUN to compare it "
            "with one"
        )
    before = load_model(Path(origin), "teacher", like=after)
    if before.network != after.network or len(before.classes) != len(after.classes):
        raise InputError(
            f"{origin} and {folder} have different architectures or classes; give "
            "teacher=RUN with a network of the same kind"
        )
    return Pair(folder, before, after)


def images_of(config: AnalyseConfig, pair: Pair) -> tuple[str, Reading, DataSet, tuple[str, str]]:
    """Domain, how images are read, which, and what the network before and behind sees of them."""
    wanted = "d2" if config.domain == PAIRS else config.domain
    domain, settings, data = data_for(pair.folder, pair.after, config.data, wanted, config.split)
    reading = Reading(settings, pair.after.network, config.batch, config.workers)
    own = f"x{domain[1]}"
    seen = ("x1", "x2") if config.domain == PAIRS else (own, own)
    return config.domain or domain, reading, some(data, config.images), seen


def analyse_activations(config: AnalyseConfig, pair: Pair | None) -> Found:
    """R2 of every unit behind the training with respect to before (001, Figure 4), in fp32."""
    assert pair is not None
    domain, reading, data, seen = images_of(config, pair)
    machine = runtime(config.device, "fp32")
    before, after = machine.place(pair.before.net), machine.place(pair.after.net)
    whole = Whole(data, reading.data, sorted(set(seen)))
    sample = whole[0]
    traced = trace(after, tuple(sample[seen[1]].shape[-2:]))
    names = config.layers or [x.name for x in main_path(after, traced)]
    check(traced, names, "layers")

    def shown() -> Iterator[tuple[Tensor, Tensor]]:
        for group in groups(whole, reading, "activations"):
            images = {
                key: normalise(
                    machine.images(stack(group, key)), reading.network.mean, reading.network.std
                )
                for key in set(seen)
            }
            yield images[seen[0]], images[seen[1]]

    units = activations(before, after, names, shown())
    about = {"data": data.name, "split": config.split, "domain": domain, "before_sees": seen[0],
             "after_sees": seen[1], "images": len(data.samples)}  # fmt: skip
    return Found(
        {"made": pair.made | about, "layers": [u.plain() for u in units]},
        [
            {"layer": u.layer, "unit": k, "r2": float(r2), "identity": float(same)}
            for u in units
            for k, (r2, same) in enumerate(zip(u.r2, u.identity, strict=True))
        ],
        [("layer", "units", "silent", "R2: q1", "median", "q3", "identity: median")]
        + [row_of(u) for u in units],
    )


def row_of(units: Units) -> Sequence[object]:
    made = units.plain()
    quartiles = [made["r2"][key] for key in ("q1", "med", "q3")]
    return (units.layer, len(units.r2), units.silent, *quartiles, made["identity"]["med"])


def analyse_weights(config: AnalyseConfig, pair: Pair | None) -> Found:
    """|w - w0| of each layer."""
    assert pair is not None
    rows, left_out = weight_distances(pair.after.net, pair.before.net.state_dict())
    heads = ("layer", "parameters", "start", "distance", "relative")
    return Found(
        {"made": pair.made, "layers": rows, "left_out": left_out},
        rows,
        [heads, *([row[head] for head in heads] for row in rows)],
    )


def analyse_source(config: AnalyseConfig, pair: Pair | None) -> Found:
    """Scores on the old domain before and behind the training (001, Table 5), and how far the two
    networks still agree there (label-free)."""
    assert pair is not None
    _, settings, data = data_for(pair.folder, pair.after, config.data, "d1", config.split)
    reading = Reading(settings, pair.after.network, config.batch, config.workers)
    machine = runtime(config.device, config.precision)
    before, after = machine.place(pair.before.net).eval(), machine.place(pair.after.net)
    scores: dict[str, dict[str, float]] = {}
    if data.labelled:
        scores["before"] = headline(evaluate_networks(machine, before, reading, data, "x1"))
    scores["after"] = headline(evaluate_networks(machine, after, reading, data, "x1", before))
    agreement = scores["after"].pop("agreement_miou")
    found = drops(scores.get("before", {}), scores["after"])
    about = {"data": data.name, "split": config.split, "images": len(data.samples),
             "precision": machine.precision}  # fmt: skip
    rows: list[dict[str, Any]] = [{"score": key, **values} for key, values in found.items()]
    rows.append({"score": "agreement_miou", "before": 100.0, "after": agreement})
    heads = ("score", "before", "after", "drop", "relative")
    return Found(
        {"made": pair.made | about, "scores": found, "agreement_miou": agreement},
        rows,
        [heads, *([row.get(head, "") for head in heads] for row in rows)],
    )


def analyse_fisher(config: AnalyseConfig, pair: Pair | None) -> Found:
    """log10 F of each layer (001, Figure 5)."""
    fisher = load_fisher(Path(config.fisher))
    rows = fisher_boxes(fisher.values)
    flat = [{**row, **{k: row["log10"][k] for k in QUARTILES}} for row in rows]
    heads = ("layer", "parameters", "zero", "mean", "share", *QUARTILES)
    return Found(
        {"made": fisher.made, "mean": fisher.mean, "layers": rows},
        [{head: row[head] for head in heads} for row in flat],
        [(*heads[:5], *(f"log10: {q}" for q in QUARTILES))]
        + [[row[head] for head in heads] for row in flat],
    )


QUARTILES = ("whislo", "q1", "med", "q3", "whishi")

ANALYSES: dict[str, Callable[[AnalyseConfig, Pair | None], Found]] = {
    "fisher": analyse_fisher, "weights": analyse_weights, "activations": analyse_activations,
    "source": analyse_source,
}  # fmt: skip
"""The cheap ones first, so that wrong input ends soon. Adding one is a function and a line here and
its name in adapt/settings/commands.py."""
