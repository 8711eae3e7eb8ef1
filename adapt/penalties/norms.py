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

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

TRANSPOSED = nn.modules.conv._ConvTransposeNd
NEWTON, CLOSE, TINY = 60, 3e-4, 1e-30
"""Most iterations for a group's length, the relative change at which they end (the error left is
of its square), and the least length."""
CACHED = 2**17
"""Numbers of a piece whose iterations stay in a CPU's cache."""


class Groups(NamedTuple):
    """How GL-SP cuts a parameter into groups of equal size."""

    shape: tuple[int, ...]
    """What the parameter is viewed as."""
    dims: tuple[int, ...]
    """The dimensions of that view along which a group runs."""
    size: int
    """p_g, elements in a group."""

    @property
    def scale(self) -> float:
        """s_g = sqrt(p_g)."""
        return math.sqrt(self.size)

    def norm(self, values: Tensor) -> Tensor:
        """Euclidean norm of each group, shaped as by `squares`."""
        return torch.linalg.vector_norm(values.view(self.shape), dim=self.dims, keepdim=True)

    def squares(self, away: Tensor, fisher: Tensor | None) -> Tensor:
        """sum F d^2 of each group; one element a group, and 1 in the dimensions of `dims`."""
        if fisher is None:
            return self.norm(away).square()
        return (away.square() * fisher).view(self.shape).sum(self.dims, keepdim=True)


def groups_of(parameter: Tensor, module: nn.Module | None, by: str) -> Groups:
    """The groups of one parameter.

    `channel`: the fan-in of an output channel (Li et al. 2020, section 3), p_g = h w d. Dimension 0
    is the output channel, so that of a grouped convolution a group has its own inputs only; of
    transposed convolutions (in, out / groups, h, w) it is the second, per block of inputs. Biases
    and the scales of norms, one number a channel, are groups of one. `layer`: the whole parameter.

    Args:
        parameter: of any shape.
        module: the one that owns it.
        by: channel | layer.
    """
    shape = tuple(parameter.shape)
    if by == "layer":
        shape = shape or (1,)
        dims = tuple(range(len(shape)))
    elif isinstance(module, TRANSPOSED) and len(shape) > 1:
        blocks = module.groups
        shape = (blocks, shape[0] // blocks, *shape[1:])
        dims = (1, *range(3, len(shape)))
    elif len(shape) < 2:
        shape, dims = (parameter.numel(), 1), (1,)
    else:
        dims = tuple(range(1, len(shape)))
    return Groups(shape, dims, math.prod(shape[d] for d in dims))


class Pulled(NamedTuple):
    """Parameters of one kind, position by position."""

    weights: list[Tensor]
    start_points: list[Tensor]
    """w0, fp32; empty = zeros."""
    fisher: list[Tensor]
    """F, fp32, not negative; empty = ones."""
    groups: list[Groups]
    epsilon: float
    """The smoothing e; 0 = none."""

    def away(self) -> list[Tensor]:
        """w - w0; the weights themselves, not copies, where w0 = 0."""
        if not self.start_points:
            return self.weights
        return list(torch._foreach_sub(self.weights, self.start_points))

    def each(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Groups]]:
        """w, w0, F and groups of each parameter."""
        fisher: list[Tensor] | list[None] = self.fisher or [None] * len(self.weights)
        return zip(self.weights, self.start_points, fisher, self.groups, strict=True)


class Norm(NamedTuple):
    """A measure without its strength. All three run without a graph."""

    value: Callable[[Pulled], Tensor]
    """Scalar."""
    add: Callable[[Pulled, list[Tensor], float], None]
    """(pulled, targets, factor): add factor times the gradient to the targets, in place."""
    proximal: Callable[[Pulled, float], None]
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
        torch._foreach_lerp_(pulled.weights, pulled.start_points, shares)
    elif pulled.start_points:
        torch._foreach_lerp_(pulled.weights, pulled.start_points, t / (1 + t))
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
    torch._foreach_maximum_(low, pulled.start_points)
    torch._foreach_minimum_(pulled.weights, low)


