"""Runs that take a second: a width-1/32 DeepLab on a CamVid-like tree and its photocopied twin."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapt.disk.files import read_mapping, write_json
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    ShiftConfig,
)
from adapt.settings.objective import ObjectiveConfig, RegressionConfig, SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train

SUPERVISED = ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0))
POOL3 = ObjectiveConfig("pool3", regression=RegressionConfig(1.0, {"pool3": 1.0}))


def teaching(root: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        run=str(root / "teacher"),
        data=DataConfig(name="camvid", root=str(root / "d1"), crop=[32, 40]),
        network=NetworkConfig(width=1 / 32, batch_norm=True),
        objective=SUPERVISED,
        penalty=PenaltyConfig("l2", 5e-4, 5e-4),
        schedule=ScheduleConfig(lr=0.02),
        steps=4,
        batch=2,
        log_every=1,
        precision="fp32",
        device="cpu",
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def adapting(world: Path, run: Path, **changes: object) -> TrainConfig:
    config = replace(
        teaching(world),
        run=str(run),
        data=DataConfig(target=str(world / "d2")),
        network=NetworkConfig(),
        teacher=str(world / "teacher"),
        objective=POOL3,
        penalty=PenaltyConfig("l2_sp", 1e-2, 1e-2),
        domain="d2",
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def shifted_and_taught(root: Path) -> None:
    """Beside `d1` its photocopied twin `d2` and a finished run `teacher`."""
    data = DataConfig(name="camvid", root=str(root / "d1"))
    shift = ShiftConfig("photocopy", {"mask_radius": 5.0})
    make_distorted(DistortConfig(data=data, shift=shift, out=str(root / "d2"), workers=1))
    train(teaching(root, steps=6))


class Interrupted(Exception):
    """Stands for a crash between two steps."""


def crash_at(step: int) -> Callable[[dict[str, Any]], None]:
    """For `train`: the crash after a completed step."""

    def on_step(done: dict[str, Any]) -> None:
        if done["step"] == step:
            raise Interrupted

    return on_step


def interrupted(config: TrainConfig, at: int) -> None:
    """A training that ends by an exception at a step, which its run folder outlives."""
    with pytest.raises(Interrupted):
        train(config, crash_at(at))


def edit_record(path: Path, **changes: object) -> None:
    """Change entries of meta.json or model.json; None = take it out."""
    content = {k: v for k, v in (read_mapping(path) | changes).items() if v is not None}
    write_json(path, content)


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def curve(run: Path) -> list[dict[str, object]]:
    """metrics.jsonl without its timings."""
    return [{k: v for k, v in r.items() if k != "seconds"} for r in read_metrics(run)]


def refused(config: TrainConfig, message: str) -> None:
    """A training that ends in a message and leaves no run."""
    with pytest.raises(InputError, match=message):
        train(config)
    assert not Path(config.run).exists()
