"""Do the two images of each pair show the same scene? Across a shift, without a network.

Every image is a coarse descriptor (adapt.scan.measure). Dimensions are standardised within each
domain, which removes what the shift adds to all images alike; then each is weighted by how it
correlates across the pairs: what the shift keeps counts, what it destroys does not, what it inverts
counts negatively. Pair i itself is left out of the weights by which it is judged. The doubt of a
pair is the share of other images that fit it better than its own partner: for a partner drawn at
random it is uniform in 0..1, so that a threshold t finds a share 1 - t of swapped files.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adapt.machine.runtime import progress

ENOUGH = 16
"""Pairs from which on weights can be learned."""
REFERENCE = 2000
"""How many other images every pair is compared with."""
CHUNK = 1024
OFFSETS = (-3, -2, -1, 1, 2, 3)
AGREED = 0.75
"""Cosine between the weights of two halves of the pairs from which on they are no chance."""
SLIPPED = 1.04
"""Gain of correlation by an offset from which on the list has slipped; in videos it is small."""
TINY = 1e-6


@dataclass(frozen=True)
class Side:
    """Descriptors of one domain, float16 (N, D), with what standardises them, float32 (D,)."""

    values: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def rows(self, which: slice | np.ndarray) -> np.ndarray:
        """Standardised unit vectors, float32 (n, D)."""
        rows = (self.values[which].astype(np.float32) - self.mean) * self.scale
        return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + TINY)


def side(values: np.ndarray) -> Side:
    total, square = np.zeros((2, values.shape[1]))
    for chunk in chunks(len(values)):
        part = values[chunk].astype(np.float64)
        total += part.sum(axis=0)
        square += (part**2).sum(axis=0)
    mean = total / len(values)
    spread = np.sqrt(np.maximum(square / len(values) - mean**2, 0))
    scale = np.where(spread > 1e-3, 1 / np.maximum(spread, 1e-3), 0)
    return Side(values, mean.astype(np.float32), scale.astype(np.float32))


def chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def correlation(old: Side, new: Side, offset: int = 0) -> np.ndarray:
    """Sum of products (2, D) of the sides, x1 of pair i with x2 of pair i + offset: over the even
    and over the odd i."""
    count = len(old.values) - abs(offset)
    first, second = max(0, -offset), max(0, offset)
    total = np.zeros((2, old.values.shape[1]))
    for chunk in chunks(count):
        a = old.rows(slice(chunk.start + first, chunk.stop + first))
        b = new.rows(slice(chunk.start + second, chunk.stop + second))
        for half in (0, 1):  # chunks begin at even places
            total[half] += (a[half::2] * b[half::2]).sum(axis=0, dtype=np.float64)
    return total


def displacement(old: Side, new: Side) -> int:
    """The offset at which neighbours in the list correlate best: 0, unless the list has slipped.

    What correlates by chance differs from one half of the pairs to the other, and does not count.
    """
    count = len(old.values)
    halves = {k: correlation(old, new, k) / (count - abs(k)) for k in (0, *OFFSETS)}
    strength = {k: float(np.linalg.norm(even + odd)) for k, (even, odd) in halves.items()}
    best = max(strength, key=lambda k: strength[k])
    even, odd = halves[best]
    agreement = even @ odd / (np.linalg.norm(even) * np.linalg.norm(odd) + TINY**2)
    return best if agreement > AGREED and strength[best] > SLIPPED * strength[0] else 0


@dataclass(frozen=True)
class Judged:
    """How well each of N pairs fits, and what the similarities of others are."""

    doubt: np.ndarray
    """(N,) share of the compared images that fit better than the own partner, ties by half."""
    score: np.ndarray
    """(N,) similarity of the pair in standard deviations above that of x2 with other x1 and of x1
    with other x2, the mean of both."""
    mean: np.ndarray
    """(2, N) of the similarities of x2 with other x1, and of x1 with other x2."""
    spread: np.ndarray
    """(2, N) their standard deviations."""
    compared: int
    """Images that each pair was compared with."""


@dataclass(frozen=True)
class Fit(Judged):
    partner: np.ndarray
    """(N,) for pairs in doubt the index of the x1 that x2 fits best, else -1."""
    partner_score: np.ndarray
    """(N,) the score with it, else -inf."""


def fit(old: Side, new: Side, threshold: float) -> Fit:
    """Judge every pair (row i of both sides), and name a better partner for those whose doubt is
    above the threshold."""
    total = correlation(old, new).sum(axis=0)
    judged = judge(old, new, total)
    partner, score = partners(old, new, total, judged, np.flatnonzero(judged.doubt > threshold))
    return Fit(**vars(judged), partner=partner, partner_score=score)


def without(total: np.ndarray, a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Weights (n, D) for pairs with the rows a and b: the mean product of all other pairs."""
    return (total - a * b).astype(np.float32) / (count - 1)