def grouped_value(pulled: Pulled) -> Tensor:
    total = []
    for w, w0, fisher, groups in pulled.each():
        squares, e = groups.squares(w - w0, fisher), groups.scale * pulled.epsilon
        lengths = squares.sqrt() if not e else squares / ((squares + e * e).sqrt() + e)
        total.append(groups.scale * lengths.sum())
    return torch.stack(total).sum()


def grouped_add(pulled: Pulled, targets: list[Tensor], factor: float) -> None:
    """s_g F d / sqrt(sum F d^2 + p_g e^2)."""
    for d, target, (_, _, fisher, groups) in zip(
        pulled.away(), targets, pulled.each(), strict=True
    ):
        squares = groups.squares(d, fisher)
        lengths = squares.add_(groups.size * pulled.epsilon**2).sqrt_()
        pull, shape = d if fisher is None else d.mul_(fisher), groups.shape
        target.view(shape).addcdiv_(pull.view(shape), lengths, value=factor * groups.scale)


def grouped_proximal(pulled: Pulled, t: float) -> None:
    """The group soft threshold towards w0: the bits of w0 where |F^(-1/2) d_g| <= t s_g, over the
    elements with F > 0; those with F = 0 are free and stay."""
    for w, w0, fisher, groups in pulled.each():
        v, v0, threshold = w.view(groups.shape), w0.view(groups.shape), t * groups.scale
        if fisher is None:
            d = v - v0
            v.lerp_(v0, (threshold / groups.norm(d)).clamp_(max=1))  # w0 where the share is 1
            continue
        count = 1 if 0 in groups.dims or w.is_cuda else max(1, w.numel() // CACHED)
        parts = (x.chunk(count) for x in (v, v0, fisher.view(groups.shape)))
        for v, v0, f in zip(*parts, strict=True):
            length = weighted_length(v - v0, f, threshold, groups.dims)
            v.lerp_(v0, (length / (threshold * f)).add_(1).reciprocal_().nan_to_num_(0.0))  # 0/0


def weighted_length(d: Tensor, f: Tensor, t: float, dims: tuple[int, ...]) -> Tensor:
    """|v|_F of the group soft threshold under Fisher information, a group along `dims`; 0 at w0.

    v = argmin 1/2 |v - d|^2 + t |v|_F with |v|_F^2 = sum_j F_j v_j^2 has no closed form:
    v_j = d_j nu / (nu + t F_j) with nu = |v|_F, which is 0 where sum d^2 / F <= t^2 (over F > 0)
    and else the root of phi(nu) = sum F d^2 / (nu + t F)^2 = 1. As phi^(-1/2) is concave and rises,
    Newton's method on it (More and Sorensen's for trust regions) comes below the root in one step
    from |d|_F, which lies above it, and never overshoots it from below.
    """
    squares = d.square().mul_(f)
    rests = (d.square() / f).masked_fill_(f == 0, 0.0).sum(dims, keepdim=True) <= t * t
    length = squares.sum(dims, keepdim=True).sqrt_()
    for _ in range(NEWTON):
        inverse = torch.add(length, f, alpha=t).reciprocal_()
        share = (squares * inverse).mul_(inverse)
        phi = share.sum(dims, keepdim=True)
        slope = share.mul_(inverse).sum(dims, keepdim=True)
        step = (phi * (phi.sqrt() - 1) / slope).nan_to_num_(0.0)
        length = (length + step).clamp_(min=TINY)
        if bool(((step.abs() <= CLOSE * length) | rests).all()):
            break
    return length.masked_fill_(rests, 0.0)


quadratic = Norm(quadratic_value, quadratic_add, quadratic_proximal)
absolute = Norm(absolute_value, absolute_add, absolute_proximal)
grouped = Norm(grouped_value, grouped_add, grouped_proximal)
