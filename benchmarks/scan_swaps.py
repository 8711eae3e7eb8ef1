"""How many swapped files scan finds in a real data set, and how many right pairs it doubts.

    python benchmarks/scan_swaps.py --data camvid --root DIR --target photocopy=DIR2 ripple=DIR3 …
        [--share 0.05] [--seeds 10] [--out results/scan_swaps.json]

The files stay as they are: partners are exchanged in the lists, among a random share of the pairs,
each seed anew, so that every chosen x2 gets the x1 of another. `neighbour` exchanges the x2 of
successive names instead, which in a video show nearly the same.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from adapt.disk.files import write_json
from adapt.scan.measure import Records, measure_all
from adapt.scan.members import ERROR, Members, members
from adapt.scan.pairs import content
from adapt.settings.commands import ScanConfig
from adapt.settings.groups import DataConfig

Order = np.ndarray
"""(N,) whose x2 the pair at each place gets."""


def at_random(count: int, chosen: int, rng: np.random.Generator) -> Order:
    places = rng.choice(count, chosen, replace=False)
    order = np.arange(count)
    order[places] = np.roll(places, 1)
    return order


def neighbours(count: int, chosen: int, rng: np.random.Generator) -> Order:
    order = np.arange(count)
    for first in 2 * rng.choice(count // 2, max(1, chosen // 2), replace=False):
        order[[first, first + 1]] = first + 1, first
    return order


KINDS: dict[str, Callable[[int, int, np.random.Generator], Order]] = {
    "random": at_random,
    "neighbour": neighbours,
}


@dataclass
class Counts:
    planted: int = 0
    found: int = 0
    found_as_error: int = 0
    named: int = 0
    """Found, with the true partner named."""
    false: int = 0
    false_errors: int = 0
    pairs: int = 0

    def row(self) -> dict[str, float]:
        marked, errors = self.found + self.false, self.found_as_error + self.false_errors
        return {
            "pairs": self.pairs,
            "planted": self.planted,
            "recall": self.found / self.planted if self.planted else float("nan"),
            "precision": self.found / marked if marked else float("nan"),
            "recall_errors": self.found_as_error / self.planted if self.planted else float("nan"),
            "precision_errors": self.found_as_error / errors if errors else float("nan"),
            "partner_named": self.named / self.found if self.found else float("nan"),
            "false_alarms": self.false,
            "false_errors": self.false_errors,
        }


def judge(counts: Counts, found: Members, order: Order, records: Records, scan: ScanConfig) -> None:
    """Scan the pairs in another order of x2 and count what it says."""
    pairs = sorted(found.paired, key=lambda s: s.name)
    shuffled = [replace(s, x2=pairs[k].x2) for s, k in zip(pairs, order, strict=True)]
    findings, _ = content(replace(found, lists={"all": shuffled}), records, scan)
    marked = {f.details["name"]: f for f in findings if f.kind == "pair"}
    for sample, k in zip(shuffled, order, strict=True):
        wrong, finding = sample.name != pairs[k].name, marked.get(sample.name)
        error = finding is not None and finding.severity == ERROR
        counts.planted += wrong
        counts.found += wrong and finding is not None
        counts.found_as_error += wrong and error
        counts.named += wrong and finding is not None and (
            finding.details.get("partner") == pairs[k].name
        )  # fmt: skip
        counts.false += not wrong and finding is not None
        counts.false_errors += not wrong and error
    counts.pairs += len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="camvid")
    parser.add_argument("--root", required=True)
    parser.add_argument("--target", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--share", type=float, nargs="+", default=[0.05])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default="")
    given = parser.parse_args()
    rows = []
    for target in given.target:
        shift, _, folder = target.partition("=")
        scan = ScanConfig(DataConfig(name=given.data, root=given.root, target=folder))
        found = members(scan.data)
        records, _ = measure_all(found.jobs(described=True), scan.workers)
        clean = Counts()
        judge(clean, found, np.arange(len(found.paired)), records, scan)
        rows.append({"shift": shift, "swapped": "none", "share": 0.0, **clean.row()})
        for share in given.share:
            for kind, swap in KINDS.items():
                counts = Counts()
                for seed in range(given.seeds):
                    chosen = max(2, round(share * len(found.paired)))
                    order = swap(len(found.paired), chosen, np.random.default_rng(seed))
                    judge(counts, found, order, records, scan)
                rows.append({"shift": shift, "swapped": kind, "share": share, **counts.row()})
        for row in rows[-1 - len(given.share) * len(KINDS) :]:
            print(" ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    if given.out:
        write_json(Path(given.out), rows)


if __name__ == "__main__":
    main()
