"""What the gradient comes from: a weighted sum of named terms over maps of teacher and student."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adapt.config import ObjectiveConfig, RegressionConfig, SupervisedConfig
from adapt.errors import InputError, unknown
from adapt.images import IGNORE
from adapt.taps import LOGITS, upsample

Maps = dict[str, Tensor]
Part = tuple[Tensor, float]
"""A raw value (scalar, with graph) and its weight in the loss."""


def cells(valid: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask (B, H, W) of valid pixels -> float (B, 1, h, w) of valid cells, by nearest neighbour."""
    return nn.functional.interpolate(valid[:, None].float(), size, mode="nearest")


def squares(
    student: Tensor, teacher: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Per image: sum of squared differences, sum of squared teacher values, number of values."""
    difference = (student - teacher).square()
    reference = teacher.square()
    count = torch.full_like(difference[:, 0, 0, 0], float(difference[0].numel()))
    if valid is not None:
        inside = cells(valid, (teacher.shape[-2], teacher.shape[-1]))
        difference, reference = difference * inside, reference * inside
        count = inside.sum(dim=(1, 2, 3)) * teacher.shape[1]
    return difference.sum(dim=(1, 2, 3)), reference.sum(dim=(1, 2, 3)), count


def sum_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """|F_T - F_S|^2 summed over C, H, W, mean over the batch (003, section 3.1, squared norm)."""
    return squares(student, teacher, valid)[0].mean()


def mean_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """|F_T - F_S|^2 averaged over C, H, W and the batch."""
    difference, _, count = squares(student, teacher, valid)
    return difference.sum() / count.sum().clamp(min=1)


def relative_distance(student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
    """Per image |F_T - F_S|^2 / |F_T|^2, mean over the batch: every layer has the same scale."""
    difference, reference, _ = squares(student, teacher, valid)
    return (difference / reference.clamp(min=torch.finfo(reference.dtype).tiny)).mean()


DISTANCES = {"sum": sum_distance, "mean": mean_distance, "relative": relative_distance}
"""(student, teacher: (B, C, h, w) float32, valid: (B, H, W) or None) -> scalar."""


@dataclass(frozen=True)
class Term:
    """One term of the objective and what it needs of the networks and the batch."""

    parts: Callable[[Maps, Maps, dict[str, Tensor]], dict[str, Part]]
    """(student's maps, teacher's maps, batch on the device) -> name -> (raw value, weight)."""
    student: frozenset[str] = frozenset()
    teacher: frozenset[str] = frozenset()
    labels: bool = False


def regression(config: RegressionConfig) -> Term:
    """sum_l w_l d(F_l^T(x1), F_l^S(x2)). A layer's gradient reaches the layers up to it only."""
    if config.distance not in DISTANCES:
        raise unknown("objective.regression.distance", config.distance, DISTANCES)
    distance = DISTANCES[config.distance]

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        valid = batch.get("valid")
        return {
            f"regression/{tap}": (
                distance(student[tap].float(), teacher[tap].float(), valid),
                config.weight * weight,
            )
            for tap, weight in config.taps.items()
        }

    taps = frozenset(config.taps)
    return Term(parts, student=taps, teacher=taps)


def supervised(config: SupervisedConfig) -> Term:
    """Cross-entropy at the label's resolution: sum over valid pixels / their number, 0 if none."""

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        labels = batch["y"].long()
        logits = upsample(student[LOGITS].float(), (labels.shape[1], labels.shape[2]))
        total = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        count = (labels != IGNORE).sum().clamp(min=1)
        return {"supervised/cross_entropy": (total / count, config.weight)}

    return Term(parts, student=frozenset({LOGITS}), labels=True)


TERMS: dict[str, Callable[..., Term]] = {"regression": regression, "supervised": supervised}
"""Adding a term is one function, one line here and one dataclass in ObjectiveConfig."""


@dataclass
class Objective:
    """The terms of positive weight, and the union of what they need."""

    config: ObjectiveConfig
    terms: list[Term] = field(init=False)

    def __post_init__(self) -> None:
        active = {n: getattr(self.config, n) for n in TERMS if getattr(self.config, n).weight > 0}
        if not active:
            raise InputError(f"objective {self.config.name!r}: no term of {', '.join(TERMS)} is on")
        self.terms = [TERMS[name](config) for name, config in active.items()]

    @property
    def student(self) -> frozenset[str]:
        """Maps that the student must produce."""
        return frozenset().union(*(t.student for t in self.terms))

    @property
    def teacher(self) -> frozenset[str]:
        """Maps that the teacher must produce; empty = no teacher is needed."""
        return frozenset().union(*(t.teacher for t in self.terms))

    @property
    def labels(self) -> bool:
        return any(t.labels for t in self.terms)

    def __call__(
        self, student: Maps, teacher: Maps, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Part]]:
        """The loss (scalar with graph) and every term's and layer's raw value and weight."""
        parts: dict[str, Part] = {}
        for term in self.terms:
            parts |= term.parts(student, teacher, batch)
        return torch.stack([raw * weight for raw, weight in parts.values()]).sum(), parts
