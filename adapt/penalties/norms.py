"""How far weights are from where they are pulled to: three measures, each as value, gradient and
proximal step, fused over all parameters of a kind where the measure allows it.

With d = w - w0 and F = 1 where there is no Fisher information:

    quadratic   1/2 sum_j F_j d_j^2
    absolute    sum_j |d_j|
    grouped     sum_g s_g sqrt(sum_{j in g} F_j d_j^2),   s_g = sqrt(p_g)

The latter two have a kink at w0, where training starts. Their gradients are those of the smoothed
measures sqrt(d_j^2 + e^2) - e and s_g (sqrt(sum F_j d_j^2 + p_g e^2) - sqrt(p_g) e): e is the
distance of a single weight (root mean square in a group) within which the pull is not yet full.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adapt.penalties.groups import Groups
from adapt.penalties.pieces import Pulled, laid_out, pieces
from adapt.penalties.threshold import guess, weighted_length

Add = Callable[[Pulled, list[Tensor], float], None]
Proximal = Callable[[Pulled, float], None]


@dataclass(frozen=True)
class Norm:
    """A measure without its strength. All three run without a graph."""

    value: Callable[[Pulled], Tensor]
    """Scalar."""
    add: Add
    """(pulled, targets, factor): add factor times the gradient to the targets, in place."""
    proximal: Proximal
    """(pulled, t): replace w by argmin_v 1/2 |v - w|^2 + t measure(v), unsmoothed, in place."""


def quadratic_value(pulled: Pulled) -> Tensor:
    away = pulled.away()
    if pulled.fisher:
        totals = [(d.square() * f).sum() for d, f in zip(away, pulled.fisher, strict=True)]
        return 0.5 * torch.stack(totals).sum()
    return 0.5 * torch.stack(torch._foreach_norm(away)).square().sum()


def quadratic_add(pulled: Pulled, targets: list[Tensor], factor: float) -> None:
    if pulled.fisher:
        torch._foreach_addcmul_(targets, pulled.away(), pulled.fisher, value=factor)
    else:
        torch._foreach_add_(targets, pulled.away(), alpha=factor)


def quadratic_proximal(pulled: Pulled, t: float) -> None:
    """w0 + d / (1 + t F): the implicit step, stable for every t, w0 itself for t -> infinity."""
    if pulled.fisher:
        shares = torch._foreach_mul(pulled.fisher, t)
        torch._foreach_reciprocal_(shares)  # 1 / (1 + 1 / (t F)): neither 0 nor infinity breaks it
        torch._foreach_add_(shares, 1.0)
        torch._foreach_reciprocal_(shares)
        torch._foreach_lerp_(pulled.weights, pulled.origins, shares)
    elif pulled.origins:
        torch._foreach_lerp_(pulled.weights, pulled.origins, t / (1 + t))
    else:
        torch._foreach_mul_(pulled.weights, 1 / (1 + t))


def absolute_value(pulled: Pulled) -> Tensor:
    away = pulled.away()
    if not pulled.epsilon:
        return torch.stack(torch._foreach_norm(away, 1)).sum()
    squares, e = torch._foreach_mul(away, away), pulled.epsilon
    roots = torch._foreach_add(squares, e * e)
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, e)
    torch._foreach_div_(squares, roots)  # sqrt(d^2 + e^2) - e without its cancellation
    return torch.stack([s.sum() for s in squares]).sum()


def absolute_add(pulled: Pulled, targets: list[Tensor], factor: float) -> None:
    """d / sqrt(d^2 + e^2)."""
    away = pulled.away()
    roots = torch._foreach_mul(away, away)
    torch._foreach_add_(roots, pulled.epsilon**2)
    torch._foreach_sqrt_(roots)
    torch._foreach_addcdiv_(targets, away, roots, value=factor)


def absolute_proximal(pulled: Pulled, t: float) -> None:
    """The soft threshold towards w0, as w0 clamped into [w - t, w + t]: the bits of w0 where
    |d| <= t."""
    low = torch._foreach_sub(pulled.weights, t)
    torch._foreach_add_(pulled.weights, t)
    torch._foreach_maximum_(low, pulled.origins)
    torch._foreach_minimum_(pulled.weights, low)


def _each(pulled: Pulled) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Groups]]:
    """w, w0, F and groups of each parameter."""
    fisher: list[Tensor] | list[None] = pulled.fisher or [None] * len(pulled.weights)
    return zip(pulled.weights, pulled.origins, fisher, pulled.groups, strict=True)


def _squares(away: Tensor, fisher: Tensor | None, groups: Groups) -> Tensor:
    """sum F d^2 of each group."""
    return groups.norm(away).square() if fisher is None else groups.total(away.square() * fisher)


def grouped_value(pulled: Pulled) -> Tensor:
    total = []
    for w, w0, fisher, groups in _each(pulled):
        squares, e = _squares(w - w0, fisher, groups), groups.scale * pulled.epsilon
        lengths = squares.sqrt() if not e else squares / ((squares + e * e).sqrt() + e)
        total.append(groups.scale * lengths.sum())
    return torch.stack(total).sum()


def grouped_add(pulled: Pulled, targets: list[Tensor], factor: float) -> None:
    """s_g F d / sqrt(sum F d^2 + p_g e^2)."""
    away = pulled.away()
    for d, target, (_, _, fisher, groups) in zip(away, targets, _each(pulled), strict=True):
        squares = _squares(d, fisher, groups)
        lengths = squares.add_(groups.size * pulled.epsilon**2).sqrt_()
        pull = d if fisher is None else d.mul_(fisher)
        shape = groups.shape
        target.view(shape).addcdiv_(pull.view(shape), lengths, value=factor * groups.scale)


def grouped_proximal(pulled: Pulled, t: float) -> None:
    """The group soft threshold towards w0: the bits of w0 where |F^(-1/2) d_g| <= t s_g, over the
    elements with F > 0; those with F = 0 are free and stay."""
    for w, w0, fisher, groups in _each(pulled):
        own = [] if fisher is None else [fisher]
        one, threshold, at = Pulled([w], [w0], own, [groups], 0.0), t * groups.scale, 0
        start = _start(one, threshold)
        for (ws, origins, weighted, (cut,), _), _ in pieces(one, [], True, 2):
            v, v0 = ws[0].view(cut.shape), origins[0].view(cut.shape)
            d = v - v0
            if weighted:
                f = weighted[0].view(cut.shape)
                own_start = start[at : at + d.numel() // cut.size]
                at += len(own_start)
                length = weighted_length(cut.rows(d), cut.rows(f), threshold, own_start)
                length = length.view([1 if n in cut.dims else s for n, s in enumerate(d.shape)])
                share = (length / (threshold * f)).add_(1).reciprocal_().nan_to_num_(0.0)  # 0/0
            else:
                share = (threshold / cut.norm(d)).clamp_(max=1)
            v.lerp_(v0, share)  # w0 where the share is 1


def _start(one: Pulled, threshold: float) -> Tensor:
    """Where the lengths of a parameter's groups are sought from; empty without F."""
    if not one.fisher:
        return torch.empty(0)
    views = laid_out(one, [], whole_groups=True)
    flat = one if views is None else views[0]
    rows = flat.groups[0].rows
    w, w0, f = rows(flat.weights[0]), rows(flat.origins[0]), rows(flat.fisher[0])
    return guess(w, w0, f, threshold)


def add_in_pieces(add: Add, whole_groups: bool = False) -> Add:
    """The same gradient, a piece after the other."""

    def run(pulled: Pulled, targets: list[Tensor], factor: float) -> None:
        for piece, aims in pieces(pulled, targets, whole_groups):
            add(piece, aims, factor)

    return run


def move_in_pieces(proximal: Proximal) -> Proximal:
    """The same proximal step of single weights, a piece after the other."""

    def run(pulled: Pulled, t: float) -> None:
        for piece, _ in pieces(pulled, []):
            proximal(piece, t)

    return run


quadratic = Norm(quadratic_value, add_in_pieces(quadratic_add), move_in_pieces(quadratic_proximal))
absolute = Norm(absolute_value, add_in_pieces(absolute_add), move_in_pieces(absolute_proximal))
grouped = Norm(grouped_value, add_in_pieces(grouped_add, whole_groups=True), grouped_proximal)
