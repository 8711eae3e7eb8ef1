"""What the gradient comes from: a weighted sum of named terms over maps of teacher and student."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from adapt.data.images import void_of
from adapt.errors import InputError, unknown
from adapt.machine.processes import all_mean, all_sum, global_mean
from adapt.networks.taps import LOGITS, tap_of, two_logits, upsample
from adapt.objective.distances import DISTANCES, OPTIONS, divergence, masked_mean
from adapt.objective.weighting import weighting_of
from adapt.settings.choices import AUXILIARY_HEAD
from adapt.settings.objective import (
    KDConfig,
    ObjectiveConfig,
    PseudoConfig,
    RegressionConfig,
    StitchConfig,
    SupervisedConfig,
)
from adapt.settings.unused import refuse_unused

Maps = dict[str, Tensor]
Part = tuple[Tensor, float]
"""A raw value (scalar, with graph) and its weight in the loss."""


@dataclass(frozen=True)
class Term:
    """One term of the objective and what it needs of the networks and the batch."""

    parts: Callable[[Maps, Maps, dict[str, Tensor]], dict[str, Part]]
    """(student's maps, teacher's maps, batch on the device) -> name -> (raw value, weight); a part
    of weight 0 is only logged. Of a pair of layers both maps have the name of the teacher's."""
    student: frozenset[str] = frozenset()
    teacher: frozenset[str] = frozenset()
    pairs: Mapping[str, str] = field(default_factory=dict)
    """The teacher's layer -> the student's that is regressed onto it."""
    labels: bool = False
    dense: bool = False
    """Does it take the network's output for a map?"""
    cuts: Callable[[int, int], Sequence[str]] = lambda seed, step: ()
    """The run's seed and the step -> layers after which the frozen teacher goes on from the
    student's map in that step; `parts` finds its logits among the student's maps, by `cut_at`."""


def distance_at(config: RegressionConfig, tap: str) -> Callable[..., Tensor]:
    """The distance with its options, as it is computed at a layer; InputError without the layer's
    variance, where it divides by that."""
    options = {o: getattr(config, o) for o, d in OPTIONS.items() if d == config.distance}
    if "variance" in options:
        if tap not in config.variance:
            raise InputError(
                f"objective.regression.variance has no {tap}, which distance=variance divides by; "
                "give {layer: variance} for every layer, or in a training none"
            )
        options["variance"] = config.variance[tap]
    return partial(DISTANCES[config.distance], **options)


