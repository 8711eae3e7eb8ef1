"""The penalties by name; the penalty of one run: its parameters, and when in a step it acts."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.penalties.fisher import metric_of
from adapt.penalties.norms import Groups, Norm, Pulled, absolute, grouped, groups_of, quadratic
from adapt.penalties.split import modules_of, owned, penalised, split_of, split_shared
from adapt.settings.groups import PenaltyConfig, ScheduleConfig


class Form(NamedTuple):
    """What is done to the shared parameters, at strength alpha. New ones are pulled to 0 by
    beta/2 |w_new|^2 whatever the form."""

    norm: Norm
    to_start: bool
    """Pulled to w0 instead of 0?"""
    fisher: bool = False
    """Weighted by Fisher information?"""


PENALTIES: dict[str, Form | None] = {
    "none": None,
    "l2": Form(quadratic, to_start=False),
    "l2_sp": Form(quadratic, to_start=True),
    "l2_sp_fisher": Form(quadratic, to_start=True, fisher=True),
    "l1_sp": Form(absolute, to_start=True),
    "gl_sp": Form(grouped, to_start=True),
    "gl_sp_fisher": Form(grouped, to_start=True, fisher=True),
}
"""Equations 1 to 6 of Li et al. 2020, and the last of its section 3."""


def checked_form(
    config: PenaltyConfig,
    start_point: Mapping[str, Tensor] | None,
    fisher: Mapping[str, Tensor] | None,
) -> Form | None:
    """The form of this name, with all that it needs and nothing that it does not use."""
    form = PENALTIES[config.name]
    if form and form.to_start and start_point is None:
        raise InputError(
            f"penalty {config.name}: there is no start to pull to; give start=RUN or penalty=none"
        )
    weighted = form is not None and form.fisher
    if weighted and fisher is None:
        raise InputError(
            f"penalty {config.name} needs penalty.fisher=FILE, the Fisher information of the start "
            "by parameter name (safetensors), which fra fisher makes"
        )
    if fisher is not None and not weighted:
        users = ", ".join(name for name, f in PENALTIES.items() if f and f.fisher)
        raise InputError(
            f"penalty.fisher is given, but penalty={config.name} does not use it; {users} do"
        )
    return form


class Anchored(NamedTuple):
    """A penalised parameter, what it is pulled to (None = zero), how, and how strongly."""

    name: str
    parameter: nn.Parameter
    start_point: Tensor | None
    strength: float
    norm: Norm
    fisher: Tensor | None
    groups: Groups


class Penalty:
    """Omega of one run.

    w0 is cloned to fp32 here and never aliased; parameters without a gradient (because the
    objective's does not get to them) are neither pulled nor counted.

    Args:
        net: the student.
        start_point: the starting checkpoint's tensors; None = none, all is new.
        config: which penalty, how strong, on what.
        fisher: for the Fisher penalties: parameter name -> diagonal of the Fisher information,
            not negative, at least for the penalised parameters that are shared.
        trained: names that the objective's gradient gets to, for `split`; None = not known.

    Raises:
        InputError: a start or Fisher information that the penalty needs and does not have or that
            does not fit, or Fisher information that it has no use for.
    """

    def __init__(
        self,
        net: nn.Module,
        start_point: dict[str, Tensor] | None,
        config: PenaltyConfig,
        fisher: Mapping[str, Tensor] | None = None,
        trained: set[str] | None = None,
    ) -> None:
        form = checked_form(config, start_point, fisher)
        self.config = config
        self.shared, self.new = split_shared(net, start_point)
        self.entries: list[Anchored] = []
        if form is not None:
            known = start_point or {}, self.shared, form, config, fisher or {}
            self.entries = list(anchored(net, *known, trained))
        within = [e for e in self.entries if trained is None or e.name in trained]
        self.to_start = [e for e in within if e.start_point is not None]
        to_zero = {e.name for e in within if e.start_point is None}
        to_start = {e.name for e in self.to_start}
        shared = start_point or {}, self.shared
        self.split = split_of(net, *shared, to_start, to_zero, config.kinds, trained)

    def moving(self) -> list[Anchored]:
        """Entries with a gradient."""
        return [e for e in self.entries if e.parameter.grad is not None]

    def refuse_decay(self, optimizer: torch.optim.Optimizer, where: str = "schedule.") -> None:
        """Decay and penalty on the same parameters shrink to alpha w0 / (alpha + decay), not w0."""
        pulled = {id(e.parameter) for e in self.entries}
        for group in optimizer.param_groups:
            decay = group.get("weight_decay", 0.0)
            if decay > 0 and not pulled.isdisjoint(map(id, group["params"])):
                raise InputError(
                    f"{where}weight_decay={decay:g} and penalty={self.config.name} act on the same "
                    f"parameters; set {where}weight_decay=0 and use penalty.alpha/beta, or "
                    "penalty=none"
                )

    def refuse_overshoot(self, config: ScheduleConfig) -> None:
        """An explicit quadratic pull leaves the share 1 - lr alpha F of a distance: it grows from
        lr alpha F = 2 on, or 2 (1 + momentum) where SGD's momentum takes the pull in. The proximal
        step cannot overshoot, and Adam's moments bound the step."""
        coupled = self.config.apply == "gradient"
        if self.config.apply == "proximal" or (coupled and config.optimizer == "adamw"):
            return
        limit = 2 * (1 + config.momentum) if coupled else 2.0
        for e in self.entries:
            multiplier = (
                config.shared_multiplier if e.name in self.shared else config.new_multiplier
            )
            most = 1.0 if e.fisher is None else float(e.fisher.max())
            step = config.lr * multiplier * e.strength * most
            if e.norm is quadratic and step >= limit:
                raise InputError(
                    f"penalty={self.config.name}: rate times strength is {step:g} on {e.name}, and "
                    f"the weights overshoot from {limit:g} on; give penalty.apply=proximal, which "
                    "takes any strength, or a lower penalty.alpha, penalty.beta or schedule.lr"
                )

    def digests(self) -> dict[str, str]:
        """SHA-256 over names and fp32 values of w0, and of F, where weights are pulled by them."""
        found = {}
        for what, field in (("w0", "start_point"), ("fisher", "fisher")):
            tensors = {e.name: getattr(e, field) for e in self.entries}
            digest = hashlib.sha256()
            for name, tensor in sorted((n, t) for n, t in tensors.items() if t is not None):
                digest.update(name.encode() + b"\0" + tensor.cpu().contiguous().numpy().tobytes())
                found[what] = digest.hexdigest()
        return found

    def summary(self, net: nn.Module) -> dict[str, Any]:
        """For summary.json: the split, and how many of the weights that train and are pulled to w0
        have its very value in `net`, the network that is kept (percent; None = there are none)."""
        own = dict(net.named_parameters())
        pulled = [(own[e.name], e.start_point) for e in self.to_start if e.start_point is not None]
        equal = sum(int(torch.eq(w, w0).sum()) for w, w0 in pulled)
        total = sum(w.numel() for w, _ in pulled)
        return self.split.summary() | {"equal_to_start": 100 * equal / total if total else None}

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add dOmega/dw to the gradients; once per optimiser step, in fp32."""
        for entries in alike(self.moving(), by=fused):
            gradients = [e.parameter.grad for e in entries if e.parameter.grad is not None]
            entries[0].norm.add(self.pulled(entries), gradients, entries[0].strength)

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Before `optimizer.step()`: the gradient, or the decoupled step w -= lr dOmega/dw
        (Loshchilov & Hutter 2019), which no momentum and no Adam moment sees."""
        if self.config.apply == "gradient":
            self.add_gradient()
        elif self.config.apply == "decoupled":
            for entries, rate in self.rated(optimizer):
                pulled = self.pulled(entries)
                entries[0].norm.add(pulled, pulled.weights, -rate * entries[0].strength)

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """After `optimizer.step()`: w <- argmin_v 1/2 |v - w|^2 + lr Omega(v)."""
        if self.config.apply == "proximal":
            for entries, rate in self.rated(optimizer):
                entries[0].norm.proximal(self.pulled(entries), rate * entries[0].strength)

    def rated(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[list[Anchored], float]]:
        """Entries with a gradient that the optimiser moves, by kind and learning rate, with it."""
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        moving = [e for e in self.moving() if rates.get(id(e.parameter))]
        for entries in alike(moving, by=lambda e: (*fused(e), rates[id(e.parameter)])):
            yield entries, rates[id(entries[0].parameter)]

    @torch.no_grad()
    def value(self) -> float:
        """Omega at the present weights, over the parameters with a gradient."""
        return sum(
            (
                entries[0].strength * float(entries[0].norm.value(self.pulled(entries)))
                for entries in alike(self.moving(), by=kind)
            ),
            0.0,
        )

    def pulled(self, entries: list[Anchored]) -> Pulled:
        """Entries that are all of one kind, as their norm takes them."""
        return Pulled(
            weights=[e.parameter.detach() for e in entries],
            start_points=[e.start_point for e in entries if e.start_point is not None],
            fisher=[e.fisher for e in entries if e.fisher is not None],
            groups=[e.groups for e in entries],
            epsilon=0.0 if self.config.apply == "proximal" else self.config.epsilon,
        )


def anchored(
    net: nn.Module,
    start_point: Mapping[str, Tensor],
    shared: set[str],
    form: Form,
    config: PenaltyConfig,
    fisher: Mapping[str, Tensor],
    trained: set[str] | None,
) -> Iterator[Anchored]:
    """The parameters that are pulled: of the wanted kinds, trainable, of a strength above 0. Those
    that are not `trained` get no pull, so that they need no Fisher information either."""
    chosen, modules = penalised(net, config.kinds), modules_of(net)
    pulled = {
        name: p
        for name, p in net.named_parameters()
        if name in chosen and p.requires_grad and (config.alpha if name in shared else config.beta)
    }
    within = shared if trained is None else shared & trained
    known = {name: p for name, p in pulled.items() if name in within}
    metric = metric_of(fisher, known, config.fisher_scale) if form.fisher else {}
    for name, parameter in pulled.items():
        groups = groups_of(parameter, modules[name], config.groups)
        if name not in shared:
            yield Anchored(name, parameter, None, config.beta, quadratic, None, groups)
            continue
        w0 = owned(parameter, start_point[name]) if form.to_start else None
        own = metric.get(name)
        yield Anchored(name, parameter, w0, config.alpha, form.norm, own, groups)


def kind(entry: Anchored) -> tuple[object, ...]:
    return entry.strength, entry.norm, entry.start_point is None


def fused(entry: Anchored) -> tuple[object, ...]:
    """Those of a kind in one fused operation on a GPU; one after the other on a CPU, which has
    nothing to fuse and would write intermediate results of the whole network to memory."""
    return *kind(entry), None if entry.parameter.is_cuda else entry.name


def alike(
    entries: Iterable[Anchored], by: Callable[[Anchored], tuple[object, ...]]
) -> list[list[Anchored]]:
    """Entries of one key together, so that each group is one fused operation."""
    groups: dict[tuple[object, ...], list[Anchored]] = {}
    for entry in entries:
        groups.setdefault(by(entry), []).append(entry)
    return list(groups.values())
