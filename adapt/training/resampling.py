"""mIoU of counted pixels, and of pairs that are drawn with replacement."""

from warnings import catch_warnings

import numpy as np

from adapt.evaluation.metrics import ious

RESAMPLES = 1000
"""Draws of the bootstrap."""


def mious(counts: np.ndarray) -> np.ndarray:
    """Counts (..., 3, C) as in `Pair` -> mIoU (...) in percent; NaN where no pixel counts."""
    with catch_warnings(action="ignore", category=RuntimeWarning):  # of an empty mean
        return np.nanmean(ious(counts), axis=-1)


def resampled(counts: np.ndarray) -> np.ndarray:
    """mIoU (RESAMPLES, rows) of pairs that are drawn with replacement, from counts (N, rows, 3, C):
    the bootstrap of Efron (1979), with the same draws for every row."""
    pairs = len(counts)
    drawn = np.random.default_rng(0).multinomial(pairs, np.full(pairs, 1 / pairs), RESAMPLES)
    return np.stack([mious(np.tensordot(times, counts, axes=1)) for times in drawn])
