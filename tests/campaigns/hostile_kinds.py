"""What the checkpoint campaign damages, and the product's own functions that read it."""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from mutate import (
    BYTES,
    Mutator,
    json_lines,
    json_text,
    json_tree,
    repacked,
    safetensors_header,
    yaml_text,
    zip_fields,
)
from tiny import POOL3, SUPERVISED, edit_record

from adapt.data.scenes import write_scenes
from adapt.disk.checkpoint import META, STATE, load, newest
from adapt.disk.files import read_yaml, sha256
from adapt.disk.runs import MAY_DIFFER, open_run, read_config, read_metrics
from adapt.disk.tables import csv_of_records
from adapt.disk.tensors import load_tensors, read_tensors
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.rows import collect, text_table
from adapt.networks import build_network
from adapt.networks.saved import load_model
from adapt.penalties.fisher import fisher_of, load_fisher, read_fisher, write_fisher
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.mapping import as_dict, build, filled
from adapt.settings.training import TrainConfig
from adapt.training.train import train
from viz.report.charts import training_curves
from viz.report.page import class_tables, machines, runs_of
from viz.report.tables import entries_of, lines_of, per_class

OLD, NEW = "step_00000002", "step_00000004"
NETWORK = NetworkConfig(width=1 / 32, batch_norm=True)


