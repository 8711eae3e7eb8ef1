"""The tables of docs/scaling.md: arithmetic, and what was measured to check it.

    python benchmarks/capacity.py            # prints them as Markdown
    python benchmarks/capacity.py --write 1  # brings the page up to date

Measured is what results/scaling.jsonl has, the last line of each setting and machine:
`benchmarks/scaling.py --out results/scaling.jsonl` and `benchmarks/data_path.py --out
results/scaling.jsonl` append.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from adapt.disk.files import write_whole
from benchmarks.arithmetic import TAPS, cost, sent
from benchmarks.measure import peak_of, settings

PAGE, RESULTS = ROOT / "docs" / "scaling.md", ROOT / "results" / "scaling.jsonl"
SIDE, SIDES = 321, (321, 512)
REACHED = 0.5 * peak_of("H100")
"""FLOP/s that a GPU is taken to reach; the next line has what is assumed around it."""
CORES, BUS, DISK, SHARED, GPUS_OF_A_MACHINE = 16, 64e9, 7e9, 100e9, 8
"""Cores that decode for a GPU; bytes a second from the host to a GPU, of a machine's own disk, and
of the file system of all machines."""
LINKS = {
    "NVLink, 450 GB/s": (450e9, 8), "400 Gb/s": (50e9, 1024), "100 Gb/s": (12.5e9, 1024),
    "25 Gb/s": (3.125e9, 1024),
}  # fmt: skip
"""Bytes a second in each direction, and how many GPUs share their gradients over it. Latency, of
which a ring of n has 2 (n - 1) times that of a message, is left out."""
STEPS, BATCH = 20_000, 10
"""Of the paper's trainings; the batch is also what a GPU has in a step."""
PAIRS, GPUS = (10**4, 10**6, 10**8, STEPS * BATCH), (1, 8, 1024)
DEEP = ("pool3", "pool5", "whole")
RENAMED = ("benchmarks/image_files.py", "benchmarks/data_path.py --quality 90")
"""A recorded command as it is called today."""
Line = dict[str, Any]


