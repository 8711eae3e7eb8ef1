"""R20: training changes what it should and nothing else, and a long one stays flat."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from campaigns.kills import run_result
from PIL import Image
from tiny import adapting, same, weights
from torch import nn
from warm import Warm

import adapt.training.train
from adapt.disk.runs import read_metrics
from adapt.networks.taps import forward
from adapt.settings.groups import PenaltyConfig
from adapt.training.setup import Setup
from adapt.training.train import train


def sha256(net: nn.Module) -> str:
    """Of parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_r20_the_teacher_never_changes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, through five steps with the student in train mode, evaluated at each."""
    digests, fit = [], adapt.training.train.fit

    def watched(setup: Setup, *others: object) -> None:
        assert setup.teacher is not None
        first = sha256(setup.teacher)

        def note(step: int) -> None:
            setup.student.train()
            assert setup.teacher is not None and not setup.teacher.training
            digests.append((step, sha256(setup.teacher) == first))

        fit(setup, *others[:-1], note)  # type: ignore[arg-type]

    monkeypatch.setattr(adapt.training.train, "fit", watched)
    file = (world / "teacher/model.safetensors").read_bytes()
    train(adapting(world, tmp_path / "s", steps=5, eval_every=1))
    assert digests == [(step, True) for step in range(1, 6)]
    assert (world / "teacher/model.safetensors").read_bytes() == file


@pytest.mark.parametrize("penalty", ["l2_sp", "l2"])
def test_r20_frozen_layers_and_their_statistics_never_change(
    world: Path, tmp_path: Path, penalty: str
) -> None:
    train(
        adapting(
            world, tmp_path / "s", steps=5, freeze="pool1", bn="train", eval_every=1,
            penalty=PenaltyConfig(penalty, 1e-2, 1e-2),
        )
    )  # fmt: skip
    before, after = weights(world / "teacher"), weights(tmp_path / "s")
    frozen = [k for k in before if k.startswith("conv1.")]
    assert [k for k in frozen if k.endswith("running_mean")]
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    moved = [k for k in before if k.startswith("conv2.") and not torch.equal(before[k], after[k])]
    assert [k for k in moved if k.endswith("running_mean")]


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


class Breaks(nn.Module):
    """Fails in its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_r20_a_failing_forward_leaves_no_hook() -> None:
    net = Breaks()
    with pytest.raises(RuntimeError, match="channels"):
        forward(net, torch.zeros(1, 3, 4, 4), ["first", "second", "logits"])
    assert hooks(net) == 0
    forward(net, torch.zeros(1, 3, 4, 4), ["first"])
    assert hooks(net) == 0, "left early, behind the last layer that was asked for"


@pytest.mark.system
def test_r20_memory_files_and_threads_stay_flat(warm: Warm, world: Path, tmp_path: Path) -> None:
    """Steps 200 and 2,000 of a run with two workers that evaluates and saves on its way."""
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (tmp_path / "d" / folder).mkdir(parents=True)
        for i in range(4):
            rng = np.random.default_rng(i)
            mask = rng.integers(0, 11, (8, 8)).astype(np.uint8)
            Image.fromarray(mask).save(tmp_path / f"d/{split}annot/{i}.png")
            Image.fromarray(np.stack([mask * 20] * 3, axis=2)).save(tmp_path / f"d/{split}/{i}.png")
        rows = "".join(f"/{split}/{i}.png /{split}annot/{i}.png\n" for i in range(4))
        (tmp_path / f"d/{split}.txt").write_text(rows)
    file = tmp_path / "measured.json"
    warm.run(
        "train.py", "data=camvid", f"data.root={tmp_path / 'd'}", "network.width=0.03125",
        "network.batch_norm=true", "batch=2", "steps=2010", "workers=2", "eval_every=100",
        "checkpoint_every=50", "log_every=1", "device=cpu", "precision=fp32",
        f"run={tmp_path / 'long'}", fault=f"measure:{file},200,2000",
    )  # fmt: skip
    early, late = json.loads(file.read_text()).values()
    assert late["files"] == early["files"] and late["threads"] == early["threads"]
    assert late["tensors"] <= 2 * 2 * 2 + 2, "two of each batch that is ready, and of this one"
    assert late["memory"] < 1.02 * early["memory"]
    assert len(read_metrics(tmp_path / "long")) == 2010 + 21
