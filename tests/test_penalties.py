"""Penalties against autograd, and who is pulled where."""

import pytest
import torch
from torch import nn

from adapt.config import PenaltyConfig
from adapt.errors import InputError
from adapt.penalties import PENALTIES, Penalty, penalised, split_shared


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def started() -> tuple[nn.Sequential, dict[str, torch.Tensor]]:
    """A student, and a start that lacks its last layer."""
    start = {k: v for k, v in net(1).state_dict().items() if not k.startswith("3.")}
    return net(0), start


def with_gradients(student: nn.Module) -> dict[str, torch.Tensor]:
    for i, p in enumerate(student.parameters()):
        p.grad = torch.full_like(p, float(i))
    return {k: p.grad.clone() for k, p in student.named_parameters() if p.grad is not None}


def formula(
    name: str, student: nn.Module, start: dict[str, torch.Tensor], config: PenaltyConfig
) -> torch.Tensor:
    """Equations 1 and 2 of the paper, written with autograd."""
    total = torch.zeros(())
    for key, p in student.named_parameters():
        weight = key in ("0.weight", "3.weight")
        if name == "none" or (config.kinds == "weights" and not weight):
            continue
        if key not in start:
            total = total + config.beta / 2 * p.square().sum()
        elif name == "l2":
            total = total + config.alpha / 2 * p.square().sum()
        else:
            total = total + config.alpha / 2 * (p - start[key]).square().sum()
    return total


@pytest.mark.parametrize("kinds", ["weights", "all"])
@pytest.mark.parametrize("name", PENALTIES)
def test_value_and_gradient_equal_autograd(name: str, kinds: str) -> None:
    student, start = started()
    config = PenaltyConfig(name, alpha=0.3, beta=0.07, kinds=kinds)
    before = with_gradients(student)
    penalty = Penalty(student, start, config)
    value = formula(name, student, start, config)
    parameters = dict(student.named_parameters())
    wanted = (
        torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        if value.requires_grad
        else [None] * len(parameters)
    )
    assert penalty.value() == pytest.approx(value.item(), rel=1e-6)
    penalty.add_gradient()
    for (key, p), extra in zip(parameters.items(), wanted, strict=True):
        expected = before[key] + (extra if extra is not None else 0)
        assert torch.allclose(p.grad, expected, atol=1e-7), key


def test_l2_sp_is_zero_at_the_start_and_owns_it() -> None:
    student = net()
    start = dict(student.state_dict())  # aliases the live weights, as a careless caller would
    penalty = Penalty(student, start, PenaltyConfig("l2_sp", 1.0, 1.0))
    with_gradients(student)
    assert penalty.value() == 0
    with torch.no_grad():
        student[0].weight.add_(1.0)
    assert penalty.value() == pytest.approx(0.5 * student[0].weight.numel())


def test_parameters_without_gradient_are_left_alone() -> None:
    student, start = started()
    penalty = Penalty(student, start, PenaltyConfig("l2", 1.0, 1.0))
    before = student[3].weight.detach().clone()
    student[0](torch.randn(1, 3, 8, 8)).sum().backward()
    penalty.add_gradient()
    torch.optim.SGD(student.parameters(), lr=0.5, momentum=0.9).step()
    assert student[3].weight.grad is None
    assert torch.equal(student[3].weight, before)
    assert penalty.value() == pytest.approx(0.5 * student[0].weight.square().sum().item(), rel=1e-5)


def test_alpha_is_comparable_with_weight_decay() -> None:
    """One SGD step of L2 equals one with weight_decay of the same number."""
    a, b = net(), net()
    for student in (a, b):
        with_gradients(student)
    Penalty(a, None, PenaltyConfig("l2", 0.0, 0.1, "all")).add_gradient()
    torch.optim.SGD(a.parameters(), lr=0.5).step()
    torch.optim.SGD(b.parameters(), lr=0.5, weight_decay=0.1).step()
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.allclose(x, y, atol=1e-7)


def test_split_is_by_name_and_shape() -> None:
    student = net()
    start = dict(net(1).state_dict())
    start["3.weight"] = torch.zeros(7, 4, 1, 1)
    shared, new = split_shared(student, start)
    assert new == {"3.weight"}
    assert shared == {"0.weight", "0.bias", "1.weight", "1.bias", "3.bias"}
    assert split_shared(student, None)[0] == set()


def test_weights_are_all_but_biases_and_norms() -> None:
    assert penalised(net(), "weights") == {"0.weight", "3.weight"}
    assert penalised(net(), "all") == {name for name, _ in net().named_parameters()}


def test_refusals() -> None:
    student, start = started()
    penalty = Penalty(student, start, PenaltyConfig("l2_sp", 0.1, 0.1))
    with pytest.raises(InputError, match=r"weight_decay=0\.01 and penalty=l2_sp"):
        penalty.refuse_decay(0.01)
    penalty.refuse_decay(0.0)
    Penalty(student, start, PenaltyConfig("none")).refuse_decay(0.01)
    with pytest.raises(InputError, match="no start to pull to"):
        Penalty(student, None, PenaltyConfig("l2_sp", 0.1))
    with pytest.raises(InputError, match="Choices: none, l2, l2_sp"):
        Penalty(student, start, PenaltyConfig("l4"))
    with pytest.raises(InputError, match="alpha is nan"):
        PenaltyConfig("l2", float("nan"))
