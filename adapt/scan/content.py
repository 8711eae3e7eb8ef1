"""Findings about pairs whose two images do not show the same."""

from dataclasses import dataclass

import numpy as np

from adapt.data import Sample
from adapt.scan.checks import Records
from adapt.scan.duplicates import image_of
from adapt.scan.findings import ERROR, WARNING, Finding
from adapt.scan.members import Members
from adapt.scan.pairs import ENOUGH, Fit, displacement, fit, level, side
from adapt.settings.commands import ScanConfig

CHANCE = 0.25
"""Median doubt from which on the pairs as a whole fit hardly better than random ones (0.5)."""
WEAK = 0.04
"""Third quartile of the doubt from which on single pairs cannot be judged for certain."""

CLEAR, OUTLIER = 2, 3
"""Robust standard deviations below the typical score down to which a suggested partner convinces,
and from which on a pair in doubt is an outlier among the pairs of its set, hence an error."""


@dataclass(frozen=True)
class Verdict:
    findings: list[Finding]
    summary: dict[str, float | int | str]


def content(members: Members, records: Records, config: ScanConfig) -> Verdict:
    """Judge all pairs whose images could be read."""
    pairs = sorted(
        (s for s in members.paired if image_of(s, "x1", records) and image_of(s, "x2", records)),
        key=lambda s: s.name,
    )
    if len(pairs) < ENOUGH:
        return Verdict([], {"pairs": len(pairs), "skipped": f"fewer than {ENOUGH} pairs"})
    old, new = (
        side(np.stack([records_of(s, name, records) for s in pairs])) for name in ("x1", "x2")
    )
    found = fit(old, new, config.doubt)
    quartiles = np.quantile(found.doubt, (0.5, 0.75))
    summary: dict[str, float | int | str] = {
        "pairs": len(pairs),
        "compared": found.compared,
        "doubt_median": float(quartiles[0]),
        "doubt_third_quartile": float(quartiles[1]),
        "in_doubt": int((found.doubt > config.doubt).sum()),
    }
    if slipped := displacement(old, new):
        return Verdict([slip(pairs, slipped)], summary | {"offset": slipped})
    if quartiles[0] >= CHANCE:
        return Verdict([unrelated(pairs, found)], summary)
    weak = bool(quartiles[1] > WEAK) or trailing(found.doubt, config)
    findings = single(pairs, found, config, weak)
    if weak:
        findings.append(uncertain(pairs, found, config))
    return Verdict(findings, summary | {"certain": not weak})


def trailing(doubt: np.ndarray, config: ScanConfig) -> bool:
    """Are there many more small doubts than wrong pairs, whose doubt is uniform, would explain?
    Then right pairs reach into the doubtful range, and perhaps beyond."""
    above = int((doubt > config.wrong).sum())
    between = int((doubt > config.doubt).sum()) - above
    explained = above * (config.wrong - config.doubt) / (1 - config.wrong)
    return between > 3 * explained + 5


def records_of(sample: Sample, name: str, records: Records) -> np.ndarray:
    record = image_of(sample, name, records)
    if record is None or record.descriptor is None:
        raise AssertionError(f"{sample.name}: {name} was measured without a descriptor")
    return record.descriptor


def slip(pairs: list[Sample], offset: int) -> Finding:
    first = pairs[max(0, -offset)]
    other = pairs[max(0, -offset) + offset]
    way = "later" if offset > 0 else "earlier"
    return Finding(
        ERROR, "pairs", str(first.x1),
        f"fits {other.x2} better than its partner {first.x2}, and so it goes through the list: x2 "
        f"lies {abs(offset)} place{'s' if abs(offset) > 1 else ''} {way} than x1",
        "shift one side's names",
        {"offset": offset},
    )  # fmt: skip


def unrelated(pairs: list[Sample], found: Fit) -> Finding:
    worst = pairs[int(found.doubt.argmax())]
    return Finding(
        ERROR, "pairs", str(worst.x2),
        f"like most of the {len(pairs)} pairs fits its partner {worst.x1} hardly better than any "
        f"other (median doubt {np.median(found.doubt):.2f}; random pairs have 0.5)",
        "look at a few pairs: either the names do not belong together, or the shift hides all that "
        "is compared here, and pairs=false leaves this check out",
    )  # fmt: skip


def uncertain(pairs: list[Sample], found: Fit, config: ScanConfig) -> Finding:
    worst = pairs[int(found.doubt.argmax())]
    many = int((found.doubt > config.doubt).sum())
    return Finding(
        WARNING, "pairs", str(worst.x2),
        f"and {many - 1} others fit their partners badly, more of them slightly so than wrong "
        "pairs would explain: which are wrong cannot be told for certain; all count as warnings",
        "look at the pairs named here; much alike or badly aligned images have this effect",
    )  # fmt: skip


def single(pairs: list[Sample], found: Fit, config: ScanConfig, weak: bool) -> list[Finding]:
    """One finding for each pair in doubt."""
    findings = []
    clear = found.partner_score >= level(found, config.doubt, CLEAR)
    certain = (found.doubt > config.wrong) | (found.score < level(found, config.doubt, OUTLIER))
    for i in np.flatnonzero(found.doubt > config.doubt):
        own, other = pairs[i], pairs[found.partner[i]]
        severity = ERROR if certain[i] and not weak else WARNING
        problem = f"{found.doubt[i]:.0%} of the other images fit better than its partner {own.x1}"
        remedy = "look at both; swap the files back or take the pair out"
        if clear[i]:
            problem += f"; it looks like the partner of {other.x1}"
        details: dict[str, str | float] = {"name": own.name, "doubt": float(found.doubt[i])}
        if clear[i]:
            details["partner"] = other.name
        findings.append(Finding(severity, "pair", str(own.x2), problem, remedy, details))
    return findings
