"""Learning rates by hand, and which parameters get which."""

import math

import pytest
import torch
from torch import nn

from adapt.config import ScheduleConfig
from adapt.errors import InputError
from adapt.schedules import SCHEDULES, factor, make_optimizer, set_rate


@pytest.mark.parametrize(
    ("config", "at", "expected"),
    [
        (ScheduleConfig("poly", power=0.9), 0, 1.0),
        (ScheduleConfig("poly", power=0.9), 50, 0.5**0.9),
        (ScheduleConfig("poly", power=0.9), 99, 0.01**0.9),
        (ScheduleConfig("step", milestones=[0.5, 0.75], gamma=0.1), 49, 1.0),
        (ScheduleConfig("step", milestones=[0.5, 0.75], gamma=0.1), 50, 0.1),
        (ScheduleConfig("step", milestones=[0.5, 0.75], gamma=0.1), 75, 0.01),
        (ScheduleConfig("cosine"), 0, 1.0),
        (ScheduleConfig("cosine"), 50, 0.5),
        (ScheduleConfig("cosine"), 25, 0.5 + math.sqrt(0.5) / 2),
        (ScheduleConfig("constant"), 99, 1.0),
        (ScheduleConfig("constant", warmup=10), 0, 0.1),
        (ScheduleConfig("constant", warmup=10), 4, 0.5),
        (ScheduleConfig("constant", warmup=10), 10, 1.0),
        (ScheduleConfig("poly", power=1.0, warmup=4), 1, 0.5 * 0.99),
    ],
)
def test_factor_of_a_step(config: ScheduleConfig, at: int, expected: float) -> None:
    assert factor(at, 100, config) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_rate_never_vanishes_or_grows(name: str) -> None:
    """002's recursive cosine collapses to 0; a rate of the initial value does not."""
    rates = [factor(t, 50, ScheduleConfig(name)) for t in range(50)]
    assert min(rates) > 0 and rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_shared_and_new_parameters_have_their_own_rates(optimizer: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].bias.requires_grad_(False)
    config = ScheduleConfig(
        "constant", optimizer, lr=0.5, new_multiplier=10.0, shared_multiplier=0.1
    )
    made = make_optimizer(net, {"0.weight", "0.bias"}, config)
    assert set_rate(made, 0, 10, config) == 0.5
    rates = {id(p): g["lr"] for g in made.param_groups for p in g["params"]}
    assert rates == {
        id(net[0].weight): 0.05,
        id(net[1].weight): 5.0,
        id(net[1].bias): 5.0,
    }


def test_momentum_step_by_hand() -> None:
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    config = ScheduleConfig("constant", lr=0.1, momentum=0.5)
    made = make_optimizer(weight, (), config)
    for _ in range(2):
        set_rate(made, 0, 1, config)
        weight.weight.grad = torch.ones(1, 1)
        made.step()
    assert weight.weight.item() == pytest.approx(1 - 0.1 * 1 - 0.1 * 1.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "polly"}, "Did you mean 'poly'"),
        ({"optimizer": "adam"}, "adamw"),
        ({"lr": 0.0}, "lr is 0.0; it must be above 0"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"warmup": -1}, "warmup is -1"),
    ],
)
def test_wrong_schedules_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ScheduleConfig(**wrong)
