"""The tables of docs/scaling.md: arithmetic, and what was measured to check it.

    python benchmarks/capacity.py            # prints them as Markdown
    python benchmarks/capacity.py --write    # brings the page up to date

Measured is what results/scaling.jsonl has, the last line of each setting: `benchmarks/scaling.py
--out results/scaling.jsonl` and `benchmarks/image_files.py --out results/scaling.jsonl` append.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from adapt.disk.files import write_whole
from benchmarks.arithmetic import TAPS, Cost, Machines, Pair, cost, limits, ring_seconds
from benchmarks.page import lasting, shown, sized, spread, table

PAGE, RESULTS = ROOT / "docs" / "scaling.md", ROOT / "results" / "scaling.jsonl"
SIDES = (321, 512)
PEAK, USED = 989e12, 0.5
LINKS = {
    "NVLink, 450 GB/s": 450e9, "400 Gb/s": 50e9, "100 Gb/s": 12.5e9, "25 Gb/s": 3.125e9,
}  # fmt: skip
PAIRS = (10**4, 10**6, 10**8)
PAPER = (20_000, 10)
"""Steps and batch of the paper's trainings."""
GPUS = (1, 8, 1024)
EACH = 10
"""Pairs of a GPU in a step."""
DEEP = ("pool3", "pool5", "whole")
FEATURES = DEEP[:2]
KINDS = ("jpeg", "png")
BF16 = 2


