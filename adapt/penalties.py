"""Where the weights are pulled to: Omega(w, w0), as a gradient added outside autograd.

L2 and L2-SP (Li, Grandvalet, Davoine, ICML 2018, equations 1 and 2): values with the factor 1/2, so
alpha equals an optimiser's weight decay of the same number.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adapt.config import PenaltyConfig
from adapt.errors import InputError, unknown

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


class Anchored(NamedTuple):
    """A penalised parameter, what it is pulled to (None = zero), and how strongly."""

    parameter: nn.Parameter
    origin: Tensor | None
    strength: float


def split_shared(net: nn.Module, start: dict[str, Tensor] | None) -> tuple[set[str], set[str]]:
    """Names of the parameters that the start has with the same name and shape, and of the rest."""
    start = start or {}
    shapes = {name: tensor.shape for name, tensor in start.items()}
    names = {name: p.shape for name, p in net.named_parameters()}
    shared = {name for name, shape in names.items() if shapes.get(name) == shape}
    return shared, names.keys() - shared


def penalised(net: nn.Module, kinds: str) -> set[str]:
    """Parameter names of a kind: `all`, or `weights` = all but biases and norm parameters."""
    if kinds == "all":
        return {name for name, _ in net.named_parameters()}
    norms = {
        f"{prefix}.{name}"
        for prefix, module in net.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
    names = {name for name, _ in net.named_parameters()}
    return {name for name in names - norms if name.rsplit(".", 1)[-1] != "bias"}


def none(name: str, shared: bool, config: PenaltyConfig) -> tuple[float, bool]:
    return 0.0, False


def l2(name: str, shared: bool, config: PenaltyConfig) -> tuple[float, bool]:
    """alpha/2 |w_S|^2 + beta/2 |w_new|^2."""
    return (config.alpha if shared else config.beta), False


def l2_sp(name: str, shared: bool, config: PenaltyConfig) -> tuple[float, bool]:
    """alpha/2 |w_S - w0_S|^2 + beta/2 |w_new|^2."""
    return (config.alpha, True) if shared else (config.beta, False)


PENALTIES: dict[str, Callable[[str, bool, PenaltyConfig], tuple[float, bool]]] = {
    "none": none, "l2": l2, "l2_sp": l2_sp,
}  # fmt: skip
"""(parameter's name, is it shared?, configuration) -> (strength, pulled to w0 instead of 0?)."""


class Penalty:
    """Omega of one run.

    w0 is cloned to fp32 here and never aliased; parameters without a gradient (never reached by
    the objective) are neither pulled nor counted.

    Args:
        net: the student. start: the starting checkpoint's tensors (None = none, all is new).

    Raises:
        InputError: unknown name, or a start that L2-SP needs and does not have.
    """

    def __init__(
        self, net: nn.Module, start: dict[str, Tensor] | None, config: PenaltyConfig
    ) -> None:
        if config.name not in PENALTIES:
            raise unknown("penalty", config.name, PENALTIES)
        if config.name.endswith("_sp") and start is None:
            raise InputError(f"penalty {config.name}: there is no start to pull to; give start=RUN")
        self.config = config
        self.shared, self.new = split_shared(net, start)
        chosen = penalised(net, config.kinds)
        self.entries: list[Anchored] = []
        for name, parameter in net.named_parameters():
            strength, to_start = PENALTIES[config.name](name, name in self.shared, config)
            if name in chosen and strength > 0 and parameter.requires_grad:
                origin = None
                if to_start and start is not None:
                    origin = start[name].detach().to(parameter.device, torch.float32, copy=True)
                self.entries.append(Anchored(parameter, origin, strength))

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

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add dOmega/dw to the gradients; once per optimiser step, in fp32."""
        for entries in grouped(self.reached()):
            gradients = [e.parameter.grad for e in entries if e.parameter.grad is not None]
            torch._foreach_add_(gradients, pull(entries), alpha=entries[0].strength)

    @torch.no_grad()
    def value(self) -> float:
        """Omega at the present weights, over the reached parameters."""
        total = 0.0
        for entries in grouped(self.reached()):
            norms = torch._foreach_norm(pull(entries))
            total += 0.5 * entries[0].strength * float(torch.stack(norms).square().sum())
        return total


def pull(entries: list[Anchored]) -> list[Tensor]:
    """w - w0 (or w) of entries that are all of one kind."""
    weights = [e.parameter.detach() for e in entries]
    origins = [e.origin for e in entries if e.origin is not None]
    return list(torch._foreach_sub(weights, origins)) if origins else weights


def grouped(entries: Iterable[Anchored]) -> list[list[Anchored]]:
    """Entries of equal strength and kind together, so that each group is one fused operation."""
    groups: dict[tuple[float, bool], list[Anchored]] = {}
    for entry in entries:
        groups.setdefault((entry.strength, entry.origin is None), []).append(entry)
    return list(groups.values())
