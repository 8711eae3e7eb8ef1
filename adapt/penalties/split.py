"""Which parameters are shared with the start, which are new, and which a penalty leaves out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adapt.errors import listing

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
CONVOLUTIONS = (nn.modules.conv._ConvNd, nn.Linear)


def owned(parameter: nn.Parameter, start_point: Tensor) -> Tensor:
    """A copy of where a parameter started: fp32, on its device, laid out as the parameter is, so
    that fused operations stay fused."""
    made = torch.empty_like(parameter, dtype=torch.float32, requires_grad=False)
    return made.copy_(start_point.detach())


def split_shared(
    net: nn.Module, start_point: dict[str, Tensor] | None
) -> tuple[set[str], set[str]]:
    """Names of the parameters that the start has with the same name and shape, and of the rest."""
    known = {name: tensor.shape for name, tensor in (start_point or {}).items()}
    names = {name: p.shape for name, p in net.named_parameters()}
    shared = {name for name, shape in names.items() if known.get(name) == shape}
    return shared, names.keys() - shared


def modules_of(net: nn.Module) -> dict[str, nn.Module]:
    """The module of every parameter, by the parameter's name."""
    return {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in net.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }


def penalised(net: nn.Module, kinds: str) -> set[str]:
    """Parameter names of a kind.

    `all`; `weights` = all but biases, those of an attention among them, and norm parameters; `conv`
    = the weights of convolutions and linear layers only (a linear layer is a 1x1 convolution, VGG's
    fc6 and fc7 are either, and an attention's projections are linear layers).
    """
    names, modules = [name for name, _ in net.named_parameters()], modules_of(net)
    if kinds == "all":
        return set(names)
    kept = {name for name in names if "bias" not in name.rsplit(".", 1)[-1]}
    if kinds == "conv":
        linear = (*CONVOLUTIONS, nn.MultiheadAttention)
        return {name for name in kept if isinstance(modules[name], linear)}
    return {name for name in kept if not isinstance(modules[name], NORMS)}


@dataclass(frozen=True)
class Split:
    """A network's parameters against its start, counted in numbers (not tensors)."""

    parameters: int
    shared: int
    new: int
    to_start: int
    """Pulled to the start."""
    to_zero: int
    left_out: dict[str, list[str]]
    """Reason -> names: parameters that are not pulled, and tensors of the start that fit none;
    empty where nothing is pulled."""

    @property
    def new_share(self) -> float:
        """Percent (Li et al. 2019, section IV-C 4)."""
        return 100 * self.new / max(1, self.parameters)

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        return vars(self) | {"new_percent": round(self.new_share, 4)}

    def lines(self) -> Iterable[str]:
        """For the user."""
        share = f"{self.new_share:.1f}" if self.new_share >= 0.1 or not self.new else "< 0.1"
        yield (
            f"parameters: {self.parameters:,}; {self.shared:,} shared with the start, "
            f"{self.new:,} new ({share} %); pulled to the start {self.to_start:,}, to zero "
            f"{self.to_zero:,}"
        )
        for reason, names in self.left_out.items():
            yield f"  left out, {reason}: {len(names)} ({listing(names, 5)})"


def split_of(
    net: nn.Module,
    start_point: Mapping[str, Tensor],
    shared: set[str],
    to_start: set[str],
    to_zero: set[str],
    kinds: str,
    trained: set[str] | None,
) -> Split:
    """The split of a network whose parameters `to_start` and `to_zero` are pulled, with the reason
    for each of the others.

    Args:
        net: the student.
        start_point: the starting checkpoint's tensors.
        shared: names of the parameters that it has, as of `split_shared`.
        to_start: names of parameters.
        to_zero: names of parameters.
        kinds: as in `penalised`.
        trained: names that the objective's gradient gets to; None = not known, all.
    """
    own, chosen, pulled = net.state_dict(), penalised(net, kinds), to_start | to_zero
    reasons: dict[str, list[str]] = {}
    for name, tensor in start_point.items():
        if name not in own:
            reasons.setdefault("in the start but not in the network", []).append(name)
        elif own[name].shape != tensor.shape:
            reasons.setdefault("of another shape in the start, hence new", []).append(name)
    for name, parameter in net.named_parameters():
        if name in pulled:
            continue
        if not parameter.requires_grad:
            reason = "frozen"
        elif trained is not None and name not in trained:
            reason = "never reached by the objective"
        else:
            reason = "of strength 0" if name in chosen else f"not of the kinds {kinds!r}"
        reasons.setdefault(reason, []).append(name)
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    kept = reasons if pulled else {}

    def count(names: Iterable[str]) -> int:
        return sum(sizes[name] for name in names)

    new = sizes.keys() - shared
    return Split(count(sizes), count(shared), count(new), count(to_start), count(to_zero), kept)


def by_layer(net: nn.Module, names: Iterable[str]) -> dict[str, list[str]]:
    """Layer (module that owns them) -> its parameters among `names`, in the network's order."""
    wanted = set(names)
    found: dict[str, list[str]] = {}
    for name, _ in net.named_parameters():
        if name in wanted:
            found.setdefault(name.rpartition(".")[0], []).append(name)
    return found
