"""R9: a value that is not finite stops the run before the update."""

from pathlib import Path

import pytest
import torch
from tiny import adapting

from adapt.data.sampling import Stream, batches
from adapt.disk import checkpoint
from adapt.disk.runs import read_metrics
from adapt.errors import Stopped
from adapt.objective.terms import Objective
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.training.setup import prepare, resolve
from adapt.training.train import one_step, train


def test_r09_a_rate_that_diverges_is_stopped(world: Path, tmp_path: Path) -> None:
    """A real one: the first update overflows, the second step's loss is not finite."""
    config = adapting(
        world, tmp_path / "r", schedule=ScheduleConfig(lr=1e20), checkpoint_every=1,
        penalty=PenaltyConfig("none"),
    )  # fmt: skip
    with pytest.raises(Stopped, match=r"step \d: regression/pool3 is not finite") as stopped:
        train(config)
    assert stopped.value.status == 3
    found, _ = checkpoint.newest(tmp_path / "r" / "checkpoints")
    assert found is not None
    assert found.step == max(int(r["step"]) for r in read_metrics(tmp_path / "r"))
    assert not (tmp_path / "r" / "model.safetensors").exists()


def test_r09_the_refused_step_updates_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parameters in memory are those of the step before, bit for bit."""
    setup = prepare(*resolve(adapting(world, tmp_path / "r")))
    stream = Stream(setup.data, setup.config.data, setup.fields, 0)
    first, second = batches(stream, 2, 0, 2)
    one_step(setup, first, 0)
    before = {k: v.clone() for k, v in setup.student.state_dict().items()}
    momentum = [s["momentum_buffer"].clone() for s in setup.optimizer.state.values()]
    original = Objective.__call__

    def poisoned(objective: Objective, *maps: dict) -> tuple:
        loss, parts = original(objective, *maps)
        return loss * float("nan"), parts

    monkeypatch.setattr(Objective, "__call__", poisoned)
    with pytest.raises(Stopped, match="the gradient is not finite"):
        one_step(setup, second, 1)
    parameters = dict(setup.student.named_parameters())
    assert all(torch.equal(v, before[k]) for k, v in parameters.items())
    kept = [s["momentum_buffer"] for s in setup.optimizer.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(momentum, kept, strict=True))