def measured() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Lines of benchmarks/scaling.py, the last of each setting, and the last of image_files.py."""
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    scaling = {json.dumps(line["setting"]): line for line in lines if "scaling" in line}
    return list(scaling.values()), [line for line in lines if "rates" in line][-1]


def source(line: dict[str, Any]) -> list[str]:
    return ["", f"*`python {line['command']}`, {line['host']}, {line['date']}.*"]


def costs() -> list[str]:
    """FLOPs of a pair, and of an image in supervised training."""
    rows, paper = [], PAPER[0] * PAPER[1]
    for side in SIDES:
        where = f"{side}x{side}"
        for tap in DEEP:
            c = cost(tap, side)
            parts = [shown(v / 1e9) for v in (c.forward, c.forward, c.backward, c.pair)]
            rows.append([where, tap, *parts, shown(c.pair * paper / 1e15)])
        parts = [shown(v / 1e9) for v in (c.forward, c.backward, c.supervised)]
        rows.append([where, "supervised", "-", *parts, shown(c.supervised * paper / 1e15)])
    head = ["GFLOP", "to", "teacher", "student forward", "backward", "sum"]
    return table([*head, f"PFLOP of {PAPER[0]:,} steps of {PAPER[1]}"], rows)


def needs(files: dict[str, Any]) -> list[str]:
    """What a GPU at USED of its peak wants from the loader."""
    rows = []
    for side in SIDES:
        for tap in DEEP:
            p, m = taken(tap, side, files), assumed(files)
            pairs = m.flops / p.flops
            scale = area(side)
            cores = [shown(2 * pairs * scale / files["rates"][kind]) for kind in KINDS]
            read = [sized(2 * pairs * scale * files["bytes"][kind]) for kind in KINDS]
            wanted = [shown(pairs), shown(2 * pairs), *cores, *read, sized(pairs * p.pixel_bytes)]
            rows.append([f"{side}x{side}", tap, *wanted])
    head = ["a second and GPU", "to", "pairs", "images", "cores, JPEG", "cores, PNG"]
    return table([*head, "files, JPEG", "files, PNG", "pixels to the GPU"], rows)


def reductions() -> list[str]:
    """Gradients over the link."""
    rows = []
    for tap in TAPS:
        c = cost(tap, SIDES[0])
        cells = [reduction(c, link, 8 if link == 450e9 else 1024) for link in LINKS.values()]
        rows.append([tap, f"{c.reduced:,}", *cells])
    heads = [f"{name}, {8 if link == 450e9 else 1024:,} GPUs" for name, link in LINKS.items()]
    return table(["to", "bytes", *heads], rows)


def reduction(c: Cost, link: float, gpus: int) -> str:
    seconds = ring_seconds(c.reduced, gpus, link)
    return f"{lasting(seconds)}, {shown(seconds * PEAK * USED / c.pair)} pairs"


def stores(files: dict[str, Any]) -> list[str]:
    """Bytes of a data set and of what may be kept of it."""
    kept = {tap: BF16 * cost(tap, SIDES[0]).maps for tap in FEATURES}
    each = {f"{kind.upper()} files": 2 * files["bytes"][kind] for kind in KINDS}
    each["decoded, uint8"] = 2 * files["bytes"]["raw"]
    each |= {f"teacher's {tap} in bf16, one view": size for tap, size in kept.items()}
    rows = [[what, sized(b), *(sized(n * b) for n in PAIRS)] for what, b in each.items()]
    return table(["", "a pair", *(f"{n:,} pairs" for n in PAIRS)], rows)


def assumed(files: dict[str, Any]) -> Machines:
    return Machines(
        flops=PEAK * USED, cores=16, rate=files["rates"]["jpeg"], bus=64e9, disk=7e9, shared=100e9,
        link=LINKS["NVLink, 450 GB/s"], network=LINKS["400 Gb/s"],
    )  # fmt: skip


def area(side: int) -> float:
    """Pixels of the files that such crops are taken of, measured by those for crops of SIDES[0]."""
    return (side / SIDES[0]) ** 2


def taken(tap: str, side: int, files: dict[str, Any]) -> Pair:
    c, scale = cost(tap, side), area(side)
    return Pair(
        flops=c.pair,
        images=2 * scale,
        file_bytes=2 * scale * files["bytes"]["jpeg"],
        pixel_bytes=6 * side**2,
        reduced=c.reduced,
        batch=EACH,
    )


def saturation(files: dict[str, Any]) -> list[str]:
    """Pairs a second that each resource allows."""
    found = [limits(taken(tap, 321, files), assumed(files), n) for tap in FEATURES for n in GPUS]
    rows = [[what, *(cell(one, what) for one in found)] for what in found[0]]
    return table(
        ["pairs a second", *(f"{t}, {counted(n)}" for t in FEATURES for n in GPUS)],
        rows,
    )


def cell(found: dict[str, float], what: str) -> str:
    if found[what] == float("inf"):
        return "-"
    text = shown(found[what])
    return f"**{text}**" if found[what] == min(found.values()) else text


def hours(files: dict[str, Any]) -> list[str]:
    """Of one epoch, by the scarcest resource."""
    rows = []
    for tap in DEEP:
        for pairs in (*PAIRS, PAPER[0] * PAPER[1]):
            cells = [epoch(taken(tap, SIDES[0], files), assumed(files), n, pairs) for n in GPUS]
            rows.append([tap, f"{pairs:,}", *cells])
    return table(["to", "pairs", *map(counted, GPUS)], rows)


def epoch(pair: Pair, machines: Machines, gpus: int, pairs: int) -> str:
    if pairs < gpus * pair.batch:
        return "less than a step"
    found = limits(pair, machines, gpus)
    least = min(found, key=lambda k: found[k])
    return lasting(pairs / found[least]) + ("" if least == "arithmetic" else f" ({least})")


def counted(gpus: int) -> str:
    return f"{gpus:,} GPU{'s' * (gpus > 1)}"


def batches() -> list[str]:
    """Steps of an epoch on the largest number of GPUs, and how long they take at least."""
    c, n = cost("pool5", SIDES[0]), GPUS[-1]
    reducing = ring_seconds(c.reduced, n, LINKS["400 Gb/s"])
    rows, every = [], (*PAIRS, PAPER[0] * PAPER[1])
    for each in (1, EACH, 64):
        computing = each * c.pair / PEAK / USED
        steps = [shown(max(1, pairs / n / each)) for pairs in every]
        times = [computing, reducing, PAPER[0] * max(computing, reducing)]
        rows.append([f"{each}", f"{n * each:,}", *steps, *map(lasting, times)])
    head = ["pairs a GPU", "batch", *(f"steps, {p:,} pairs" for p in every)]
    return table([*head, "computing", "all-reduce, 400 Gb/s", f"{PAPER[0]:,} steps"], rows)


def scaled(lines: list[dict[str, Any]]) -> list[str]:
    """Measured weak scaling, and what its parts predict."""
    text: list[str] = []
    if not lines:
        return ["Not run yet."]
    for line in lines:
        s, rows = line["setting"], []
        c = cost(s["tap"], s["size"], s["width"])
        base = line["milliseconds"]["1 x 1 core"]
        for count, r in [(1, None), *((r["processes"], r) for r in line["scaling"])]:
            ms = r["milliseconds"] if r else base
            rate = shown(count * s["batch"] * c.pair / ms / 1e6)
            cells = [f"{count}", f"{count * s['batch']}", shown(ms), rate]
            if r is not None:
                ratios = [spread(r[k]) for k in ("efficiency", "predicted", "efficiency_one_core")]
                cells += [shown(r["one_process"]), *ratios, f"{100 * r['share']['median']:.0f} %"]
                cells += [f"{shown(r['all_reduce'])} ms, {shown(r['link']['median'] / 1e9)} GB/s"]
            rows.append([*cells, *["-"] * (10 - len(cells))])
        text += [
            "",
            f"To {s['tap']}, width {s['width']:g}, {s['size']}x{s['size']}, {s['precision']}:",
            "",
        ]
        head = [
            "processes of one core",
            "batch",
            "ms a step",
            "GFLOP/s",
            "one process, same cores, ms",
        ]
        head += ["efficiency against it", "predicted", "against one core", "all-reduce's share"]
        text += table([*head, "all-reduce alone"], rows) + source(line)
    return text[1:]


def handed(lines: list[dict[str, Any]]) -> list[str]:
    """Bytes of gradients by arithmetic, and as DistributedDataParallel hands them over."""
    rows = []
    if not lines:
        return ["Not run yet."]
    for line in lines:
        s = line["setting"]
        for tap in TAPS:
            by_hook = [f"{n}: {found[tap]:,}" for n, found in line["bytes"].items()]
            reduced = cost(tap, s["size"], s["width"]).reduced
            rows.append([f"{s['width']:g}", tap, f"{reduced:,}", ", ".join(by_hook)])
    unique = list(dict.fromkeys(map(tuple, rows)))
    return table(
        ["width", "to", "by arithmetic", "counted, by processes"], [list(r) for r in unique]
    )


def filed(files: dict[str, Any]) -> list[str]:
    """Measured sizes and rates of image files."""
    rates = files["rates"]
    rows = [
        [
            kind if kind == "raw" else kind.upper(),
            f"{size:,}",
            shown(rates[kind]) if kind in rates else "-",
        ]
        for kind, size in files["bytes"].items()
    ]
    height, width = files["size"]
    head = [f"{width}x{height}", "bytes an image", "images a second and core"]
    return table(head, rows) + source(files)


def tables() -> dict[str, list[str]]:
    """Every table of the page by its name there."""
    scaling, files = measured()
    return {
        "cost": costs(), "loader": needs(files), "link": reductions(), "storage": stores(files),
        "hours": hours(files), "limits": saturation(files), "batch": batches(),
        "scaling": scaled(scaling), "bytes": handed(scaling), "files": filed(files),
    }  # fmt: skip


def filled(page: str) -> str:
    """The page with every table between its marks made anew."""
    for name, lines in tables().items():
        text = "\n".join(["", *lines, "", ""])
        mark = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        page, found = re.subn(mark, lambda m, t=text: m[1] + t + m[2], page, flags=re.DOTALL)
        assert found == 1, f"{PAGE}: {found} places for the table {name!r}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    if parser.parse_args().write:
        write_whole(PAGE, filled(PAGE.read_text(encoding="utf-8")).encode())
        return
    for name, lines in tables().items():
        print(f"\n## {name}\n", *lines, sep="\n")


if __name__ == "__main__":
    main()
