"""How well sixteen pairs tell an offset and exchanged files, as scan and adapt sample them.

    python benchmarks/sample.py --pairs NAME=OLD:NEW ... [--draws 20] [--out results/sample.json]

OLD and NEW are folders of images that match by name. Each draw takes sixteen pairs at random, moves
every x2 by the same up to 32 pixels in a random direction, and exchanges the x2 of four of them.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from adapt.align.models import moved_by
from adapt.align.sample import PAIRS, sampled
from adapt.data import load
from adapt.disk.files import write_json
from adapt.machine.runtime import processor, progress
from adapt.settings.groups import DataConfig
from benchmarks.measure import settings

EXCHANGED, FARTHEST = 4, 32


def row(name: str, old: str, new: str, draws: int) -> dict[str, Any]:
    config = DataConfig(name="pairs", root=old, target=new)
    every, rng = load(config, "train").samples, np.random.default_rng(0)
    errors, seconds, told = [], [], []
    found = alarms = 0
    for _ in progress(range(draws), what=name):
        length, angle = FARTHEST * np.sqrt(rng.random()), 2 * np.pi * rng.random()
        shift = np.round([length * np.cos(angle), length * np.sin(angle)])
        moved = tuple(moved_by(*-shift).ravel())
        chosen = [every[place] for place in np.sort(rng.permutation(len(every))[:PAIRS])]
        places = rng.permutation(PAIRS)[:EXCHANGED]
        pairs = [replace(pair, transform=moved) for pair in chosen]
        for place, other in zip(places, np.roll(places, 1), strict=True):
            pairs[place] = replace(pairs[place], x2=chosen[other].x2)
        started = time.process_time()
        seen = sampled(pairs, config)
        seconds.append(time.process_time() - started)
        wrong = {chosen[place].name for place in places}
        found += len(wrong & {*seen.strange})
        alarms += len({*seen.strange} - wrong)
        told.append(seen.misalignment.accepted)
        if seen.misalignment.systematic:
            errors.append(float(np.hypot(*(seen.misalignment.shift - shift))))
    return {
        "pairs": name,
        "draws": draws,
        "offset_told": len(errors),
        "offset_error": [float(np.median(errors)), max(errors)] if errors else None,
        "accepted": float(np.mean(told)),
        "exchanged": EXCHANGED * draws,
        "exchanged_found": found,
        "right": (PAIRS - EXCHANGED) * draws,
        "right_called_strange": alarms,
        "seconds": float(np.median(seconds)),
    }


def main() -> None:
    given = settings(__doc__ or "", pairs=["NAME=OLD:NEW"], draws=20)
    rows = []
    for text in given.pairs:
        name, _, folders = text.partition("=")
        rows.append(row(name, *folders.split(":"), given.draws))
        print(rows[-1], flush=True)
    command = f"benchmarks/sample.py --draws {given.draws}"
    about = {"command": command, "host": processor(), "date": time.strftime("%Y-%m-%d")}
    write_json(Path(given.out), about | {"rows": rows})


if __name__ == "__main__":
    main()
