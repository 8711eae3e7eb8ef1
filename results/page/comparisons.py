"""What is claimed of differences between runs of one seed, and what became of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from results.page.records import mean, percent

HOLDS, FAILS, PARTLY, OPEN, MISSING = "holds", "fails", "in part", "seeds disagree", "not run yet"


@dataclass(frozen=True)
class Comparison:
    """What is claimed of some differences, seed by seed."""

    what: str
    differences: Mapping[int, float]
    least: float = 0.0
    """The claim is that every difference is above this."""
    negated: bool = False
    """The claim is that no difference is."""
    words: str = ""
    """Where mean and deviation do not say it."""

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

    @property
    def margin(self) -> float:
        """By how much the mean lies on the claimed side."""
        return (mean(self.differences) - self.least) * (-1 if self.negated else 1)

    def __str__(self) -> str:
        return self.words or f"{self.what} {percent(self.differences, signed=True)}"


@dataclass(frozen=True)
class Claim:
    """A claim, what became of it, and its numbers."""

    letter: str
    text: str
    comparisons: list[Comparison]
    notes: list[str] = field(default_factory=list)
    """Further sentences, such as a tested reason."""
    summary: str = ""
    """The numbers in a line; empty = all comparisons."""
    deciding: str = ""
    """The number that decides; empty = the comparison that lies furthest from the claim."""

    @property
    def made(self) -> list[Comparison]:
        """Those that were run."""
        return [one for one in self.comparisons if one.differences]

    @property
    def numbers(self) -> str:
        return self.summary or "; ".join(map(str, self.made))

    @property
    def number(self) -> str:
        furthest = min(self.made, key=lambda one: one.margin, default="")
        return self.deciding or str(furthest)

    @property
    def verdict(self) -> str:
        return joined(one.verdict for one in self.comparisons)

    @property
    def seeds(self) -> int:
        """The fewest that a comparison which was run has."""
        return min((len(one.differences) for one in self.made), default=0)

    @property
    def judgement(self) -> str:
        """The verdict in bold, and on how little it rests where that is so."""
        text, missing = f"**{self.verdict}**", len(self.comparisons) - len(self.made)
        if self.seeds == 1 and self.letter not in "fgi":
            text += " (one seed)"
        if missing and self.made:
            text += f"; {missing} of {len(self.comparisons)} comparisons not run"
        return text


def joined(verdicts: Iterable[str]) -> str:
    """One word for several comparisons; those not run yet do not count."""
    found = {verdict for verdict in verdicts if verdict != MISSING}
    if not found:
        return MISSING
    if len(found) == 1:
        return found.pop()
    return PARTLY if HOLDS in found else OPEN