def regression(config: RegressionConfig) -> Term:
    """sum_l w_l d(F_l^T(x1), F_l^S(x2)). A layer's gradient reaches the layers up to it only. The
    student's map is brought to the size of the teacher's. With `confidence` cells count where the
    nearest pixel of x1 has a class that the teacher is so sure of."""

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        found, valid = dict[str, Part](), batch.get("valid")
        if config.confidence:
            chance, _, there = opinion(teacher, batch)
            valid = there & (chance >= config.confidence)
            found["confidence/share"] = share_of(valid, there), 0.0
        for tap, weight in config.taps.items():
            own, wanted = student[tap].float(), teacher[tap].float()
            if config.confidence and wanted.ndim != 4:
                raise InputError(
                    f"objective.regression.confidence: {tap} has tokens on no grid, of which "
                    "nobody knows where they lie; give confidence=0 or other taps"
                )
            if own.ndim == 4 and own.shape[2:] != wanted.shape[2:]:
                own = upsample(own, (wanted.shape[2], wanted.shape[3]))
            value = distance_at(config, tap)(own, wanted, valid)
            found[f"regression/{tap}"] = value, config.weight * weight
        return found

    if not config.taps:
        raise InputError(
            "objective.regression.taps is empty: name layers, for example taps=[pool3,pool5], or "
            "give taps=auto"
        )
    if strange := config.student.keys() - config.taps.keys():
        raise unknown("objective.regression.student: layer", min(strange), config.taps)
    if strange := config.variance.keys() - config.taps.keys():
        raise unknown("objective.regression.variance: layer", min(strange), config.taps)
    if config.student.get(LOGITS, LOGITS) != LOGITS:
        raise InputError(f"taps: only the student's {LOGITS} can be paired with the teacher's")
    pairs = {tap: config.student.get(tap, tap) for tap in config.taps}
    sure = bool(config.confidence)
    wanted = frozenset({*pairs, LOGITS} if sure else pairs)
    return Term(parts, frozenset(pairs.values()), wanted, pairs, dense=sure)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (B, C, h, w) upsampled to the labels (B, H, W): sum over pixels that are not void /
    their number, 0 if there are none. Of logits (B, C) and labels (B,): the mean over images."""
    if logits.ndim == 2:
        return nn.functional.cross_entropy(logits.float(), labels)
    logits = upsample(logits.float(), (labels.shape[1], labels.shape[2]))
    void = void_of(logits.shape[1])
    summed = nn.functional.cross_entropy(logits, labels, ignore_index=void, reduction="sum")
    count = (labels != void).sum()
    return global_mean(summed / count.clamp(min=1), count)


def supervised(config: SupervisedConfig) -> Term:
    """Cross-entropy with the labels, at their resolution; of several tasks a part for each, by the
    share of the images that have its labels, as in a sum over images (UberNet: Kokkinos 2017)."""

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        if not tasks:
            value = cross_entropy(student[LOGITS], batch["y"].long())
            return {"supervised/cross_entropy": (value, config.weight)}
        found = {}
        for task, weight in tasks.items():
            value = cross_entropy(student[tap_of(task)], batch[f"y_{task}"].long())
            share = all_mean(batch[f"has_{task}"].float().mean()).item()
            found[f"supervised/{task}"] = value, config.weight * weight * share
        return found

    tasks = {task: weight for task, weight in config.tasks.items() if weight}
    return Term(parts, student=frozenset(map(tap_of, tasks or [""])), labels=True)


def auxiliary(weight: float) -> Term:
    """Cross-entropy of the auxiliary head with the same labels (Zhao et al. 2017, section 3.3)."""

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        value = cross_entropy(two_logits(student[AUXILIARY_HEAD]), batch["y"].long())
        return {"auxiliary/cross_entropy": (value, weight)}

    return Term(parts, student=frozenset({AUXILIARY_HEAD}), labels=True)


def kd(config: KDConfig) -> Term:
    """T^2 mean over cells of KL(softmax(z_T(x1) / T) || softmax(z_S(x2) / T)) (Hinton et al. 2015),
    at the size of the student's own output.

    All layers train. Dropout before the student's classifier (VGG's fc6 and fc7) stays on, as in
    supervised training, and makes the term noisy: with it, equal networks and images give 0 in eval
    mode only. A teacher whose output is larger or smaller is brought to the student's size.
    """

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        value = distilled(student[LOGITS], teacher[LOGITS], batch, config.temperature)
        return {"kd/divergence": (value, config.weight)}

    return Term(parts, student=frozenset({LOGITS}), teacher=frozenset({LOGITS}), dense=True)


def opinion(teacher: Maps, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's largest probability at each pixel of x1, its class, and whether the pixel is
    valid: (B, H, W) each."""
    size = (batch["x1"].shape[2], batch["x1"].shape[3])
    chance, labels = upsample(teacher[LOGITS].float(), size).softmax(dim=1).max(dim=1)
    valid = batch["valid"].bool() if "valid" in batch else torch.ones_like(labels).bool()
    return chance, labels, valid


def share_of(sure: Tensor, valid: Tensor) -> Tensor:
    """The share of the valid pixels (B, H, W), of all processes, that are sure; 0 of none."""
    return all_sum(sure.sum()) / all_sum(valid.sum()).clamp(min=1)


