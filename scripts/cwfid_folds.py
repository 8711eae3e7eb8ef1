"""Red -> near infrared over five folds of CWFID: what results/cwfid_folds.json has.

    python scripts/index_cwfid.py CWFID
    python scripts/cwfid_folds.py CWFID/pairs.csv --runs runs/cwfid_folds

A fold holds out a block of neighbours, which may show the same plants, and the next block is its
tuning part: every image is held out once. Red labels teach the teacher; those of near infrared
serve B2 and the scores. Both of two rates of the student and of B2 are scored on the tuning part,
by agreement with the teacher and by labels, and only the better one on what is held out. Pairs are
not aligned: the two sensors lie within 2 px of each other. A fold's number is the seed of its
trainings.

What is finished is not done again. IoUs and rates go to RUNS/folds.json after each fold; the page
of results has its table from a copy of it, results/cwfid_folds.json. Cost, estimated: one to two
hours a fold on a core of an AMD EPYC. Not run in full yet. In seconds a training instead: --steps 1
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder has an adapt.py of its own

from adapt.data.index import run
from adapt.data.pairs import read_csv
from adapt.data.samples import Sample
from adapt.disk.files import read_mapping, write_json, write_whole
from adapt.disk.runs import SUMMARY
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.evaluation.evaluate import metrics_path
from adapt.machine.runtime import processor, say
from adapt.settings.groups import DataConfig

FOLDS = 5
COLUMNS = ["x1", "x2", "y1"]
CLASSES = ("soil", "crop", "weed")
TRAINED = ("network=deeplab_vgg16", "network.width=0.25", "network.batch_norm=true",
           "data.resize=[240,320]", "data.crop=[192,256]", "data.cache=true")  # fmt: skip
METHODS = {"w_inc_kd": "agreement", "B2": "truth"}
"""Objective or baseline -> the score on the tuning part that chooses its rate."""
RATES = (0.05, 0.015)
TUNE = "tune"
USUAL = ("train", "val")
"""The parts that pairs have without being told."""
LONGER = 3
"""The teacher's steps, as a multiple of the others'."""


def data_of(fold: int, samples: Sequence[Sample], out: Path) -> tuple[str, ...]:
    """The settings of a fold of `samples`, whose files and list are written to `out`."""
    named = {fold: "val", (fold + 1) % FOLDS: TUNE}
    parts = [named.get(n * FOLDS // len(samples), "train") for n in range(len(samples))]
    settings = laid(samples, parts, COLUMNS, out)
    return (*settings, f"data.classes=[{','.join(CLASSES)}]")


def laid(
    samples: Sequence[Sample], parts: Sequence[str], columns: Sequence[str], out: Path
) -> tuple[str, ...]:
    """The settings of data whose files and list are written to `out`, each sample being in the part
    that is named for it. Names of files begin with a letter for the part, so that consecutive parts
    tell them apart."""
    there = [*USUAL, *sorted(set(parts) - set(USUAL))]
    rows = [list(columns)]
    for part, sample in zip(parts, samples, strict=True):
        sources = [Path(getattr(sample, column)) for column in columns]
        names = [f"{column}/{'abcdefgh'[there.index(part)]}_{source.name}"
                 for column, source in zip(columns, sources, strict=True)]  # fmt: skip
        for name, source in zip(names, sources, strict=True):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, out / name)
        rows.append(names)
    write_whole(out / "pairs.csv", csv_of(rows))
    listed = f"data.pairs={out / 'pairs.csv'}"
    shares = (f"{'' if part in USUAL else '+'}data.parts.{part}={parts.count(part) / len(parts)}"
              for part in there)  # fmt: skip
    return ("data=pairs", listed, *shares, "data.consecutive=true")


def trainings(fold: int, data: Sequence[str], home: Path, steps: int) -> dict[str, tuple[str, ...]]:
    """Run -> its command; what learns from the teacher has its data too."""
    teacher = home / "teacher"
    made = {"teacher": ("train", *data, *TRAINED, "schedule.lr=0.05", f"steps={LONGER * steps}")}
    for name in METHODS:
        how = ("train", f"start={teacher}", "domain=d2")
        if name != "B2":
            how = ("adapt", f"teacher={teacher}", f"objective={name}")
        for rate in RATES:
            made[f"{name}_lr_{rate}"] = (*how, f"schedule.lr={rate}", f"steps={steps}")
    return {k: (*command, f"run={home / k}", f"seed={fold}") for k, command in made.items()}


def fra(command: str, *settings: str) -> None:
    """A command of the project; what it refuses, it says itself."""
    if subprocess.run([sys.executable, ROOT / f"scripts/{command}.py", *settings]).returncode:
        raise InputError(f"{command} {' '.join(settings)}: it did not finish")


def score(run: Path, domain: str, split: str, variant: str = "") -> dict[str, Any]:
    """What `evaluate` finds on a part, in percent: `truth` by labels, `agreement` of a student."""
    result = metrics_path(run, DataConfig(name="pairs"), domain, split, variant)
    if not result.is_file():
        adabn = f"adabn={'true' if variant else 'false'}"
        fra("evaluate", f"run={run}", f"domain={domain}", f"split={split}", adabn)
    return read_mapping(result)


def iou_of(run: Path, domain: str, variant: str = "") -> dict[str, float]:
    """IoU of each class and their mean, in percent, on the images that are held out."""
    truth = score(run, domain, "val", variant)["truth"]
    return dict(zip(CLASSES, truth["iou"], strict=True)) | {"mIoU": truth["miou"]}


def chosen(home: Path) -> dict[str, float]:
    """Method -> its rate of the highest score on a fold's tuning part."""
    return {
        name: max(RATES, key=lambda r: score(home / f"{name}_lr_{r}", "d2", TUNE)[key]["miou"])
        for name, key in METHODS.items()
    }


