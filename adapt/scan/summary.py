"""What a scan counted, for the report and as lines for the terminal."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from adapt.data.images import IGNORE
from adapt.scan.checks import Records, histogram, shown
from adapt.scan.measure import IMAGE
from adapt.scan.members import Members
from adapt.settings.choices import HASH_BITS

SHOWN = 5


def tally(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def shares(members: Members, records: Records, split: str) -> dict[str, float]:
    """Percent of a list's label pixels with each class, with void and with any other value."""
    counts = histogram(members, records, split)
    total = counts.sum()
    if not total:
        return {}
    codes = list(members.codes or range(len(members.classes)))
    void = sorted({*members.void, IGNORE} - {*codes})
    rows = {name: counts[code] for name, code in zip(members.classes, codes, strict=True)}
    rows |= {"void": counts[void].sum(), "other values": total - counts[codes + void].sum()}
    return {name: round(100 * float(n / total), 4) for name, n in rows.items()}


def figures(members: Members, records: Records) -> dict[str, Any]:
    every = [r for r in records.values() if not r.error]
    return {
        "lists": {name: len(samples) for name, samples in members.lists.items()},
        "samples": len(members.samples),
        "files": len(records),
        "sizes": tally(shown(r.size) for r in every if r.role == IMAGE),
        "modes": tally(f"{r.role} {r.mode}" for r in every),
        "labels": {name: shares(members, records, name) for name in members.lists},
    }


def some(counts: dict[str, int]) -> str:
    listed = [f"{name} {n}" for name, n in list(counts.items())[:SHOWN]]
    return ", ".join(listed) + (f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else "")


def overview(summary: dict[str, Any], near: int) -> list[str]:
    """The summary as lines."""
    lines = [
        f"{summary['samples']} samples ({some(summary['lists'])}), {summary['files']} files",
        f"sizes  {some(summary['sizes'])}",
        f"modes  {some(summary['modes'])}",
        *label_table({k: v for k, v in summary["labels"].items() if v}),
    ]
    for side, least in summary["nearest"].items():
        if least is not None:
            lines.append(
                f"leaks  {side} of training and evaluation differ in at least {least} of "
                f"{HASH_BITS} bits (a leak: {near} or less)"
            )
    if pairs := summary.get("pairs"):
        lines.append(pair_line(pairs))
    return lines


def label_table(labels: dict[str, dict[str, float]]) -> list[str]:
    """Rows of classes, columns of lists."""
    if not labels:
        return []
    rows = next(iter(labels.values()))
    width = max(len(name) for name in (*rows, "% of pixels"))
    columns = {name: max(10, len(name) + 2) for name in labels}
    heads = "".join(f"{name:>{columns[name]}}" for name in labels)
    table = [f"labels {'% of pixels':<{width}}{heads}"]
    for row in rows:
        cells = "".join(f"{labels[name][row]:>{columns[name]}.2f}" for name in labels)
        table.append(f"       {row:<{width}}{cells}")
    return table


def pair_line(pairs: dict[str, Any]) -> str:
    if "skipped" in pairs:
        return f"pairs  {pairs['pairs']}, content not compared: {pairs['skipped']}"
    return (
        f"pairs  {pairs['pairs']}, each compared with {pairs['compared']} others: these fit better "
        f"in {pairs['doubt_median']:.1%} (median) and {pairs['doubt_third_quartile']:.1%} (third "
        f"quartile) of the cases; {pairs['in_doubt']} in doubt"
    )