def distilled(
    student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float = 1.0
) -> Tensor:
    """T^2 mean over valid cells of KL(softmax(z_T / T) || softmax(z_S / T)) of logits (B, C, h, w),
    the teacher's brought to the student's size."""
    size = (student.shape[2], student.shape[3])
    both = upsample(teacher.float(), size), student.float()
    wanted, found = ((z / temperature).log_softmax(dim=1) for z in both)
    apart = divergence(wanted, found, dim=1)[:, None]
    return temperature**2 * masked_mean(apart, batch.get("valid"))


def cut_at(tap: str) -> str:
    """The name, among the student's maps, of the teacher's logits from its map at a tap."""
    return f"cut/{tap}"


def stitch(config: StitchConfig) -> Term:
    """sum_l v_l mean over cells of KL(softmax(T(x1)) || softmax(T_{>l}(F_l^S(x2)))).

    T_{>l} are the frozen teacher's layers after l, which the gradient passes on its way to the
    student's layers up to l. `one` draws a single l each step, all alike, from the run's seed and
    the step: v_l = 1. With `all`, of n taps in the order of the forward pass,
    v_l = 2^-(n-l) / sum_k 2^-(n-k) = 2^(l-1) / (2^n - 1). The composition is that of Block-KD
    (arXiv 2411.01547), and of a detector's head in CrossKD (2306.11369); drawing and weights are
    ours. Equal networks and images give exactly 0 with the student in eval mode.
    """
    n = len(config.taps)

    def cuts(seed: int, step: int) -> Sequence[str]:
        if config.cuts == "all":
            return config.taps
        return [config.taps[np.random.default_rng([seed, step]).integers(n)]]

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        found = {}
        for place, tap in enumerate(config.taps):
            if cut_at(tap) in student:
                value = distilled(student[cut_at(tap)], teacher[LOGITS], batch)
                weight = config.weight
                if config.cuts == "all":
                    weight *= 2**place / (2**n - 1)
                else:  # a gradient of 0 for the layers after the cut: processes wait for all
                    value = value + torch.stack([student[t][:0].sum() for t in config.taps]).sum()
                found[f"stitch/{tap}"] = value, weight
        return found

    pairs = {tap: config.student.get(tap, tap) for tap in config.taps}
    student = frozenset(pairs.values())
    return Term(parts, student, frozenset({LOGITS}), pairs, dense=True, cuts=cuts)


