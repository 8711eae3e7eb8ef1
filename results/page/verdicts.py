"""How a claim is judged: by differences between runs of one seed, never by differences of means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from results.page.records import shown

HOLDS, FAILS, PARTLY, OPEN, MISSING = "holds", "fails", "in part", "seeds disagree", "not run yet"
REACH = 1.0
"""Points of mIoU by which `reaches` may fall short."""
GAIN = 1.0
"""Points of mIoU from which on something counts as a gain: about what seeds differ by."""


@dataclass(frozen=True)
class Part:
    """One comparison: what is claimed of the differences, seed by seed."""

    what: str
    differences: Mapping[int, float]
    least: float = 0.0
    """The claim is that every difference is above this."""
    negated: bool = False
    """The claim is that no difference is."""
    told: str = ""
    """The comparison in words, where mean and deviation do not say it."""

    @property
    def verdict(self) -> str:
        if not self.differences:
            return MISSING
        above = [d > self.least for d in self.differences.values()]
        if all(above):
            return FAILS if self.negated else HOLDS
        if not any(above):
            return HOLDS if self.negated else FAILS
        return OPEN

    def __str__(self) -> str:
        return self.told or f"{self.what} {shown(self.differences, signed=True)}"


@dataclass(frozen=True)
class Verdict:
    """A claim, what became of it, and its numbers."""

    letter: str
    claim: str
    parts: list[Part]
    notes: list[str] = field(default_factory=list)
    """Further sentences, such as a tested reason."""
    summary: str = ""
    """The numbers in a line; empty = all parts."""

    @property
    def numbers(self) -> str:
        return self.summary or "; ".join(str(part) for part in self.parts if part.differences)

    @property
    def verdict(self) -> str:
        return joined(part.verdict for part in self.parts)

    @property
    def seeds(self) -> int:
        """The fewest that a part which was run has."""
        return min((len(p.differences) for p in self.parts if p.differences), default=0)

    @property
    def missing(self) -> int:
        return sum(not part.differences for part in self.parts)


def joined(verdicts: Iterable[str]) -> str:
    """One word for several comparisons; those not run yet do not count."""
    found = {verdict for verdict in verdicts if verdict != MISSING}
    if not found:
        return MISSING
    if len(found) == 1:
        return found.pop()
    return PARTLY if HOLDS in found else OPEN
