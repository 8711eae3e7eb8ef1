"""What helps on new images without a training: agreement of the teacher as it is, with the new
domain's batch-norm statistics, and on new images in the old domain's look."""

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from adapt.data import DataSet
from adapt.evaluation.inference import Reading, restyle_to_old
from adapt.machine.runtime import Runtime
from adapt.networks.batchnorm import eval_mode
from adapt.settings.choices import ADABN, RESTYLES
from adapt.settings.commands import BETA
from adapt.training.verdict import (
    INTERVAL,
    Pair,
    compare,
    degeneracies,
    mious,
    resampled,
    with_statistics,
)

AS_IT_IS = "as it is"
"""The row of the teacher without any help."""


@dataclass(frozen=True)
class Score:
    """Agreement with teacher(x1), mIoU in percent, of the teacher on new images with some help."""

    name: str
    """AS_IT_IS, ADABN or one of RESTYLES."""
    agreement: float | None = None
    """None = no valid pixel, or no such help."""
    interval: tuple[float, float] | None = None
    """90 % interval over resampled pairs; None = fewer than two pairs."""
    gain: tuple[float, float] | None = None
    """That of the difference to AS_IT_IS."""
    why_not: str = ""
    """Why there is no such help."""

    @property
    def helps(self) -> bool:
        """Is the whole interval of the gain above 0?"""
        return self.gain is not None and self.gain[0] > 0

    @property
    def harms(self) -> bool:
        """Is it below 0?"""
        return self.gain is not None and self.gain[1] < 0


@dataclass(frozen=True)
class TrainingFree:
    """The scores of everything that needs no training, on some pairs."""

    pairs: int
    scores: list[Score]
    reasons: list[str]
    """What nothing can be concluded from."""
    views: dict[str, dict[str, dict[str, np.ndarray]]]
    """A few pairs: name -> row -> pictures (adapt.training.verdict.VIEWS): of AS_IT_IS with AdaBN,
    where there is any, as `after`, and of each restyling."""


def training_free(
    machine: Runtime, teacher: nn.Module, reading: Reading, held_out: DataSet, training: DataSet
) -> TrainingFree:
    """Score the teacher on new images as it is, with AdaBN (Li et al. 2016), and with each way to
    give them the old domain's look first (adapt.evaluation.restyle).

    Args:
        machine: the device, on which the teacher lies, and the precision.
        teacher: its prediction on x1 serves as truth for every one on x2.
        reading: the size, the batch and the normalisation.
        held_out: the pairs that are scored, with the names of the classes.
        training: other pairs, from which the batch-norm statistics, colours and amplitudes come.
    """
    with eval_mode(teacher):
        adabn, _, why_not = with_statistics(machine, teacher, reading, training)
        nets = [teacher, teacher if adabn is None else adabn]
        found = {AS_IT_IS: list(compare(machine, teacher, nets, reading, held_out))}
        for name in RESTYLES:
            restyle = restyle_to_old(name, BETA, reading, training, held_out)
            restyled = replace(reading, restyle=restyle)
            found[name] = list(compare(machine, teacher, [teacher], restyled, held_out))
    counts = {name: counts_of(pairs, 0) for name, pairs in found.items()}
    if adabn is not None:
        counts[ADABN] = counts_of(found[AS_IT_IS], 1)
    every = scored(counts) | ({ADABN: Score(ADABN, why_not=why_not)} if why_not else {})
    truth = counts[AS_IT_IS][:, 1]
    valid = int((truth.sum(axis=-1) > 0).sum())
    return TrainingFree(
        pairs=len(truth),
        scores=[every[name] for name in (AS_IT_IS, ADABN, *RESTYLES)],
        reasons=degeneracies(truth.sum(axis=0), valid, len(truth), None),
        views={
            pair.name: {name: pairs[place].views for name, pairs in found.items()}
            for place, pair in enumerate(found[AS_IT_IS])
            if pair.views
        },
    )


def counts_of(pairs: list[Pair], row: int) -> np.ndarray:
    """(N, 3, C): the counts of one network's predictions (adapt.training.verdict.Pair)."""
    return np.stack([pair.counts[row] for pair in pairs])


def scored(counts: dict[str, np.ndarray]) -> dict[str, Score]:
    """The score of each row from its counts (N, 3, C), all of the same pairs."""
    every = np.stack(list(counts.values()), axis=1)
    there = every[every[:, 0, 1].sum(axis=-1) > 0]
    draws = resampled(there) if len(there) > 1 else np.zeros((0, len(counts)))

    def interval(values: np.ndarray) -> tuple[float, float] | None:
        return tuple(np.percentile(values, INTERVAL).tolist()) if len(values) else None

    gains = draws - draws[:, :1]
    return {
        name: Score(
            name,
            None if np.isnan(miou) else float(miou),
            interval(draws[:, row]),
            interval(gains[:, row]) if row else None,
        )
        for row, (name, miou) in enumerate(zip(counts, mious(every.sum(axis=0)), strict=True))
    }