def shown(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value < 99.95:
        return f"{value:.3g}"
    return f"{round(value, 3 - len(str(round(value)))):,.0f}"


def sized(size: float) -> str:
    """Bytes in the largest unit that they reach."""
    units = {"PB": 1e15, "TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}
    unit = next((name for name, factor in units.items() if size >= factor), "kB")
    return f"{shown(size / units[unit])} {unit}"


def lasting(seconds: float) -> str:
    """A time in a unit of which it has at least one or two."""
    units = {"h": (3600, 7200), "min": (60, 120), "s": (1, 1), "ms": (1e-3, 0)}
    unit = next(name for name, (_, least) in units.items() if seconds >= least)
    return f"{shown(seconds / units[unit][0])} {unit}"


def table(head: str, rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table; the head's cells are separated by |."""
    cells = head.split("|")
    return [f"| {' | '.join(row)} |" for row in (cells, ["---"] * len(cells), *rows)]


def measured() -> tuple[list[Line], Line]:
    """Lines of benchmarks/scaling.py, the last of each setting and machine, and the last of file
    rates."""
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    scaling = {(str(line["setting"]), line["host"]): line for line in lines if "scaling" in line}
    files = [line for line in lines if "quality" in line][-1]
    ours = {
        kind: files["rates"].get(name) for kind, name in (("jpeg", "ours"), ("png", "ours PNG"))
    }
    files["rates"] = files["rates"] if "jpeg" in files["rates"] else ours
    return list(scaling.values()), files


def source(line: Line) -> list[str]:
    command = line["command"].replace(*RENAMED)
    return ["", f"*`python {command}`, {line['host']}, {line['date']}.*"]


def costs() -> list[str]:
    """FLOPs of a pair, and of an image in supervised training."""
    rows = []
    for side in SIDES:
        for tap in (*DEEP, "supervised"):
            c = cost("whole" if tap == "supervised" else tap, side)
            total = c.supervised if tap == "supervised" else c.pair
            teacher = "-" if tap == "supervised" else shown(c.forward / 1e9)
            parts = [shown(v / 1e9) for v in (c.forward, c.backward, total)]
            paper = shown(total * STEPS * BATCH / 1e15)
            rows.append([f"{side}x{side}", tap, teacher, *parts, paper])
    head = "GFLOP|to|teacher|student forward|backward|sum"
    return table(f"{head}|PFLOP of {STEPS:,} steps of {BATCH}", rows)


def needs(files: Line) -> list[str]:
    """What a GPU wants from the loader; crops come from files that grow with them, and whose size
    and rate were measured at SIDE."""
    rows = []
    for side in SIDES:
        for tap in DEEP:
            rate = REACHED / cost(tap, side).pair
            read = 2 * rate * (side / SIDE) ** 2
            cores = [shown(read / files["rates"][kind]) for kind in ("jpeg", "png")]
            sizes = [sized(read * files["bytes"][kind]) for kind in ("jpeg", "png")]
            cells = [shown(rate), shown(2 * rate), *cores, *sizes, sized(rate * 6 * side**2)]
            rows.append([f"{side}x{side}", tap, *cells])
    head = "a second and GPU|to|pairs|images|cores, JPEG|cores, PNG|files, JPEG|files, PNG"
    return table(f"{head}|pixels to the GPU", rows)


def reductions() -> list[str]:
    """Gradients over the link, and the pairs that a GPU computes meanwhile."""
    rows = []
    for tap in TAPS:
        c = cost(tap, SIDE)
        times = [sent(c.reduced, count) / link for link, count in LINKS.values()]
        cells = [f"{lasting(t)}, {shown(t * REACHED / c.pair)} pairs" for t in times]
        rows.append([tap, f"{c.reduced:,}", *cells])
    heads = [f"{name}, {count:,} GPUs" for name, (_, count) in LINKS.items()]
    return table("|".join(["to", "bytes", *heads]), rows)


def stores(files: Line) -> list[str]:
    """Bytes of a data set and of what may be kept of it."""
    each = {f"{kind.upper()} files": 2 * files["bytes"][kind] for kind in ("jpeg", "png")}
    each["decoded, uint8"] = 2 * files["bytes"]["raw"]
    each |= {f"teacher's {t} in bf16, one view": 2 * cost(t, SIDE).maps for t in DEEP[:2]}
    rows = [[what, sized(b), *(sized(n * b) for n in PAIRS[:3])] for what, b in each.items()]
    return table("|".join(["", "a pair", *(f"{n:,} pairs" for n in PAIRS[:3])]), rows)


def limits(tap: str, count: int, files: Line) -> dict[str, float]:
    """Pairs a second of `count` GPUs together that each resource allows."""
    c, hosts, pair = cost(tap, SIDE), -(-count // GPUS_OF_A_MACHINE), 2 * files["bytes"]["jpeg"]
    link = LINKS["NVLink, 450 GB/s" if hosts == 1 else "400 Gb/s"][0]
    reduced = sent(c.reduced, count)
    return {
        "arithmetic": count * REACHED / c.pair,
        "decoding": count * CORES * files["rates"]["jpeg"] / 2,
        "bus to the GPU": count * BUS / (6 * SIDE**2),
        "the machines' own disks": hosts * DISK / pair,
        "shared file system": SHARED / pair,
        "all-reduce": count * BATCH * link / reduced if reduced else float("inf"),
    }


def hours(files: Line) -> list[str]:
    """Of one epoch, by the scarcest resource."""
    rows = []
    for tap in DEEP:
        for pairs in PAIRS:
            cells = []
            for count in GPUS:
                rate, least = min((v, k) for k, v in limits(tap, count, files).items())
                named = "" if least == "arithmetic" else f" ({least})"
                enough = pairs >= count * BATCH
                cells.append(lasting(pairs / rate) + named if enough else "less than a step")
            rows.append([tap, f"{pairs:,}", *cells])
    return table("to|pairs|1 GPU|8 GPUs|1,024 GPUs", rows)


def scaled(lines: list[Line]) -> list[str]:
    """Measured weak scaling, and what its parts predict."""
    text: list[str] = []
    head = (
        "processes of one core|batch|ms a step|GFLOP/s|one process, same cores, ms|"
        "efficiency against it|predicted|against one core|all-reduce's share|all-reduce alone"
    )
    for line in lines:
        s = line["setting"]
        flops = s["batch"] * cost(s["tap"], s["size"], s["width"]).pair
        base = line["milliseconds"]["1 x 1 core"]
        rows = [["1", f"{s['batch']}", shown(base), shown(flops / base / 1e6), *["-"] * 6]]
        for r in line["scaling"]:
            n, ms = r["processes"], r["milliseconds"]
            cells = [f"{n}", f"{n * s['batch']}", shown(ms), shown(n * flops / ms / 1e6)]
            cells.append(shown(r["one_process"]))
            for kind in ("efficiency", "predicted", "efficiency_one_core"):
                cells.append("{median:.2f} ({q1:.2f} to {q3:.2f})".format(**r[kind]))
            cells.append(f"{100 * r['share']['median']:.0f} %")
            speed = shown(r["link"]["median"] / 1e9)
            rows.append([*cells, f"{shown(r['all_reduce'])} ms, {speed} GB/s"])
        where = f"width {s['width']:g}, {s['size']}x{s['size']}, {s['precision']}"
        text += ["", f"To {s['tap']}, {where}:", "", *table(head, rows), *source(line)]
    return text[1:]


def filed(files: Line) -> list[str]:
    """Measured sizes and rates of image files."""
    height, width = files["size"]
    rates = {kind: shown(rate) for kind, rate in files["rates"].items()}
    rows = [
        [kind.upper() if kind in rates else kind, f"{size:,}", rates.get(kind, "-")]
        for kind, size in files["bytes"].items()
    ]
    head = f"{width}x{height}|bytes an image|images a second and core"
    return table(head, rows) + source(files)


def tables() -> dict[str, list[str]]:
    """Every table of the page by its name there."""
    scaling, files = measured()
    return {
        "cost": costs(), "loader": needs(files), "link": reductions(), "storage": stores(files),
        "hours": hours(files), "scaling": scaled(scaling),
        "files": filed(files),
    }  # fmt: skip


def filled(page: str) -> str:
    """The page with every table between its marks made anew."""
    for name, lines in tables().items():
        text = "\n".join(["", *lines, "", ""])
        mark = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        page = re.sub(mark, lambda m, t=text: m[1] + t + m[2], page, flags=re.DOTALL)
    return page


def main() -> None:
    given = settings(__doc__, write=0)
    if given.write:
        write_whole(PAGE, filled(PAGE.read_text(encoding="utf-8")).encode())
        return
    for name, lines in tables().items():
        print(f"\n## {name}\n", *lines, sep="\n")


if __name__ == "__main__":
    main()
