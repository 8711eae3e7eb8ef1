"""The group soft threshold under Fisher information, which has no closed form:

    argmin_v 1/2 |v - d|^2 + t |v|_F,   |v|_F^2 = sum_j F_j v_j^2.

v_j = d_j nu / (nu + t F_j) with nu = |v|_F, which is 0 if sum d^2 / F <= t^2 (over F > 0) and else
the root of phi(nu) = sum F d^2 / (nu + t F)^2 = 1. As h = phi^(-1/2) is concave and rises, Newton's
method on it (More and Sorensen's for trust regions) never overshoots the root from below, and comes
below it at once from above: every start will do, and a group that comes above 0 is not at rest.
"""

import torch
from torch import Tensor

NEWTON, CLOSE, ROUGH, TINY = 20, 1e-3, 1e-2, 1e-30
"""Most iterations; the relative change at which they end (|h''| <= 3 h' / nu, so that a change s
leaves an error of at most about 1.5 s^2), the same for a first guess, and the least length."""
SAMPLE = 512
"""Numbers of a group from which its length is guessed: then one or two iterations are usual."""


def weighted_length(d: Tensor, f: Tensor, t: float) -> Tensor:
    """nu of every row of d (rows, p) for F of the same shape; shape (rows, 1), 0 = at rest."""
    squares, every = d.square().mul_(f), d.shape[1] // SAMPLE
    length = torch.full_like(squares[:, :1], TINY)
    if every > 1:
        few, few_f = squares[:, ::every] * every, f[:, ::every].contiguous()
        length = newton(few, few_f, t, lower_bound(few, few_f, t), ROUGH)
        length = newton(squares, f, t, length, CLOSE)
    low = (length <= TINY).flatten().nonzero().flatten()
    if len(low):
        if len(low) < len(d):
            d, f, squares = d[low], f[low], squares[low]
        outside = torch.where(f > 0, d.square() / f, 0.0).sum(1, keepdim=True) > t * t
        found = torch.zeros_like(outside, dtype=d.dtype)
        if bool(outside.any()):
            found = newton(squares, f, t, lower_bound(squares, f, t), CLOSE)
        length[low] = torch.where(outside, found, 0.0)
    return length


def lower_bound(squares: Tensor, f: Tensor, t: float) -> Tensor:
    """Of the root for squares = F d^2: max_j (sqrt(F_j) |d_j| - t F_j), or Newton's step from
    infinity, |d|_F - t sum F^2 d^2 / sum F d^2, whichever is larger."""
    total = squares.sum(1, keepdim=True)
    far = total.sqrt() - t * (squares * f).sum(1, keepdim=True) / total
    least = torch.add(squares.sqrt(), f, alpha=-t).amax(1, keepdim=True)
    return torch.fmax(far, least).clamp_(min=TINY)


def newton(squares: Tensor, f: Tensor, t: float, start: Tensor, close: float) -> Tensor:
    """The root of every row from a start; TINY where there is none."""
    found, length, rows = start.clone(), start, torch.arange(len(start), device=start.device)
    for _ in range(NEWTON):
        inverse = torch.add(length, f, alpha=t).reciprocal_()
        share = (squares * inverse).mul_(inverse)
        phi = share.sum(1, keepdim=True)
        step = phi * (phi.sqrt() - 1) / share.mul_(inverse).sum(1, keepdim=True)
        before, length = length, (length + step.nan_to_num_(0.0)).clamp_(min=TINY)
        found[rows] = length
        moving = ((length - before).abs_() > close * length).flatten().nonzero().flatten()
        if len(moving) == 0:
            break
        if 2 * len(moving) < len(length):
            squares, f, length, rows = squares[moving], f[moving], length[moving], rows[moving]
    return found
