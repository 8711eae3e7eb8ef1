"""What of batch norm moves under each policy, and AdaBN's statistics by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from adapt.batchnorm import adapt_statistics, eval_mode, freeze, train_mode
from adapt.errors import InputError


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))


def moved(policy: str) -> set[str]:
    """State that one optimiser step changes."""
    student = net()
    train_mode(student, policy)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1)
    student(torch.randn(4, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    return {k for k, v in student.state_dict().items() if not torch.equal(v, before[k])}


CONV = {"0.weight", "0.bias"}
AFFINE = {"1.weight", "1.bias"}
STATISTICS = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_policies_move_what_they_say() -> None:
    assert moved("eval") == CONV
    assert moved("affine") == CONV | AFFINE
    assert moved("train") - {"0.bias"} == {"0.weight"} | AFFINE | STATISTICS


def test_policy_keeps_dropout_training() -> None:
    student = net()
    train_mode(student, "eval")
    assert student[3].training and not student[1].training


def test_frozen_stays_frozen_when_someone_calls_train() -> None:
    teacher = freeze(net())
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    outer = nn.ModuleList([teacher])
    outer.train()
    teacher.train()
    a, b = (teacher(torch.ones(2, 3, 5, 5)) for _ in range(2))
    assert torch.equal(a, b) and not a.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_eval_mode_gives_every_module_its_own_mode_back() -> None:
    student = net()
    train_mode(student, "affine")
    modes = [m.training for m in student.modules()]
    with pytest.raises(RuntimeError), eval_mode(student):
        assert not any(m.training for m in student.modules())
        raise RuntimeError
    assert [m.training for m in student.modules()] == modes


def test_adabn_statistics_equal_numpy() -> None:
    """Cumulative average over batches of mean and unbiased variance; nothing else moves."""
    student = net()
    batches = [torch.randn(2, 3, 4, 6) + i for i in range(3)]
    before = {k: v.clone() for k, v in student.state_dict().items()}
    adapt_statistics(student, batches)
    w, b = before["0.weight"][:, :, 0, 0].numpy(), before["0.bias"].numpy()
    maps = [np.einsum("oc,nchw->ohwn", w, x.numpy()).reshape(4, -1) + b[:, None] for x in batches]
    assert student[1].running_mean.numpy() == pytest.approx(
        np.mean([m.mean(axis=1) for m in maps], axis=0), abs=1e-5
    )
    assert student[1].running_var.numpy() == pytest.approx(
        np.mean([m.var(axis=1, ddof=1) for m in maps], axis=0), rel=1e-5
    )
    for key in CONV | AFFINE:
        assert torch.equal(student.state_dict()[key], before[key])
    assert student[1].momentum == 0.1 and student[1].training


def test_adabn_needs_batch_norm() -> None:
    with pytest.raises(InputError, match="no batch normalisation"):
        adapt_statistics(nn.Conv2d(3, 3, 1), [])