def make(base: Path) -> None:
    """Two finished runs with checkpoints and evaluations, a Fisher file, bare weights files."""
    for domain, seed in (("d1", 0), ("d2", 1)):
        write_scenes(base / domain, train=4, val=2, seed=seed, size=(40, 56))
    data = DataConfig(name="scenes", root=str(base / "d1"), crop=[32, 40])
    teaching = TrainConfig(
        run=str(base / "runs/teacher"), data=data, network=NETWORK, objective=SUPERVISED, steps=4,
        batch=2, log_every=1, checkpoint_every=2, precision="fp32", device="cpu",
        schedule=ScheduleConfig(lr=0.02),
    )  # fmt: skip
    train(teaching)
    paired = DataConfig(target=str(base / "d2"))
    teacher = str(base / "runs/teacher")
    adapting = TrainConfig(
        run=str(base / "runs/student"), data=paired, teacher=teacher, objective=POOL3, steps=4,
        domain="d2", penalty=PenaltyConfig("l2_sp", 1e-2, 1e-2), batch=2, log_every=1,
        checkpoint_every=2, precision="fp32", device="cpu", schedule=ScheduleConfig(lr=0.02),
    )  # fmt: skip
    train(adapting)
    evaluate(EvaluateConfig(teacher=teacher, device="cpu"))
    evaluate(EvaluateConfig(teacher=teacher, data=paired, domain="d2", device="cpu"))
    evaluate(EvaluateConfig(run=adapting.run, device="cpu"))
    model = load_model(Path(teacher))
    image = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    write_fisher(base / "fisher.safetensors", fisher_of(model.net, [("a", image)]), {"images": 1})
    state = model.net.state_dict()
    torch.save(state, base / "bare.pth")
    torch.save(state, base / "legacy.pth", _use_new_zipfile_serialization=False)
    shutil.copyfile(base / "runs/teacher/model.safetensors", base / "bare.safetensors")


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, NaN equal to NaN."""
    if isinstance(a, torch.Tensor):
        alike = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return alike and bool(torch.equal(a.nan_to_num(7.25), b.nan_to_num(7.25)))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        alike = isinstance(b, list | tuple) and len(a) == len(b)
        return alike and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)


def checkpoint(base: Path) -> Any:
    """The newest checkpoint; where it is refused, resuming must take the older one and say so."""
    folder = base / "runs/student/checkpoints"
    try:
        return tuple(load(folder / NEW))
    except InputError:
        found, warnings = newest(folder)
        assert found is not None and found.step == 2, "the older checkpoint was not used"
        assert len(warnings) == 1 and NEW in warnings[0], "the damaged one was not named"
        assert (folder / f"{NEW}.damaged").is_dir() and found.state["student"]
        raise


def resume(base: Path) -> Any:
    """The configuration as far as it must be the given one."""
    folder = base / "runs/student"
    given = yaml.safe_load((base / "given.yaml").read_text())
    with open_run(folder, given, as_dict(TrainConfig())):
        found = build(
            TrainConfig, filled(read_yaml(folder / "config.yaml"), as_dict(TrainConfig()))
        )
    return {k: v for k, v in as_dict(found).items() if k not in MAY_DIFFER}


def model(base: Path) -> Any:
    found = load_model(base / "runs/student")
    return found.net.state_dict(), asdict(found.network), found.classes


def fisher(base: Path) -> Any:
    path = base / "fisher.safetensors"
    return read_fisher(str(path)), load_fisher(path).values


def bare(name: str) -> Callable[[Path], Any]:
    def read(base: Path) -> Any:
        net = build_network(NETWORK, 8)
        load_tensors(net, read_tensors(base / name), name)
        return net.state_dict()

    return read


def curve(base: Path) -> Any:
    found = read_metrics(base / "runs/student")
    training_curves(found)
    return found


def tables(base: Path) -> Any:
    """All that the report shows of runs, but for pictures."""
    rows = collect(base / "runs")
    entries = entries_of(rows)
    lines = lines_of(entries)
    classes = class_tables(lines)
    for table in classes:  # as report.html shows them
        [f"{v:.1f}" for _, values in table["body"] for v in values if v is not None]
    about = machines(runs_of(lines))
    return (
        [line.as_dict() for line in lines],
        csv_of_records(per_class(entries)),
        classes,
        about,
        (text_table(rows)),
    )


def vouched(file: str) -> Callable[[Path], None]:
    """Make the record vouch for the damaged file, so that its reader meets the damage."""

    def again(base: Path) -> None:
        path = base / file
        record = path.with_name(META if path.name == STATE else "model.json")
        edit_record(record, sha256=sha256(path))

    return again


@dataclass(frozen=True)
class Kind:
    """A file, how it is damaged and read."""

    name: str
    file: str
    mutators: tuple[Mutator, ...]
    read: Callable[[Path], Any]
    guarded: bool
    """Has it a digest or checksum, so that nothing changed may be accepted?"""
    after: Callable[[Path], None] | None = None


S, T = "runs/student", "runs/teacher"
TEXT: tuple[Mutator, ...] = (*BYTES, json_tree, json_tree, json_tree, json_text)
SCORES = f"{S}/metrics_scenes_d2_d2_val.json"
KINDS = (
    Kind("checkpoint state.pt", f"{S}/checkpoints/{NEW}/state.pt", (*BYTES, zip_fields, repacked),
         checkpoint, True),
    Kind("checkpoint meta.json", f"{S}/checkpoints/{NEW}/meta.json", TEXT, checkpoint, False),
    Kind("model.safetensors", f"{S}/model.safetensors", (*BYTES, safetensors_header), model, True),
    Kind("model.json", f"{S}/model.json", TEXT, model, False),
    Kind("config.yaml, resuming", f"{S}/config.yaml", (*BYTES, yaml_text, yaml_text), resume, True),
    Kind("Fisher file", "fisher.safetensors", (*BYTES, safetensors_header, safetensors_header),
         fisher, True),
    Kind("weights .pth", "bare.pth", (*BYTES, zip_fields, zip_fields), bare("bare.pth"), True),
    Kind("state.pt, digest forged", f"{S}/checkpoints/{NEW}/state.pt",
         (repacked, repacked, zip_fields, flip := BYTES[0]), checkpoint, False,
         vouched(f"{S}/checkpoints/{NEW}/state.pt")),
    Kind("model.safetensors, digest forged", f"{S}/model.safetensors",
         (safetensors_header, safetensors_header, *BYTES), model, False,
         vouched(f"{S}/model.safetensors")),
    Kind("weights .pth, repacked", "bare.pth", (repacked,), bare("bare.pth"), False),
    Kind("weights .pth before PyTorch 1.6", "legacy.pth", BYTES, bare("legacy.pth"), False),
    Kind("weights .safetensors", "bare.safetensors", (*BYTES, safetensors_header),
         bare("bare.safetensors"), False),
    Kind("config.yaml", f"{S}/config.yaml", (*BYTES, yaml_text, yaml_text),
         lambda base: read_config(base / S), False),
    Kind("metrics.jsonl", f"{S}/metrics.jsonl", (*BYTES, json_lines, json_lines, json_lines), curve,
         False),
    Kind("metrics_*.json in a report", SCORES, TEXT, tables, False),
    Kind("summary.json in a report", f"{S}/summary.json", TEXT, tables, False),
    Kind("env.json in a report", f"{T}/env.json", TEXT, tables, False),
    Kind("config.yaml in a report", f"{S}/config.yaml", (*BYTES, yaml_text, yaml_text), tables,
         False),
)  # fmt: skip
