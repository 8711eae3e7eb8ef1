"""Time to quality: how soon does an adaptation agree with its teacher as 3,000 steps of w_inc_kd
would? What results/speedrun.json has.

    python scripts/speedrun.py --teachers 'runs/camvid_contest/seed{seed}/teacher' \\
        --twins 'runs/camvid_contest/shifts/{shift}' --runs runs/speedrun [--shifts photocopy ...]
        [--seeds 0 ...] [--recipes NAME ...] [SETTING=VALUE ...]

A teacher is a run on images of D1, a twin a data set of `make_distorted_voc`. The last 15 % of the
training images are held out, in their order: agreement on the first half of them, `watch`, says
whether a recipe gets there, the second, `judge`, whether that is true. A recipe is a chain of
trainings, each going on from the one before it, and then one evaluation on `watch`. Its time is the
CPU time of all these processes, one thread each, from an empty folder on: imports, fits, filling
caches, the verdict. *Images* went forward and backward through the student.

What is finished is not done again; what was interrupted begins anew, as its time counts. RUNS has
speedrun.json, and docs/contest.md its table from a copy of it. In seconds instead: --steps 2 1
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder has an adapt.py of its own

from adapt.data.index import run
from adapt.disk.files import read_json, write_json
from adapt.machine.runtime import processor, say
from scripts.cwfid_folds import fra
from scripts.roadscene import agreement

LONG, TENTH = "w_inc_kd, long", "a tenth"
PARTS = "+data.parts={fit: 0.85, watch: 0.075, judge: 0.075}"
BATCH, RATE = 8, 0.05
WARM = ("schedule=cosine", "schedule.warmup=30")
HALVES = (("data.resize=[90,120]", "data.crop=[72,96]"), ())
"""The first training sees images of half the size."""
RECIPES: dict[str, Sequence[Sequence[str]]] = {
    LONG: [()],
    TENTH: [()],
    "cosine with warm-up": [WARM],
    "twice the rate": [(*WARM, f"schedule.lr={2 * RATE}")],
    "three times the rate": [(*WARM, f"schedule.lr={3 * RATE}")],
    "half the batch": [("batch=4",)],
    "half the batch, twice the steps": [("batch=4", "steps=twice")],
    "twice the batch, half the steps": [("batch=16", "steps=half")],
    "crops of half the size": [("data.crop=[72,96]",)],
    "half-sized images first": [(*own, "steps=half") for own in HALVES],
    "four views, maps kept": [("data.views=4", "cache_teacher=ram")],
    "ridge maps alone": [("adapters={auto: ridge}",)],
    "an average of the weights": [("ema=0.99", "schedule=constant")],
}
"""Name -> the settings of each of its trainings, beside those of all: a tenth of the long one's
steps, or half or twice as many as that."""


def processor_seconds() -> float:
    """CPU time of all processes that this one has started and seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def steps_of(name: str, settings: Sequence[str], long: int, short: int) -> int:
    """How many steps a training of a recipe has."""
    shares = {"steps=half": 0.5, "steps=twice": 2.0}
    share = next((shares[one] for one in settings if one in shares), 1.0)
    return long if name == LONG else max(1, round(share * short))


def measured(name: str, home: Path, steps: Sequence[int], *settings: str) -> dict[str, Any]:
    """Seconds, images and agreement of a recipe; `settings` have the teacher and the data."""
    record = home / "record.json"
    if not record.is_file():
        shutil.rmtree(home, ignore_errors=True)
        began, images, student = processor_seconds(), 0, Path()
        for number, own in enumerate(RECIPES[name]):
            before, student = student, home / str(number)
            count = steps_of(name, own, *steps)
            own = [one for one in own if not one.startswith("steps=")]
            start = (f"start={before}",) if number else ()
            fra("adapt", "objective=w_inc_kd", f"schedule.lr={RATE}", f"batch={BATCH}",
                "data.part=fit", "eval_every=0", *settings, *own, *start, f"steps={count}",
                f"run={student}")  # fmt: skip
            batch = next((int(one[6:]) for one in own if one.startswith("batch=")), BATCH)
            images += count * batch
        judged = (str(student), f"run={student}", *(one for one in settings if "data." in one))
        watch = agreement("watch", *judged)
        found = {"seconds": round(processor_seconds() - began, 1), "images": images, "watch": watch}
        write_json(record, found | {"judge": agreement("judge", *judged)})
    return dict(read_json(record))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teachers", required=True, help="a run, with {seed} in it")
    parser.add_argument("--twins", required=True, help="a data set, with {shift} in it")
    parser.add_argument("--runs", type=Path, required=True, help="where all of it goes")
    parser.add_argument("--shifts", nargs="+", default=["photocopy"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--steps", nargs=2, type=int, default=[3000, 300], help="long and short")
    parser.add_argument("settings", nargs="*", help="further ones, of the data")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found = []
    for shift, seed in product(given.shifts, given.seeds):
        told = (f"teacher={given.teachers.format(seed=seed)}", PARTS, *given.settings,
                f"data.target={given.twins.format(shift=shift)}", f"seed={seed}")  # fmt: skip
        for name in dict.fromkeys([LONG, *given.recipes]):
            home = given.runs / shift / f"seed{seed}" / name.replace(" ", "_").replace(",", "")
            one = measured(name, home, given.steps, *told)
            found.append({"recipe": name, "shift": shift, "seed": seed} | one)
            say(json.dumps(found[-1]))
    about = {"machine": processor(), "date": time.strftime("%Y-%m-%d"), "steps": given.steps}
    write_json(given.runs / "speedrun.json", about | {"found": found})


if __name__ == "__main__":
    run(main)