def scores(home: Path, rates: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What the trained networks of a fold reach on near infrared, and the teacher on red."""
    teacher = home / "teacher"
    return {
        "the teacher on red": iou_of(teacher, "d1"),
        "B0": iou_of(teacher, "d2"),
        "AdaBN": iou_of(teacher, "d2", "adabn"),
        **{name: iou_of(home / f"{name}_lr_{rate}", "d2") for name, rate in rates.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help="the list that scripts/index_cwfid.py wrote")
    parser.add_argument("--runs", type=Path, required=True, help="where all of it goes")
    parser.add_argument("--steps", type=int, default=500, help="the teacher has thrice as many")
    given = parser.parse_args()
    samples = sorted(read_csv(given.pairs), key=lambda sample: sample.name)
    if len(samples) < FOLDS or not all(sample.y1 for sample in samples):
        raise InputError(f"{given.pairs}: {FOLDS} folds need as many pairs, all with labels")
    found: dict[str, dict[str, dict[str, float]]] = {}
    rates: dict[str, dict[str, float]] = {}
    for fold in range(FOLDS):
        home = given.runs / f"fold{fold}"
        data = data_of(fold, samples, home / "data")
        for command, *settings in trainings(fold, data, home, given.steps).values():
            fra(command, *settings)  # which at once says so of what is finished
        rates[home.name] = chosen(home)
        found[home.name] = scores(home, rates[home.name])
        day = time.gmtime((home / "teacher" / SUMMARY).stat().st_mtime)
        about = f"{given.steps} steps; {processor()}; {time.strftime('%Y-%m-%d', day)}"
        write_json(given.runs / "folds.json", {"about": about, "folds": found, "rates": rates})
        for method, iou in found[home.name].items():
            rate = f" at {rates[home.name][method]}" if method in METHODS else ""
            say(f"fold {fold}, {method}{rate}: {', '.join(f'{k} {v:.1f}' for k, v in iou.items())}")


if __name__ == "__main__":
    run(main)
