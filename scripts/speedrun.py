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
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder has an adapt.py of its own

from adapt.data.index import run
from adapt.disk.files import read_json, write_json
from adapt.errors import InputError
from adapt.machine.runtime import processor, say
from scripts.cwfid_folds import fra
from scripts.roadscene import agreement

LONG, TENTH = "w_inc_kd, long", "a tenth"
PARTS = "+data.parts={fit: 0.85, watch: 0.075, judge: 0.075}", "data.consecutive=true"
BATCH, RATE = 8, 0.05
WARM = "schedule=cosine", "schedule.warmup=30"
HALF = "data.resize=[90,120]", "data.crop=[72,96]"


class Stage(NamedTuple):
    """A training of a recipe: its settings beside those of all, how many times the short one's
    steps it has (of LONG: the long one's), and its batch."""

    settings: Sequence[str] = ()
    share: float = 1.0
    batch: int = BATCH


RECIPES = {
    LONG: [Stage()],
    TENTH: [Stage()],
    "cosine with warm-up": [Stage(WARM)],
    "twice the rate": [Stage((*WARM, f"schedule.lr={2 * RATE}"))],
    "three times the rate": [Stage((*WARM, f"schedule.lr={3 * RATE}"))],
    "half the batch": [Stage(batch=4)],
    "half the batch, twice the steps": [Stage(share=2.0, batch=4)],
    "twice the batch, half the steps": [Stage(share=0.5, batch=16)],
    "crops of half the size": [Stage(("data.crop=[72,96]",))],
    "half-sized images first": [Stage(HALF, 0.5), Stage(share=0.5)],
    "four views, maps kept": [Stage(("data.views=4", "cache_teacher=ram"))],
    "ridge maps alone": [Stage(("adapters={auto: ridge}",))],
    "an average of the weights": [Stage(("ema=0.99", "schedule=constant"))],
}


def processor_seconds() -> float:
    """CPU time of all processes that this one has started and seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(name: str, home: Path, steps: Sequence[int], *settings: str) -> dict[str, Any]:
    """Seconds, images and agreement of a recipe; `steps` are those of the long training and of the
    short ones, `settings` have the teacher and the data."""
    record = home / "record.json"
    if not record.is_file():
        shutil.rmtree(home, ignore_errors=True)
        began, images, student = processor_seconds(), 0, Path()
        for number, stage in enumerate(RECIPES[name]):
            before, student = student, home / str(number)
            count = max(1, round(stage.share * steps[name != LONG]))
            start = (f"start={before}",) if number else ()
            fra("adapt", "objective=w_inc_kd", f"schedule.lr={RATE}", "data.part=fit",
                "eval_every=0", *settings, *stage.settings, *start, f"batch={stage.batch}",
                f"steps={count}", f"run={student}")  # fmt: skip
            images += count * stage.batch
        judged = (str(student), f"run={student}", *(one for one in settings if "data." in one))
        watch = agreement("watch", *judged)
        found = {"seconds": round(processor_seconds() - began, 1), "images": images,
                 "steps": [*steps], "watch": watch}  # fmt: skip
        write_json(record, found | {"judge": agreement("judge", *judged)})
    found = dict(read_json(record))
    if (known := found.pop("steps")) != [*steps]:
        raise InputError(f"--steps: {record} is of {known}; give another --runs, or remove {home}")
    return found


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
        told = (f"teacher={given.teachers.format(seed=seed)}", *PARTS, *given.settings,
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
