"""What a run does with its pairs before its first step, for very many of them: time and memory.

    python benchmarks/lists.py [--rows 1000000] [--folder DIR] [--kinds list folders]

The pairs are links to one small JPEG, in two folders and in a CSV that names them; DIR keeps them.
Each kind is read in a process of its own on one core: the pairs without a tenth that is held out,
the digest by which a run is resumed, and the headers of a sample of the images.
"""

import io
import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image

from adapt.data import load
from adapt.data.samples import pairing
from adapt.data.sampling import check_sizes
from adapt.settings.groups import DataConfig
from adapt.settings.presets import preset
from benchmarks.measure import append, in_own_process, one_core, resident, settings

LINKS = 50_000
"""To one file at most: ext4 has 65,000."""


def make(home: Path, rows: int) -> None:
    """old/, new/ and list.csv."""
    content = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(content, format="JPEG")
    names = [f"{number:08d}.jpg" for number in range(rows)]
    for side in ("old", "new"):
        (home / side).mkdir()
        for number, name in enumerate(names):
            path = home / side / name
            if number % LINKS:
                os.link(home / side / names[number // LINKS * LINKS], path)
            else:
                path.write_bytes(content.getvalue())
    lines = "".join(f"old/{name},new/{name}\n" for name in names)
    (home / "list.csv").write_text(f"x1,x2\n{lines}", encoding="utf-8")


def read(home: Path, kind: str) -> dict[str, float]:
    """Seconds of each part, those of the CPU, and MB of resident memory, before and at most."""
    one_core()
    values = {"pairs": str(home / "list.csv")}
    if kind == "folders":
        values = {"root": str(home / "old"), "target": str(home / "new")}
    config = DataConfig(**{**preset("data", "pairs"), **values})
    before, times, cpu = resident(), [time.perf_counter()], time.process_time()
    data = load(config, "train")
    times.append(time.perf_counter())
    pairing(data.samples)
    times.append(time.perf_counter())
    check_sizes(data, config, ["x1", "x2", "valid"], stacked=True)
    times.append(time.perf_counter())
    parts = dict(zip(("pairs", "digest", "headers"), np.diff(times).tolist(), strict=True))
    memory = {"MB before": before / 1e6, "MB at most": resident(peak=True) / 1e6}
    return parts | {"all": times[-1] - times[0], "CPU": time.process_time() - cpu} | memory


def main() -> None:
    given = settings(__doc__, rows=1_000_000, folder="", kinds=["list", "folders"], only="")
    if given.only:
        print(json.dumps(read(Path(given.folder), given.only)))
        return
    place: Any = nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory()
    with place as folder:
        home = Path(folder) / str(given.rows)
        if not (home / "list.csv").is_file():
            home.mkdir(parents=True)
            make(home, given.rows)
        for kind in given.kinds:
            found = in_own_process("--only", kind, "--folder", str(home))
            print(kind, ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
            append(given.out, kind=kind, rows=given.rows, **found)


if __name__ == "__main__":
    main()
