"""What a scan can find: one line each, which names a file and says what to do."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from adapt.machine.runtime import say

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    severity: str
    """error: would break or falsify a run; warning: worth a look."""
    kind: str
    file: str
    problem: str
    remedy: str
    details: dict[str, Any] = field(default_factory=dict)
    """For the report: the numbers and the other files."""

    @property
    def line(self) -> str:
        return f"{self.severity}: {self.kind}: {self.file}: {self.problem}; {self.remedy}"


def count(findings: Iterable[Finding], severity: str) -> int:
    return sum(f.severity == severity for f in findings)


def show(findings: Sequence[Finding], shown: int, report: str) -> None:
    """Print errors first, at most `shown` of a kind."""
    printed: Counter[tuple[str, str]] = Counter()
    every = Counter((f.severity, f.kind) for f in findings)
    for finding in sorted(findings, key=lambda f: (f.severity, f.kind)):
        key = (finding.severity, finding.kind)
        printed[key] += 1
        if printed[key] <= shown:
            say(finding.line)
        if printed[key] == every[key] > shown:
            say(f"{key[0]}: {key[1]}: and {every[key] - shown} more, all in {report}")


def plain(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [asdict(f) for f in findings]