def judge(old: Side, new: Side, total: np.ndarray) -> Judged:
    """Compare every pair with REFERENCE images of either side, drawn once."""
    count = len(old.values)
    chosen = np.random.default_rng(0).permutation(count)[:REFERENCE]
    place = np.full(count, -1)
    place[chosen] = np.arange(len(chosen))
    some_old, some_new = old.rows(chosen), new.rows(chosen)
    doubt, score = np.zeros((2, count), np.float32)
    mean, spread = np.zeros((2, 2, count), np.float32)
    for chunk in progress(list(chunks(count)), what="pairs"):
        a, b = old.rows(chunk), new.rows(chunk)
        weights = without(total, a, b, count)
        own = (weights * a * b).sum(axis=1)
        inside = np.flatnonzero(place[chunk] >= 0)
        others = np.full(len(own), len(chosen))
        others[inside] -= 1
        better = np.zeros(len(own))
        for k, similarity in enumerate(((weights * b) @ some_old.T, (weights * a) @ some_new.T)):
            similarity[inside, place[chunk][inside]] = np.nan  # the pair itself
            better += (similarity > own[:, None]).sum(axis=1)
            better += 0.5 * (similarity == own[:, None]).sum(axis=1)
            mean[k, chunk] = np.nanmean(similarity, axis=1)
            spread[k, chunk] = np.nanstd(similarity, axis=1) + TINY
        doubt[chunk] = better / 2 / others
        score[chunk] = ((own - mean[:, chunk]) / spread[:, chunk]).mean(axis=0)
    return Judged(doubt, score, mean, spread, min(count - 1, len(chosen)))


def partners(
    old: Side, new: Side, total: np.ndarray, judged: Judged, doubted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The x1 of any pair that each doubted x2 fits best, and the score with it: (N,) and (N,)."""
    count = len(old.values)
    partner, best = np.full(count, -1), np.full(count, -np.inf, np.float32)
    mean, spread = judged.mean, judged.spread
    for start in progress(range(0, len(doubted), CHUNK), what="partners"):
        some = doubted[start : start + CHUNK]
        a, b = old.rows(some), new.rows(some)
        shown = without(total, a, b, count) * b
        for chunk in chunks(count):
            similarity = shown @ old.rows(chunk).T
            score = (similarity - mean[0, some, None]) / spread[0, some, None]
            score = (score + (similarity - mean[1, chunk]) / spread[1, chunk]) / 2
            here = np.flatnonzero((some >= chunk.start) & (some < chunk.stop))
            score[here, some[here] - chunk.start] = -np.inf  # the pair itself
            top = score.argmax(axis=1)
            value = score[np.arange(len(some)), top]
            higher = value > best[some]
            partner[some[higher]] = top[higher] + chunk.start
            best[some[higher]] = value[higher]
    return partner, best


def level(found: Fit, threshold: float, below: float) -> float:
    """So many robust standard deviations below the median score of the pairs without doubt."""
    good = found.score[found.doubt <= threshold]
    if not len(good):
        return math.inf
    median = np.median(good)
    return float(median - below * 1.4826 * np.median(np.abs(good - median)))
