"""R20: training changes what it should and nothing else, and a long one stays flat."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from campaigns.kills import digest, run_result
from tiny import adapting, same
from torch import nn
from trees import camvid
from warm import TRAINED, Warm

import adapt.training.train
from adapt.disk.runs import read_metrics
from adapt.networks.taps import forward
from adapt.training.setup import Setup
from adapt.training.train import train


def test_r20_the_teacher_never_changes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, through five steps with the student in train mode, evaluated at each."""
    digests, fit = [], adapt.training.train.fit

    def watched(setup: Setup, *others: object) -> None:
        assert setup.teacher is not None
        first = digest(setup.teacher.state_dict())

        def note(done: dict[str, float]) -> None:
            setup.student.train()
            assert setup.teacher is not None and not setup.teacher.training
            digests.append((done["step"], digest(setup.teacher.state_dict()) == first))

        fit(setup, *others[:-1], note)  # type: ignore[arg-type]

    monkeypatch.setattr(adapt.training.train, "fit", watched)
    file = (world / "teacher/model.safetensors").read_bytes()
    train(adapting(world, tmp_path / "s", steps=5, eval_every=1))
    assert digests == [(step, True) for step in range(1, 6)]
    assert (world / "teacher/model.safetensors").read_bytes() == file


@pytest.mark.system
def test_r20_evaluating_and_saving_disturb_nothing(warm: Warm, world: Path) -> None:
    """Every step, or never; the classifier behind dropout is trained."""
    given = (
        "data.target=d2", "teacher=teacher", "objective=pool5", "objective.kd.weight=0.5",
        "penalty=none", "data.crop=[32,40]", "steps=8", "log_every=1", "batch=2", "device=cpu",
        "precision=fp32",
    )  # fmt: skip
    warm.run("adapt.py", *given, "run=never")
    warm.run("adapt.py", *given, "run=always", "eval_every=1", "checkpoint_every=1")
    assert same(world / "never", world / "always")
    found, wanted = (run_result(world / run) for run in ("always", "never"))
    assert found["step_00000008"] == wanted["step_00000008"], "optimiser and random state too"
    losses = [line for line in found["metrics"] if "loss" in line]
    assert losses == wanted["metrics"] and len(found["metrics"]) == 2 * len(losses)


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_r20_a_failing_forward_leaves_no_hook() -> None:
    layers = {"first": nn.Conv2d(3, 4, 1), "second": nn.Conv2d(5, 4, 1)}
    net = nn.Sequential(OrderedDict(layers))
    with pytest.raises(RuntimeError, match="channels"):
        forward(net, torch.zeros(1, 3, 4, 4), ["first", "second", "logits"])
    assert hooks(net) == 0
    forward(net, torch.zeros(1, 3, 4, 4), ["first"])
    assert hooks(net) == 0, "left early, behind the last layer that was asked for"


@pytest.mark.system
def test_r20_memory_files_and_threads_stay_flat(warm: Warm, tmp_path: Path) -> None:
    """Steps 100 and 600 of a run with two workers that evaluates and saves on its way; 5 kB a step
    would be noticed."""
    file = tmp_path / "measured.json"
    warm.run(
        "train.py", *TRAINED, f"data.root={camvid(tmp_path / 'd', 4, 4)}", "data.resize=[8,8]",
        "data.crop=[8,8]", "steps=610", "workers=2", "eval_every=50", "checkpoint_every=25",
        f"run={tmp_path / 'long'}", fault=f"measure:{file},100,600",
    )  # fmt: skip
    early, late = json.loads(file.read_text()).values()
    assert late["files"] == early["files"] and late["threads"] == early["threads"]
    assert late["tensors"] <= 2 * 2 * 2 + 2, "two of each batch that is ready, and of this one"
    assert late["memory"] < 1.004 * early["memory"]
    assert len(read_metrics(tmp_path / "long")) == 610 + 13
