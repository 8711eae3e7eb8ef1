"""What `part=i/n` costs: one call, the longest of n parts, and the last call, in seconds of a core.

    python benchmarks/parts.py [--pairs 1000] [--parts 4]

The pairs are drawn scenes and their photocopies, 128x96. CPU time counts, in one process and on one
core, as the parts would run on machines of their own. `shared` is how many times as fast the parts
and the last call are as one call.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from adapt.cli.align import align_and_report
from adapt.data.scenes import write_scenes
from adapt.scan.command import scan
from adapt.settings.align import AlignConfig
from adapt.settings.commands import DistortConfig, ScanConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from benchmarks.measure import append, one_core, settings


def seconds(command: Callable[[Any], object], config: Any) -> float:
    start = time.process_time()
    command(config)
    return time.process_time() - start


def compared(
    command: Callable[[Any], object], config: Any, out: Path, parts: int
) -> dict[str, float]:
    """Seconds of one call, of the longest part and of the last call."""
    ahead = out.with_stem(f"{out.stem}_ahead")  # compiles and fills caches
    command(replace(config, out=str(ahead), part="1/100"))
    one = seconds(command, replace(config, out=str(out.with_stem(f"{out.stem}_one"))))
    shared = replace(config, out=str(out))
    longest = max(
        seconds(command, replace(shared, part=f"{number}/{parts}")) for number in range(parts)
    )
    last = seconds(command, replace(shared, part=f"all/{parts}"))
    return {"one call": one, "longest part": longest, "last call": last}


def main() -> None:
    given = settings(__doc__, pairs=1000, parts=4)
    one_core()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        write_scenes(home / "d1", train=given.pairs, val=1, seed=0, size=(96, 128))
        old = DataConfig(name="scenes", root=str(home / "d1"))
        both = replace(old, target=str(home / "d2"))
        shift, workers = ShiftConfig("photocopy", {"mask_radius": 5.0}), {"workers": 1}
        commands: dict[str, tuple[Callable[[Any], object], Any]] = {
            "make_distorted": (make_distorted, DistortConfig(old, shift, **workers, out="d2")),
            "shards=100": (
                make_distorted,
                DistortConfig(old, shift, **workers, out="s", shards=100),
            ),
            "scan": (scan, ScanConfig(both, **workers)),
            "align": (align_and_report, AlignConfig(both, "a", **workers)),
        }
        for name, (command, config) in commands.items():
            found = compared(command, config, home / Path(config.out).name, given.parts)
            found["shared"] = found["one call"] / (found["longest part"] + found["last call"])
            print(f"{name:<16}" + "".join(f"{k}: {v:7.2f}  " for k, v in found.items()))
            append(given.out, what=name, **found)


if __name__ == "__main__":
    main()
