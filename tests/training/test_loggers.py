"""Loggers of others, offline: they have the numbers of metrics.jsonl, also of a resumed run."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tiny import adapting, curve, interrupted

from adapt.errors import InputError
from adapt.training import loggers
from adapt.training.train import train


def resumed(world: Path, run: Path, **more: Any) -> dict[int, float]:
    """Step -> loss of a run that was stopped after a checkpoint."""
    config = adapting(world, run, steps=4, checkpoint_every=2, **more)
    interrupted(config, 3)
    train(config)
    return {int(line["step"]): line["loss"] for line in curve(run)}  # type: ignore[call-overload,misc]


def test_mlflow(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    wanted = resumed(world, tmp_path / "run", loggers=["mlflow", "tensorboard"])
    with sqlite3.connect(tmp_path / "run" / "mlflow.db") as records:
        (runs,) = records.execute("select count(*) from runs").fetchone()
        found = dict(records.execute("select step, value from metrics where key = 'loss'"))
    assert runs == 1 and found == pytest.approx(wanted)


def test_wandb(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    noted: list[tuple[int, float]] = []
    log = wandb.Run.log
    monkeypatch.setattr(wandb.Run, "log", lambda self, values, step: (
        noted.append((step, values["loss"])), log(self, values, step=step)))  # fmt: skip
    wanted = resumed(world, tmp_path / "run", loggers=["wandb"])
    assert dict(noted) == pytest.approx(wanted)
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2


def test_a_package_that_is_missing_is_named(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(run: Path, first: int) -> Any:
        raise ModuleNotFoundError("No module named 'wandb'")

    monkeypatch.setitem(loggers.LOGGERS, "wandb", missing)
    with pytest.raises(InputError, match="loggers: wandb is not installed"):
        train(adapting(world, tmp_path / "run", loggers=["wandb"]))
