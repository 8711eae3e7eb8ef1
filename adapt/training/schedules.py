"""Optimisers, and the learning rate as a pure function of the step (so resuming needs no state)."""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import product

import torch
from torch import nn

from adapt.machine.runtime import eager
from adapt.settings.groups import ScheduleConfig


def poly(progress: float, config: ScheduleConfig) -> float:
    """(1 - t/T)^power (DeepLab)."""
    return (1 - progress) ** config.power


def step(progress: float, config: ScheduleConfig) -> float:
    """gamma^(number of milestones passed)."""
    return config.gamma ** sum(progress >= m for m in config.milestones)


def cosine(progress: float, config: ScheduleConfig) -> float:
    """(1 + cos(pi t/T)) / 2 of the *initial* rate (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def constant(progress: float, config: ScheduleConfig) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[[float, ScheduleConfig], float]] = {
    "poly": poly, "step": step, "cosine": cosine, "constant": constant,
}  # fmt: skip


def factor(at: int, steps: int, config: ScheduleConfig) -> float:
    """Learning-rate factor of step `at` in 0..steps-1, with linear warm-up."""
    warm = min(1.0, (at + 1) / config.warmup) if config.warmup else 1.0
    return warm * SCHEDULES[config.name](at / steps, config)


def make_optimizer(
    net: nn.Module,
    shared: Iterable[str],
    config: ScheduleConfig,
    further: Iterable[nn.Parameter] = (),
    owners: Mapping[str, str] | None = None,
) -> torch.optim.Optimizer:
    """SGD or AdamW over the trainable parameters, in a shared and a new group with own rates;
    `further` parameters, of no network, are new ones. Those that `owners` gives to a task have
    groups of their own, with its name."""
    shared, owners = set(shared), owners or {}
    rates = ((True, config.shared_multiplier), (False, config.new_multiplier))
    groups = []
    for task, (is_shared, multiplier) in product(dict.fromkeys(["", *owners.values()]), rates):
        members = [
            p
            for n, p in net.named_parameters()
            if p.requires_grad and (n in shared) == is_shared and owners.get(n, "") == task
        ]
        members += [] if is_shared or task else further
        if members:
            named = {"task": task} if task else {}
            groups.append({"params": members, "multiplier": multiplier, **named})
    if config.optimizer == "sgd":
        return eager(torch.optim.SGD)(
            groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return eager(torch.optim.AdamW)(
        groups, lr=config.lr, betas=(config.momentum, 0.999), weight_decay=config.weight_decay
    )


def set_rate(
    optimizer: torch.optim.Optimizer, at: int, steps: int, config: ScheduleConfig
) -> float:
    """Set every group's rate for step `at`; returns the base rate."""
    rate = config.lr * factor(at, steps, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]
    return rate
