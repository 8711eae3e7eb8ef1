"""Do the two images of each pair show the same scene? Across a shift, without a network.

Every image is a coarse descriptor (adapt.scan.measure). Dimensions are standardised within each
domain, which removes what the shift adds to all images alike; then each is weighted by how it
correlates across the pairs: what the shift keeps counts, what it destroys does not, what it inverts
counts negatively. Pair i itself is left out of the weights by which it is judged. The doubt of a
pair is the share of other images that fit it better than its own partner: for a partner drawn at
random it is uniform in 0..1, so that a threshold t finds a share 1 - t of swapped files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapt.align.sample import cure, sampled
from adapt.data import Sample
from adapt.data.warp import with_transforms
from adapt.errors import InputError
from adapt.machine.runtime import progress
from adapt.scan.measure import IMAGE, Records
from adapt.scan.members import Finding, Members, error, warning
from adapt.settings.commands import ScanConfig

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
CHANCE = 0.25
"""Median doubt from which on the pairs as a whole fit hardly better than random ones (0.5)."""
WEAK = 0.04
"""Third quartile of the doubt from which on single pairs cannot be judged for certain."""
CLEAR, OUTLIER = 2 * 1.4826, 3 * 1.4826
"""Median absolute deviations (1.4826 are a standard deviation) below the typical score: down to
which a suggested partner convinces, and from which on a pair in doubt is an outlier, an error."""
CELL = 8
"""Pixels of an offset that all pairs share from which on it is a finding: the stride of pool5 of
the networks here; others have up to 32."""
TINY = 1e-6


def content(
    members: Members, records: Records, config: ScanConfig
) -> tuple[list[Finding], dict[str, Any]]:
    """Judge all pairs whose images could be read: the findings, and figures for the summary."""
    paired = sorted(members.paired, key=lambda s: s.name)
    pairs = [s for s in paired if {(s.x1, IMAGE), (s.x2, IMAGE)} <= records.keys()]
    _, scenes = np.unique([str(s.x1) for s in pairs], return_inverse=True)
    if len(set(scenes)) < ENOUGH:
        return [], {"pairs": len(pairs), "skipped": f"fewer than {ENOUGH} pairs of different x1"}
    old, new = (
        standardised(np.stack([records[getattr(s, side), IMAGE].descriptor for s in pairs]))
        for side in ("x1", "x2")
    )
    found = fit(old, new, config.doubt, scenes)
    worst = pairs[int(found.doubt.argmax())]
    median, third_quartile = np.quantile(found.doubt, (0.5, 0.75))
    summary: dict[str, Any] = {
        "pairs": len(pairs),
        "compared": found.compared,
        "doubt_median": float(median),
        "doubt_third_quartile": float(third_quartile),
        "in_doubt": int((found.doubt > config.doubt).sum()),
    }
    if offset := displacement(old, new):
        return [slip(pairs, offset)], summary | {"offset": offset}
    if median >= CHANCE:
        problem = (
            f"like most of the {len(pairs)} pairs fits its partner {worst.x1} hardly better than "
            f"any other (median doubt {np.median(found.doubt):.2f}; random pairs have 0.5)"
        )
        remedy = (
            "look at a few pairs: either the names do not belong together, or the shift hides all "
            "that is compared here, and pairs=false leaves this check out"
        )
        return [error("pairs", str(worst.x2), problem, remedy)], summary
    weak = bool(third_quartile > WEAK) or trailing(found.doubt, config)
    findings = list(single(pairs, found, config, weak))
    if weak:
        problem = (
            f"and {summary['in_doubt'] - 1} others fit their partners badly, more of them slightly "
            "so than wrong pairs would explain: which are wrong cannot be told for certain; all "
            "count as warnings"
        )
        remedy = "look at the pairs named here; much alike or badly aligned images have this effect"
        findings.append(warning("pairs", str(worst.x2), problem, remedy))
    return findings, summary | {"certain": not weak}


def sample(members: Members, records: Records) -> tuple[list[Finding], dict[str, Any]]:
    """What a sample of the pairs whose images could be read tells; an offset that they share is a
    finding."""
    config = members.config
    pairs = [s for s in members.paired if {(s.x1, IMAGE), (s.x2, IMAGE)} <= records.keys()]
    try:
        pairs = with_transforms(pairs, config) if config.transforms else pairs
    except InputError as refused:
        return [error("list", config.transforms, str(refused), "mend the list")], {}
    if not pairs:
        return [], {}
    found = sampled(pairs, config)
    off, (align, setting) = found.misalignment, cure(config)
    if off.offset <= CELL or not off.systematic:
        return [], found.record
    problem = f"{off.line}: more than a cell of {CELL} px, as maps of networks have them"
    remedy = f"align the pairs ({align}) and give a run {setting}"
    return [warning("offset", str(pairs[0].x2), problem, remedy)], found.record


def trailing(doubt: np.ndarray, config: ScanConfig) -> bool:
    """Are there many more small doubts than wrong pairs, whose doubt is uniform, would explain?
    Then right pairs reach into the doubtful range, and perhaps beyond."""
    above = int((doubt > config.wrong).sum())
    between = int((doubt > config.doubt).sum()) - above
    return between > 3 * above * (config.wrong - config.doubt) / (1 - config.wrong) + 5


def slip(pairs: list[Sample], offset: int) -> Finding:
    first, other = pairs[max(0, -offset)], pairs[max(0, offset)]
    places = f"{abs(offset)} place{'s' if abs(offset) > 1 else ''}"
    problem = (
        f"fits {other.x2} better than its partner {first.x2}, and so it goes through the list: x2 "
        f"lies {places} {'later' if offset > 0 else 'earlier'} than x1"
    )
    return error("pairs", first.x1, problem, "shift one side's names", offset=offset)


def single(pairs: list[Sample], found: "Fit", config: ScanConfig, weak: bool) -> Iterator[Finding]:
    """One finding for each pair in doubt."""
    good = found.score[found.doubt <= config.doubt]
    typical = np.median(good) if len(good) else np.inf
    deviation = np.median(np.abs(good - typical)) if len(good) else 0.0
    clear = found.partner_score >= typical - CLEAR * deviation
    certain = (found.doubt > config.wrong) | (found.score < typical - OUTLIER * deviation)
    remedy = "look at both; swap the files back or take the pair out"
    for i in np.flatnonzero(found.doubt > config.doubt):
        own, other = pairs[i], pairs[found.partner[i]]
        problem = f"{found.doubt[i]:.0%} of the other images fit better than its partner {own.x1}"
        details: dict[str, Any] = {"name": own.name, "doubt": float(found.doubt[i])}
        if clear[i]:
            problem += f"; it looks like the partner of {other.x1}"
            details["partner"] = other.name
        made = error if certain[i] and not weak else warning
        yield made("pair", str(own.x2), problem, remedy, **details)


def standardised(values: np.ndarray) -> np.ndarray:
    """Unit vectors, float32 (N, D), of one domain's descriptors, float16 (N, D): each dimension has
    mean 0 and standard deviation 1 over the domain before."""
    rows = values.astype(np.float32)
    rows -= rows.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(np.mean(rows**2, axis=0, dtype=np.float64))
    rows *= np.where(spread > 1e-3, 1 / np.maximum(spread, 1e-3), 0)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + TINY)


def chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def correlation(old: np.ndarray, new: np.ndarray, offset: int = 0) -> np.ndarray:
    """Sum of products (2, D) of the sides, x1 of pair i with x2 of pair i + offset: over the even
    and over the odd i."""
    count = len(old) - abs(offset)
    a, b = old[max(0, -offset) :][:count], new[max(0, offset) :][:count]
    return np.stack([np.einsum("nd,nd->d", a[h::2], b[h::2], dtype=np.float64) for h in (0, 1)])


def displacement(old: np.ndarray, new: np.ndarray) -> int:
    """The offset at which neighbours in the list correlate best: 0, unless the list has slipped.

    What correlates by chance differs from one half of the pairs to the other, and does not count.
    """
    count = len(old)
    halves = {k: correlation(old, new, k) / (count - abs(k)) for k in (0, *OFFSETS)}
    strength = {k: float(np.linalg.norm(even + odd)) for k, (even, odd) in halves.items()}
    best = max(strength, key=lambda k: strength[k])
    even, odd = halves[best]
    agreement = even @ odd / (np.linalg.norm(even) * np.linalg.norm(odd) + TINY**2)
    return best if agreement > AGREED and strength[best] > SLIPPED * strength[0] else 0


@dataclass(frozen=True)
class Fit:
    """How well each of N pairs fits, and which partner would fit better."""

    doubt: np.ndarray
    """(N,) share of the compared images that fit better than the own partner, ties by half."""
    score: np.ndarray
    """(N,) similarity of the pair in standard deviations above that of x2 with other x1 and of x1
    with other x2, the mean of both."""
    partner: np.ndarray
    """(N,) for pairs in doubt the index of the x1 that x2 fits best, else -1."""
    partner_score: np.ndarray
    """(N,) the score with it, else -inf."""
    compared: int
    """Images that each pair was compared with."""


def fit(
    old: np.ndarray, new: np.ndarray, threshold: float, scenes: np.ndarray | None = None
) -> Fit:
    """Judge every pair (row i of both sides), and name a better partner for those whose doubt is
    above the threshold.

    Every pair is compared with REFERENCE images of either side, drawn once, but for those of its
    own scene: `scenes` (N,) has numbers that pairs of one x1 share; None = there are none.
    """
    count = len(old)
    scenes = np.arange(count) if scenes is None else scenes
    total = correlation(old, new).sum(axis=0)
    chosen = np.random.default_rng(0).permutation(count)[:REFERENCE]
    some_old, some_new = old[chosen], new[chosen]
    doubt, score = np.zeros((2, count), np.float32)
    # Of the similarities of x2 with other x1, and of x1 with other x2.
    mean, spread = np.zeros((2, 2, count), np.float32)
    for chunk in progress(list(chunks(count)), what="pairs"):
        a, b = old[chunk], new[chunk]
        weights = without(total, a, b, count)
        own = (weights * a * b).sum(axis=1)
        same = scenes[chunk, None] == scenes[chosen]
        others = np.maximum(1, len(chosen) - same.sum(axis=1))
        better = np.zeros(len(own))
        for k, similarity in enumerate(((weights * b) @ some_old.T, (weights * a) @ some_new.T)):
            similarity[same] = np.nan
            better += (similarity > own[:, None]).sum(axis=1)
            better += 0.5 * (similarity == own[:, None]).sum(axis=1)
            mean[k, chunk] = np.nanmean(similarity, axis=1)
            spread[k, chunk] = np.nanstd(similarity, axis=1) + TINY
        doubt[chunk] = better / 2 / others
        score[chunk] = ((own - mean[:, chunk]) / spread[:, chunk]).mean(axis=0)

    partner, best = np.full(count, -1), np.full(count, -np.inf, np.float32)
    doubted = np.flatnonzero(doubt > threshold)
    for start in progress(range(0, len(doubted), CHUNK), what="partners"):
        some = doubted[start : start + CHUNK]
        a, b = old[some], new[some]
        weighted = without(total, a, b, count) * b
        for chunk in chunks(count):
            similarity = weighted @ old[chunk].T
            fits = (similarity - mean[0, some, None]) / spread[0, some, None]
            fits = (fits + (similarity - mean[1, chunk]) / spread[1, chunk]) / 2
            fits[scenes[some, None] == scenes[chunk]] = -np.inf
            top = fits.argmax(axis=1)
            value = fits[np.arange(len(some)), top]
            higher = value > best[some]
            partner[some[higher]] = top[higher] + chunk.start
            best[some[higher]] = value[higher]
    return Fit(doubt, score, partner, best, min(count - 1, len(chosen)))


def without(total: np.ndarray, a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Weights (n, D) for pairs with the rows a and b: the mean product of all other pairs."""
    return (total - a * b).astype(np.float32) / (count - 1)
