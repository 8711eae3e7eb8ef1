"""What helps on new images without a training: agreement of the teacher as it is, with the new
domain's batch-norm statistics, on new images in the old domain's look, and with a map of a layer's
channels that is fitted to pairs."""

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from adapt.data import DataSet
from adapt.errors import InputError
from adapt.evaluation.baselines import restyle_to_old
from adapt.evaluation.inference import Reading
from adapt.evaluation.ridge import with_map
from adapt.machine.runtime import Runtime
from adapt.networks.batchnorm import eval_mode
from adapt.settings.choices import ADABN, RESTYLES, RIDGE
from adapt.settings.commands import BETA
from adapt.training.resampling import mious, resampled
from adapt.training.verdict import (
    AFTER,
    BEFORE,
    INTERVAL,
    compare,
    degeneracies,
    with_statistics,
)

AS_IT_IS = "as it is"
"""The row of the teacher without any help."""
ROWS = {
    (restyle, adabn): " + ".join([name for name in (restyle, adabn) if name] or [AS_IT_IS])
    for restyle in ("", *RESTYLES)
    for adabn in ("", ADABN)
}
"""Restyling and AdaBN or not -> the row's name."""


@dataclass(frozen=True)
class Score:
    """Agreement with teacher(x1), mIoU in percent, of the teacher on new images with some help."""

    name: str
    """Of ROWS, or RIDGE."""
    agreement: float
    """NaN = no valid pixel."""
    interval: tuple[float, float] | None = None
    """90 % interval over resampled pairs; None = fewer than two pairs."""
    gain: tuple[float, float] | None = None
    """That of the difference to AS_IT_IS."""

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
    no_adabn: str
    """Why there is no AdaBN."""
    views: dict[str, dict[str, dict[str, np.ndarray]]]
    """A few pairs: name -> restyling or nothing -> pictures (adapt.training.verdict.VIEWS), with
    AdaBN, where there is any, as `after`."""
    ridge: str = ""
    """After which layer the map stands, and the scores of all; or why there is none."""


def training_free(
    machine: Runtime, teacher: nn.Module, reading: Reading, held_out: DataSet, training: DataSet
) -> TrainingFree:
    """Score the teacher on new images as they are and with each way to give them the old domain's
    look (adapt.evaluation.restyle), each time as it is and with AdaBN (Li et al. 2016); and on new
    images as they are with a ridge map (adapt.evaluation.ridge).

    Args:
        machine: the device, on which the teacher lies, and the precision.
        teacher: its prediction on x1 serves as truth for every one on x2.
        reading: the size, the batch and the normalisation.
        held_out: the pairs that are scored, with the names of the classes.
        training: other pairs, from which the statistics, colours, amplitudes and the map come.
    """
    counts: dict[str, np.ndarray] = {}
    mapped: nn.Module | None = None
    try:
        mapped, found = with_map(machine, teacher, reading, training)
        said = str(found)
    except InputError as error:
        said = str(error)
    views: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    with eval_mode(teacher):
        for restyle in ("", *RESTYLES):
            seen = reading
            if restyle:
                made = restyle_to_old(restyle, BETA, reading, training, held_out)
                seen = replace(reading, restyle=made)
            adabn, _, no_adabn = with_statistics(machine, teacher, seen, training)
            nets = {BEFORE: teacher, AFTER: teacher if adabn is None else adabn}
            if mapped is not None and not restyle:
                nets[RIDGE] = mapped
            pairs = list(compare(machine, teacher, nets, seen, held_out))
            for row, norm in enumerate(("", ADABN) if adabn is not None else ("",)):
                counts[ROWS[restyle, norm]] = np.stack([pair.counts[row] for pair in pairs])
            if RIDGE in nets:
                counts[RIDGE] = np.stack([pair.counts[2] for pair in pairs])
            for pair in pairs:
                if pair.views:
                    views.setdefault(pair.name, {})[restyle] = pair.views
    truth = counts[AS_IT_IS][:, 1]
    valid = int((truth.sum(axis=-1) > 0).sum())
    reasons = degeneracies(truth.sum(axis=0), valid, len(truth), None)
    return TrainingFree(len(truth), scored(counts), reasons, no_adabn, views, said)


def scored(counts: dict[str, np.ndarray]) -> list[Score]:
    """The score of each row from its counts (N, 3, C), all of the same pairs, the first of which is
    AS_IT_IS."""
    every = np.stack(list(counts.values()), axis=1)
    there = every[every[:, 0, 1].sum(axis=-1) > 0]
    draws = resampled(there) if len(there) > 1 else np.zeros((0, len(counts)))

    def interval(values: np.ndarray) -> tuple[float, float] | None:
        return tuple(np.percentile(values, INTERVAL).tolist()) if len(values) else None

    return [
        Score(
            name,
            float(miou),
            interval(draws[:, row]),
            interval(draws[:, row] - draws[:, 0]) if row else None,
        )
        for row, (name, miou) in enumerate(zip(counts, mious(every.sum(axis=0)), strict=True))
    ]
