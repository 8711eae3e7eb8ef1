"""How far the student's maps are from the teacher's: scalars of (student, teacher, valid).

Maps are (B, C, h, w) float32 or double, or (B, C, N) of tokens that lie on no grid. `valid` is None
or the mask (B, H, W) of pixels that count, of which such tokens know nothing; without any the value
is 0 and so is its gradient. Equal maps give exactly 0 and a gradient that is exactly 0 as well, so
that an optimiser that divides by the gradient's size (AdamW) stays there too.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from adapt.machine.processes import all_sum, global_mean, summed
from adapt.settings.objective import RegressionConfig
from adapt.settings.unused import USERS

NO_DIRECTION = 1e-12
"""Squared length below which a vector counts as zero."""
EPSILON = 1e-6
"""Added to the variance of a channel before its root divides."""


def cells(valid: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask (B, H, W) of valid pixels -> float (B, 1, h, w) of valid cells, by nearest neighbour."""
    return nn.functional.interpolate(valid[:, None].float(), size, mode="nearest")


def inside(maps: Tensor, valid: Tensor | None) -> Tensor | None:
    """The cells (B, 1, h, w) of a map (B, C, h, w) that count; None = all."""
    if valid is None or maps.ndim == 3:
        return None
    return cells(valid, (maps.shape[-2], maps.shape[-1]))


def masked_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of (B, C, h, w) over the cells that count and all channels; 0 if there are none."""
    mask = inside(values, valid)
    if mask is None:
        return values.mean()
    count = mask.sum() * values.shape[1]
    return global_mean((values * mask).sum() / count.clamp(min=1), count)


def squares(student: Tensor, teacher: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Per image: sum of squared differences, and of squared teacher values."""
    difference, reference = (student - teacher).square(), teacher.square()
    mask = inside(teacher, valid)
    if mask is not None:
        difference, reference = difference * mask, reference * mask
    own = tuple(range(1, difference.ndim))
    return difference.sum(dim=own), reference.sum(dim=own)


def norm_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """|F_T - F_S| over C, H, W, mean over the batch: the loss as 003, section 3.1, prints it."""
    squared, _ = squares(student, teacher, valid)
    apart = squared > 0  # where there is none the root has no gradient
    return (squared.where(apart, 1.0).sqrt() * apart).mean()


def sum_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """|F_T - F_S|^2 summed over C, H, W, mean over the batch: the square of 003's norm."""
    return squares(student, teacher, valid)[0].mean()


def mean_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """|F_T - F_S|^2 averaged over C, H, W and the batch."""
    return masked_mean((student - teacher).square(), valid)


def relative_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """Per image |F_T - F_S|^2 / |F_T|^2, mean over the batch: every layer has the same scale. An
    image whose F_T is 0 everywhere (dead ReLUs) has no scale and counts 0, without a gradient."""
    difference, reference = squares(student, teacher, valid)
    dead = reference < torch.finfo(reference.dtype).tiny
    return (difference / reference.masked_fill(dead, torch.inf)).mean()


def variance_distance(
    student: Tensor, teacher: Tensor, valid: Tensor | None = None, variance: float = 1.0
) -> Tensor:
    """|F_T - F_S|^2 averaged over C, H, W and the batch, over the variance of the teacher's maps in
    the data set: PHI-S (Ranzinger et al., arXiv:2410.01680) reduced to its scalar, not rotated."""
    return mean_distance(student, teacher, valid) / variance


def l1_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """|F_T - F_S| averaged over C, H, W and the batch."""
    return masked_mean((student - teacher).abs(), valid)


def unit(maps: Tensor) -> Tensor:
    """Each cell's vector over the channels at length 1; zero vectors stay zero."""
    squared = maps.square().sum(dim=1, keepdim=True)
    return maps / torch.where(squared > NO_DIRECTION, squared, 1.0).sqrt()


def cosine_distance(
    student: Tensor, teacher: Tensor, valid: Tensor | None = None, margin: float = 1.0
) -> Tensor:
    """max(0, margin - cos) of each cell's vectors, averaged over cells and batch (the hinge on
    matching points of Larsson et al., CVPR 2019). A margin of 1 is 1 - cos.

    1 - cos is computed as |u_T - u_S|^2 / 2 of the unit vectors, which does not cancel; where one
    of them is zero (dead ReLUs) it is 1/2, where both are 0.
    """
    apart = (unit(student) - unit(teacher)).square().sum(dim=1, keepdim=True) / 2
    return masked_mean((apart - (1 - margin)).relu(), valid)


def standardised(maps: Tensor, valid: Tensor | None) -> Tensor:
    """Each channel at mean 0 and variance 1 over the cells that count, of the images of all
    processes. A channel that is the same everywhere is 0, and so are cells that do not count."""
    mask = inside(maps, valid)
    mask = torch.ones_like(maps[:, :1]) if mask is None else mask
    count, own = all_sum(mask.sum()).clamp(min=1), (0, *range(2, maps.ndim))
    mean = summed((maps * mask).sum(dim=own, keepdim=True)) / count
    apart = (maps - mean) * mask
    variance = summed(apart.square().sum(dim=own, keepdim=True)) / count
    return apart / (variance + EPSILON).sqrt()


def pearson_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """1 - r of a channel's values over the cells of the batch, mean over the channels: PKD (Cao et
    al., NeurIPS 2022, arXiv:2207.02039).

    It is computed as half the mean squared difference of the standardised maps, which does not
    cancel. Where a channel is dead (the same everywhere) in one of them it is 1/2, in both 0.
    """
    apart = (standardised(student, valid) - standardised(teacher, valid)).square()
    return masked_mean(apart, valid) / 2


def divergence(teacher: Tensor, student: Tensor, dim: int) -> Tensor:
    """KL(teacher || student) of log-probabilities, summed over `dim`.

    As sum_i p (log p - log q) - p + q: the last two add up to 0, but make the gradient q - p, which
    is exactly 0 where the two are equal.
    """
    p, q = teacher.exp(), student.exp()
    return (p * (teacher - student) - p + q).sum(dim=dim)


def cwd_distance(
    student: Tensor, teacher: Tensor, valid: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Channel-wise distillation (Shu et al., ICCV 2021):
    T^2 / C sum_c KL(softmax_xy(F_T / T) || softmax_xy(F_S / T)), mean over the batch.

    The softmax runs over the valid cells of a channel, so what it compares is where a channel is
    active; a shift of all its values by a constant changes nothing.
    """
    mask = inside(teacher, valid)
    logs = []
    for maps in (teacher, student):
        scaled = maps / temperature
        if mask is not None:  # far below any value, and finite: no cell left gives 0, not NaN
            scaled = scaled.masked_fill(mask == 0, torch.finfo(scaled.dtype).min / 2)
        logs.append(scaled.flatten(2).log_softmax(dim=2))
    return temperature**2 * divergence(logs[0], logs[1], dim=2).mean()


DISTANCES: dict[str, Callable[..., Tensor]] = {
    "norm": norm_distance,
    "sum": sum_distance,
    "mean": mean_distance,
    "relative": relative_distance,
    "variance": variance_distance,
    "l1": l1_distance,
    "cosine": cosine_distance,
    "pearson": pearson_distance,
    "cwd": cwd_distance,
}
"""(student, teacher: (B, C, h, w), valid: (B, H, W) or None, its options) -> scalar."""

OPTIONS = {
    option: users["distance"][0]
    for option, users in USERS[RegressionConfig].items()
    if "distance" in users
}
"""Settings of the regression that only one distance has."""
