"""What a step does with the gradients of a batch: at once, or when enough images have been seen."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from adapt.machine.processes import all_sum, world
from adapt.objective.terms import Maps
from adapt.penalties import Penalty
from adapt.settings.groups import ScheduleConfig
from adapt.settings.training import TrainConfig
from adapt.training.schedules import factor


class Update:
    """The optimiser's step by the gradients of one batch, with the penalty's pull; a call returns
    the learning rate that it was taken by, before the multipliers of groups."""

    def __init__(self, optimizer: torch.optim.Optimizer, penalty: Penalty) -> None:
        self.optimizer, self.penalty = optimizer, penalty

    def __call__(self, batch: Maps, rate: float) -> float:
        self.penalty.before_step(self.optimizer)
        self.optimizer.step()
        self.penalty.after_step(self.optimizer)
        return rate

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


class Asynchronous(Update):
    """Asynchronous SGD (UberNet: Kokkinos, CVPR 2017, Table 3): the backbone and each head step
    when they have seen enough images, counted apart, each with momentum and schedule of its own;
    the rate that a call returns is the backbone's, or without one the first head's.

    Until then gradients are averaged over batches. A batch weighs as many labelled pixels as it
    has for the group, so that a head's step is that of one large batch, however its labels are
    dealt to the drawn ones; so is the backbone's with one task, or where all images have as many
    labelled pixels. What waits is moved by nothing: no momentum, decay or penalty.

    Args:
        optimizer: its groups have the name of their head as `task`; the backbone has none.
        penalty: of the run.
        schedule: its `asynchronous` is the number of images.
        steps: of the run, a batch each.
        batch: images in a batch, of all processes.
        shares: the share of the training images that have a task's labels.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        penalty: Penalty,
        schedule: ScheduleConfig,
        steps: int,
        batch: int,
        shares: Mapping[str, float],
    ) -> None:
        super().__init__(optimizer, penalty)
        self.schedule, self.steps, self.batch, self.shares = schedule, steps, batch, shares
        self.waiting: dict[int, torch.Tensor] = {}
        for group in optimizer.param_groups:
            group.setdefault("task", "")
            group |= {"seen": 0, "pixels": 0, "stepped": 0}

    @torch.no_grad()
    def __call__(self, batch: Maps, rate: float) -> float:
        found, held, rates = amounts(batch), dict[nn.Parameter, torch.Tensor](), []
        for group in self.optimizer.param_groups:
            images, pixels = found[group["task"]]
            # The objective counts a head by its share of the images; alone it has its own mean.
            own = found[""][0] / images if images else 0.0
            before, group["pixels"] = group["pixels"], group["pixels"] + pixels
            part = pixels / group["pixels"] if group["pixels"] else 1.0
            for parameter, gradient in gradients_of(group):
                gradient.mul_(part * own)
                if (mean := self.waiting.pop(id(parameter), None)) is not None:
                    gradient.add_(mean, alpha=before / max(1, group["pixels"]))
            group["seen"] += images
            at = group["stepped"] / (self.batch * self.shares.get(group["task"], 1.0))
            rates.append(self.schedule.lr * factor(min(at, self.steps), self.steps, self.schedule))
            group["lr"] = rates[-1] * group["multiplier"]
            if group["seen"] < self.schedule.asynchronous:
                held |= dict(gradients_of(group))
                continue
            group |= {"seen": 0, "pixels": 0, "stepped": group["stepped"] + group["seen"]}
        for parameter in held:
            parameter.grad = None
        super().__call__(batch, rate)
        for parameter, mean in held.items():
            parameter.grad = self.waiting[id(parameter)] = mean
        return rates[0]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's, and the gradients that wait by the place of their parameter."""
        known = {i: self.waiting.get(id(p)) for i, p in enumerate(self.parameters)}
        return super().state_dict() | {"waiting": {i: g for i, g in known.items() if g is not None}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        every = self.parameters
        self.waiting = {id(every[i]): g.to(every[i].device) for i, g in state["waiting"].items()}


def update_of(
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    penalty: Penalty,
    shares: Mapping[str, float],
) -> Update:
    """What a training does with its gradients; `shares` as in Asynchronous."""
    if not config.schedule.asynchronous:
        return Update(optimizer, penalty)
    clock = (config.schedule, config.steps, config.batch)
    return Asynchronous(optimizer, penalty, *clock, shares)


def gradients_of(group: dict[str, Any]) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
    """The parameters of a group that have a gradient, with it."""
    return ((p, p.grad) for p in group["params"] if p.grad is not None)


def amounts(batch: Maps) -> dict[str, tuple[int, int]]:
    """Images and labelled pixels of a batch, of all processes, which must come in one order: of
    each task and, under the empty name, of all. Without labels an image counts as a pixel."""
    images = len(next(iter(batch.values()))) * world()
    labels = {key.partition("_")[2]: y for key, y in sorted(batch.items()) if key[0] == "y"}
    pixels = {task: (y.long() != torch.iinfo(y.dtype).max).sum() for task, y in labels.items()}
    counts = {task: int(all_sum(count)) for task, count in pixels.items()}
    found = {t: (int(all_sum(batch[f"has_{t}"].sum())), counts[t]) for t in counts if t}
    return found | {"": (images, sum(counts.values()) if labels else images)}
