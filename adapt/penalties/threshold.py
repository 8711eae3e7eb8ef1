"""The group soft threshold under Fisher information, which has no closed form:

    argmin_v 1/2 |v - d|^2 + t |v|_F,   |v|_F^2 = sum_j F_j v_j^2.

v_j = d_j nu / (nu + t F_j) with nu = |v|_F, which is 0 if sum d^2 / F <= t^2 (over F > 0) and else
the root of phi(nu) = sum F d^2 / (nu + t F)^2 = 1. As h = phi^(-1/2) is concave and rises, Newton's
method on it (More and Sorensen's for trust regions) never overshoots the root from below, and comes
below it at once from above: every start will do, and a group that stays above 0 is not at rest.
Close to the root the step is corrected by h'' (Chebyshev's method, of the third order).
"""

import torch
from torch import Tensor

NEWTON, CLOSE, ROUGH, TINY = 20, 2e-3, 0.1, 1e-30
"""Most iterations; the relative change s at which they end (what is left is of the order of s^3:
less than a rounding), the same for a first guess, and the least length."""
SAMPLE, RUN = 256, 16
"""Numbers of a group from which its length is guessed, and how many neighbours of them are taken
together (a cache line). One or two iterations over the whole group are usual then."""


def guess(w: Tensor, w0: Tensor, f: Tensor, t: float) -> Tensor:
    """Where to seek the roots for d = w - w0 (rows, p) from; TINY for groups that are small, or
    seem to be at rest."""
    every = w.shape[1] // SAMPLE
    if every < 2:
        return w.new_full((len(w), 1), TINY)
    runs = w.shape[1] // (every * RUN)
    few, few0, some = (
        x[:, : runs * every * RUN].unflatten(1, (runs, every, RUN))[:, :, 0].flatten(1)
        for x in (w, w0, f)
    )
    squares = (few - few0).square_().mul_(some).mul_(w.shape[1] / (runs * RUN))
    return newton(squares, some, t, lower_bound(squares, some, t), ROUGH)


def weighted_length(d: Tensor, f: Tensor, t: float, start: Tensor) -> Tensor:
    """nu of every row of d (rows, p), 0 = at rest; F of the same shape, start and nu (rows, 1)."""
    squares = d.square().mul_(f)
    length = start if bool((start <= TINY).all()) else newton(squares, f, t, start, CLOSE)
    low = (length <= TINY).flatten().nonzero().flatten()
    if len(low) == 0:
        return length
    length = length.clone()
    if len(low) < len(d):
        d, f, squares = d[low], f[low], squares[low]
    bound = lower_bound(squares, f, t)
    unsure = (bound <= TINY).flatten().nonzero().flatten()  # a bound above 0: not at rest
    if len(unsure):
        d, weights = d[unsure], f[unsure]
        total = (d.square() / weights).masked_fill_(weights == 0, 0.0).sum(1, keepdim=True)
        bound[unsure] = torch.where(total > t * t, TINY, 0.0)
    found = newton(squares, f, t, bound.clamp(min=TINY), CLOSE) if bool(bound.any()) else bound
    length[low] = torch.where(bound > 0, found, 0.0)
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
        slope = share.mul_(inverse).sum(1, keepdim=True)
        curve = share.mul_(inverse).sum(1, keepdim=True)
        step = phi * (phi.sqrt() - 1) / slope
        bend = 1.5 * (curve / slope - slope / phi) * step * step
        step += torch.where(step.abs() <= length / 4, bend, 0.0)
        before, length = length, (length + step.nan_to_num_(0.0)).clamp_(min=TINY)
        found[rows] = length
        moving = ((length - before).abs_() > close * length).flatten().nonzero().flatten()
        if len(moving) == 0:
            break
        if 2 * len(moving) < len(length):
            squares, f, length, rows = squares[moving], f[moving], length[moving], rows[moving]
    return found