def confident(
    config: PseudoConfig, chance: Tensor, labels: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Which pixels' labels the teacher is sure of, and how large their share is.

    `class_median` is the threshold in the code of Bidirectional Learning (Li et al., CVPR 2019),
    but of one batch's pixels instead of the data set's: it needs no pass in advance and no state.

    Args:
        config: threshold, tau and cap.
        chance: the teacher's largest probability, (B, H, W).
        labels: its class, (B, H, W).
        valid: bool (B, H, W).

    Returns:
        bool (B, H, W), and their share of the valid pixels, 0 if there are none; the share is that
        of all processes, a class's median that of this one's images.
    """
    least = torch.full_like(chance, config.tau)
    if config.threshold == "class_median":
        for label in labels[valid].unique():
            own = valid & (labels == label)
            least[own] = chance[own].median().clamp(max=config.cap)
    sure = valid & (chance >= least)
    return sure, share_of(sure, valid)


def pseudo(config: PseudoConfig) -> Term:
    """Cross-entropy of student(x2) with the labels that teacher(x1) is sure of.

    As in the supervised term, of logits upsampled to the image: the labels are those by which the
    agreement is scored, and B2 differs in whose labels they are. `weighting=share` (DACS, Tranheden
    et al. 2021; Refign) takes all labels, times the confident share of the batch. A student that
    equals its teacher has at most -log tau (`ignore`, `fixed`, no dropout).
    """

    def parts(student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        chance, labels, valid = opinion(teacher, batch)
        sure, share = confident(config, chance, labels, valid)
        void = void_of(student[LOGITS].shape[1])
        if config.weighting == "ignore":
            value = cross_entropy(student[LOGITS], labels.where(sure, void))
        else:
            value = share * cross_entropy(student[LOGITS], labels.where(valid, void))
        return {"pseudo/cross_entropy": (value, config.weight), "pseudo/confident": (share, 0.0)}

    return Term(parts, student=frozenset({LOGITS}), teacher=frozenset({LOGITS}), dense=True)


TERMS: dict[str, Callable[..., Term]] = {
    "regression": regression, "kd": kd, "pseudo": pseudo, "supervised": supervised,
    "stitch": stitch,
}  # fmt: skip
"""Adding a term is one function, one line here and one dataclass in ObjectiveConfig."""


class Objective:
    """The terms of positive weight, and the union of what they need. The supervised one counts the
    output of an auxiliary head too, `weight_of_auxiliary` times; seed and number of steps are the
    run's, by which weights of layers may go."""

    def __init__(
        self,
        config: ObjectiveConfig,
        weight_of_auxiliary: float = 0.0,
        seed: int = 0,
        steps: int = 1,
    ) -> None:
        active = {n: getattr(config, n) for n in TERMS if getattr(config, n).weight > 0}
        for own in active.values():
            refuse_unused(own)
        if not active:
            raise InputError(f"objective {config.name!r}: no term of {', '.join(TERMS)} is on")
        terms = {name: TERMS[name](own) for name, own in active.items()}
        if weight_of_auxiliary and "supervised" in terms:
            terms["auxiliary"] = auxiliary(config.supervised.weight * weight_of_auxiliary)
        self.terms = list(terms.values())
        self.student = frozenset[str]().union(*(t.student for t in self.terms))
        """The student's layers whose maps it must produce."""
        self.teacher = frozenset[str]().union(*(t.teacher for t in self.terms))
        """Maps that the teacher must produce; empty = no teacher is needed."""
        self.pairs: dict[str, str] = {}
        """The teacher's layer -> the student's, of layers that are regressed."""
        for tap, own in (pair for t in self.terms for pair in t.pairs.items()):
            if (first := self.pairs.setdefault(tap, own)) != own:
                raise InputError(
                    f"objective: {tap} is paired with the student's {first} and {own}; "
                    "objective.stitch.student must be as objective.regression.student"
                )
        self.labels = any(t.labels for t in self.terms)
        self.dense = [name for name, term in terms.items() if term.dense]
        """Names of the terms that need one label a pixel."""
        regressed = active.get("regression")
        self.layers = [f"regression/{tap}" for tap in regressed.taps] if regressed else []
        self.weighting = weighting_of(regressed, seed, steps) if regressed else None
        """Of the parts `layers`; None = their weights are fixed."""

    def cuts(self, seed: int, step: int) -> list[str]:
        """The teacher's layers after which it goes on from the student's map in a step."""
        return [tap for term in self.terms for tap in term.cuts(seed, step)]

    def __call__(
        self, student: Maps, teacher: Maps, batch: dict[str, Tensor], step: int = 0
    ) -> tuple[Tensor, dict[str, Part]]:
        """The loss (scalar with graph) and every term's and layer's raw value and weight, of a step
        from 0; the student's maps come by the names of the teacher's layers."""
        parts = self.parts(student, teacher, batch)
        if self.weighting is not None:
            weights = self.weighting(self.losses(parts), step)
            parts |= {n: (parts[n][0], w) for n, w in zip(self.layers, weights, strict=True)}
        return torch.stack([raw * weight for raw, weight in parts.values()]).sum(), parts

    def parts(self, student: Maps, teacher: Maps, batch: dict[str, Tensor]) -> dict[str, Part]:
        """The parts with the weights that are given."""
        found: dict[str, Part] = {}
        for term in self.terms:
            found |= term.parts(student, teacher, batch)
        return found

    def losses(self, parts: Mapping[str, Part]) -> Tensor:
        """The raw values of the regressed layers, float64 (n,) on the CPU without a graph, means
        over the processes."""
        raw = torch.stack([parts[name][0].detach() for name in self.layers])
        return all_mean(raw).double().cpu()
