"""Learning rates as closed forms of the step, and which parameters get which rate."""

import math
import random

import pytest
import torch
from torch import nn

from adapt.errors import InputError
from adapt.settings.groups import ScheduleConfig
from adapt.training.schedules import SCHEDULES, make_optimizer, set_rate

STEPS = 12
FORMULAS = {
    "constant": lambda t: 1.0,
    "poly": lambda t: (1 - t / STEPS) ** 0.7,
    "cosine": lambda t: math.cos(math.pi * t / STEPS / 2) ** 2,  # half-angle form
    "step": lambda t: 0.2 ** ((t >= 6) + (t >= 9)),
}


def config(name: str, **changes: object) -> ScheduleConfig:
    values = {"power": 0.7, "milestones": [0.5, 0.75], "gamma": 0.2, **changes}
    return ScheduleConfig(name, **values)  # type: ignore[arg-type]


def network() -> nn.Module:
    return nn.ModuleDict({"old": nn.Linear(3, 2), "new": nn.Linear(2, 2)})


SHARED = {"old.weight", "old.bias"}


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_depends_on_the_step_alone_and_not_on_what_was_before(
    name: str, warmup: int
) -> None:
    """So a resumed run needs no state of the schedule, and cosine cannot collapse by recursion."""
    made = config(name, lr=0.3, shared_multiplier=0.5, new_multiplier=10, warmup=warmup)
    optimiser = make_optimizer(network(), SHARED, made)
    order = [*range(STEPS), *range(STEPS)]
    random.Random(0).shuffle(order)
    for t in order:
        share = (0.25, 0.5, 0.75)[t] if t < 3 and warmup else 1.0
        rate = 0.3 * share * FORMULAS[name](t)
        assert set_rate(optimiser, t, STEPS, made) == pytest.approx(rate, rel=1e-12)
        found = [group["lr"] for group in optimiser.param_groups]
        assert found == pytest.approx([0.5 * rate, 10 * rate], rel=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_trainable_parameter_is_in_the_group_of_its_kind_once(optimizer: str) -> None:
    net = network()
    net["new"].bias.requires_grad_(False)  # type: ignore[index]
    made = config("poly", optimizer=optimizer, shared_multiplier=0.5, new_multiplier=10)
    ids = {id(p): name for name, p in net.named_parameters()}

    def groups(shared: set[str]) -> list[tuple[float, list[str]]]:
        found = make_optimizer(net, shared, made).param_groups
        return [(group["multiplier"], [ids[id(p)] for p in group["params"]]) for group in found]

    every = ["old.weight", "old.bias", "new.weight"]
    assert groups(SHARED) == [(0.5, every[:2]), (10, every[2:])]
    assert groups(set()) == [(10, every)], "an empty group is left out"
    assert groups(set(every)) == [(0.5, every)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_steps_are_torchs_with_the_stated_rates(optimizer: str) -> None:
    """Momentum and decay arrive; the reference has one rate a parameter, set by hand."""
    made = config(
        "cosine", optimizer=optimizer, lr=0.1, momentum=0.8, weight_decay=0.05,
        shared_multiplier=0.5, new_multiplier=10,
    )  # fmt: skip
    torch.manual_seed(0)
    ours, theirs = network(), network()
    theirs.load_state_dict(ours.state_dict())
    groups = [{"params": list(theirs[n].parameters())} for n in ("old", "new")]  # type: ignore[index]
    reference = (
        torch.optim.SGD(groups, lr=1, momentum=0.8, weight_decay=0.05)
        if optimizer == "sgd"
        else torch.optim.AdamW(groups, lr=1, betas=(0.8, 0.999), weight_decay=0.05)
    )
    optimiser = make_optimizer(ours, SHARED, made)
    x = torch.randn(4, 3)
    for t in range(2):
        rate = set_rate(optimiser, t, STEPS, made)
        for group, multiplier in zip(reference.param_groups, (0.5, 10), strict=True):
            group["lr"] = rate * multiplier
        for net, method in ((ours, optimiser), (theirs, reference)):
            method.zero_grad()
            net["new"](net["old"](x)).square().sum().backward()  # type: ignore[index]
            method.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "polly"), ("optimizer", "adam"), ("lr", 0.0), ("lr", -1.0), ("momentum", 1.0),
     ("momentum", -0.1), ("weight_decay", -1e-4), ("warmup", -1), ("power", -0.5),
     ("new_multiplier", -1.0), ("shared_multiplier", -1.0)],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"schedule\.{field}.*{value}"):
        ScheduleConfig(**{field: value})  # type: ignore[arg-type]
