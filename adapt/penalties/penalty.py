"""The penalty of one run: its parameters, and when in a step it acts."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.penalties.forms import Form, checked_form
from adapt.penalties.groups import Groups, groups_of
from adapt.penalties.metric import metric_of
from adapt.penalties.norms import Norm, quadratic
from adapt.penalties.pieces import Pulled
from adapt.penalties.split import owned, owners, penalised, split_of, split_shared
from adapt.settings.groups import PenaltyConfig, ScheduleConfig


class Anchored(NamedTuple):
    """A penalised parameter, what it is pulled to (None = zero), how, and how strongly."""

    name: str
    parameter: nn.Parameter
    origin: Tensor | None
    strength: float
    norm: Norm
    fisher: Tensor | None
    groups: Groups


class Penalty:
    """Omega of one run.

    w0 is cloned to fp32 here and never aliased; parameters without a gradient (never reached by
    the objective) are neither pulled nor counted.

    Args:
        net: the student. start: the starting checkpoint's tensors (None = none, all is new).
        fisher: for the Fisher penalties: parameter name -> diagonal of the Fisher information,
            not negative, at least for the penalised parameters that are shared.
        reached: names that the objective's gradient gets to, for `split`; None = not known.

    Raises:
        InputError: unknown name, a start or Fisher information that the penalty needs and does not
            have or that does not fit, or Fisher information that it has no use for.
    """

    def __init__(
        self,
        net: nn.Module,
        start: dict[str, Tensor] | None,
        config: PenaltyConfig,
        fisher: Mapping[str, Tensor] | None = None,
        reached: set[str] | None = None,
    ) -> None:
        form = checked_form(config, start, fisher)
        self.config = config
        self.shared, self.new = split_shared(net, start)
        self.entries: list[Anchored] = []
        if form is not None:
            self.entries = list(anchored(net, start or {}, self.shared, form, config, fisher or {}))
        within = [e for e in self.entries if reached is None or e.name in reached]
        self.to_start = [e for e in within if e.origin is not None]
        to_zero = {e.name for e in within if e.origin is None}
        self.split = split_of(
            net, start, {e.name for e in self.to_start}, to_zero, config.kinds, reached
        )

    def reached(self) -> list[Anchored]:
        return [e for e in self.entries if e.parameter.grad is not None]

    def refuse_decay(self, weight_decay: float) -> None:
        """Decay and penalty on the same parameters shrink to alpha w0 / (alpha + decay), not w0."""
        if weight_decay > 0 and self.entries:
            raise InputError(
                f"schedule.weight_decay={weight_decay:g} and penalty={self.config.name} act on the "
                "same parameters; set schedule.weight_decay=0 and use penalty.alpha/beta, or "
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
        for what, field in (("w0", "origin"), ("fisher", "fisher")):
            tensors = {e.name: getattr(e, field) for e in self.entries}
            digest = hashlib.sha256()
            for name, tensor in sorted((n, t) for n, t in tensors.items() if t is not None):
                digest.update(name.encode() + b"\0" + tensor.cpu().contiguous().numpy().tobytes())
                found[what] = digest.hexdigest()
        return found

    def summary(self) -> dict[str, Any]:
        """For summary.json: the split, and how many of the weights that the objective reaches and
        that are pulled to w0 have its very value (percent; None = there are none)."""
        pulled = [(e.parameter.detach(), e.origin) for e in self.to_start if e.origin is not None]
        equal = sum(int(torch.eq(w, w0).sum()) for w, w0 in pulled)
        total = sum(w.numel() for w, _ in pulled)
        return self.split.summary() | {"equal_to_start": 100 * equal / total if total else None}

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add dOmega/dw to the gradients; once per optimiser step, in fp32."""
        for entries in alike(self.reached(), by=together):
            gradients = [e.parameter.grad for e in entries if e.parameter.grad is not None]
            entries[0].norm.add(self.pulled(entries), gradients, entries[0].strength)

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """In front of `optimizer.step()`: the gradient, or the decoupled step w -= lr dOmega/dw
        (Loshchilov & Hutter 2019), which no momentum and no Adam moment sees."""
        if self.config.apply == "gradient":
            self.add_gradient()
        elif self.config.apply == "decoupled":
            for entries, rate in self.rated(optimizer):
                pulled = self.pulled(entries)
                entries[0].norm.add(pulled, pulled.weights, -rate * entries[0].strength)

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Behind `optimizer.step()`: w <- argmin_v 1/2 |v - w|^2 + lr Omega(v)."""
        if self.config.apply == "proximal":
            for entries, rate in self.rated(optimizer):
                entries[0].norm.proximal(self.pulled(entries), rate * entries[0].strength)

    def rated(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[list[Anchored], float]]:
        """The reached entries that the optimiser moves, by kind and learning rate, with it."""
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        moving = [e for e in self.reached() if rates.get(id(e.parameter))]
        for entries in alike(moving, by=lambda e: (*together(e), rates[id(e.parameter)])):
            yield entries, rates[id(entries[0].parameter)]

    @torch.no_grad()
    def value(self) -> float:
        """Omega at the present weights, over the reached parameters."""
        return sum(
            (
                entries[0].strength * float(entries[0].norm.value(self.pulled(entries)))
                for entries in alike(self.reached(), by=kind)
            ),
            0.0,
        )

    def pulled(self, entries: list[Anchored]) -> Pulled:
        """Entries that are all of one kind, as their norm takes them."""
        return Pulled(
            weights=[e.parameter.detach() for e in entries],
            origins=[e.origin for e in entries if e.origin is not None],
            fisher=[e.fisher for e in entries if e.fisher is not None],
            groups=[e.groups for e in entries],
            epsilon=0.0 if self.config.apply == "proximal" else self.config.epsilon,
        )


def anchored(
    net: nn.Module,
    start: Mapping[str, Tensor],
    shared: set[str],
    form: Form,
    config: PenaltyConfig,
    fisher: Mapping[str, Tensor],
) -> Iterator[Anchored]:
    """The parameters that are pulled: of the wanted kinds, trainable, of a strength above 0."""
    chosen, modules = penalised(net, config.kinds), owners(net)
    pulled = {
        name: p
        for name, p in net.named_parameters()
        if name in chosen and p.requires_grad and (config.alpha if name in shared else config.beta)
    }
    known = {name: p for name, p in pulled.items() if name in shared}
    metric = metric_of(fisher, known, config.fisher_scale) if form.fisher else {}
    for name, parameter in pulled.items():
        groups = groups_of(parameter, modules[name], config.groups)
        if name not in shared:
            yield Anchored(name, parameter, None, config.beta, quadratic, None, groups)
            continue
        origin = owned(parameter, start[name]) if form.to_start else None
        own = metric.get(name)
        yield Anchored(name, parameter, origin, config.alpha, form.norm, own, groups)


def kind(entry: Anchored) -> tuple[object, ...]:
    return entry.strength, entry.norm, entry.origin is None


def together(entry: Anchored) -> tuple[object, ...]:
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
