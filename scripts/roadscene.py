"""Visible -> thermal on RoadScene with two networks of others, by night and day: what
results/roadscene.json has.

    python scripts/roadscene.py ROADSCENE --networks DIR --runs runs/roadscene

ROADSCENE has `visible` and `thermal` with equal names; DIR has espnet.py and espnet.json of
docs/own_network, espnet_city.json of docs/real_cameras.md, and the authors' two files of weights,
espnet.pth (CamVid) and espnet_city.pth (Cityscapes). There are no labels: the figures are the mIoU
of what a network says of the thermal image with what the teacher says of the visible one as truth.

It is night where the top of the visible image has no bright sky, not even between trees. Of the
night's frames and of the day's, in their order, the last quarter is held out and the fifth before
it is the tuning part, on which agreement chooses between two rates. What is finished is not done
again; RUNS has roadscene.json, and the page of results its table from a copy of it. Cost,
estimated: half an hour for each of the four trainings on a core of an AMD EPYC. In
seconds instead: --steps 1
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this folder has an adapt.py of its own

from adapt.data import layout_of
from adapt.data.images import read_image
from adapt.data.index import run
from adapt.data.samples import Sample
from adapt.disk.files import read_json, write_json
from adapt.disk.runs import SUMMARY
from adapt.errors import InputError
from adapt.machine.runtime import processor, say
from adapt.settings.groups import DataConfig
from scripts.cwfid_folds import fra, laid

SKY, DARK = 1 / 8, 188
"""The share of rows that count as sky, and what the upper quartile of their grey must reach by day:
half way between night's highest, 169, and day's lowest, 209. (The median would take trees for the
night, and lamps for the day.)"""
FACTORY = "network.factory=espnet:espnet"
HELD, TUNE = 0.25, 0.2
TIMES = "night", "day"
RATES = (0.002, 0.0005)
NETWORKS = {
    "ESPNet, CamVid": ("espnet", "camvid", ()),
    "ESPNet, Cityscapes": ("espnet_city", "cityscapes", ("+network.arguments.image=false",)),
}
"""Name -> its files' name, the data set whose classes it has, settings of its own."""
TRAINED = ("objective=w_inc_kd", "taps=auto", "data.crop=[256,384]", "batch=4",
           "schedule.optimizer=adamw")  # fmt: skip


def is_night(image: np.ndarray) -> bool:
    """Is the top of a visible image (H, W, 3), 8 bits, without bright sky?"""
    sky = image[: int(len(image) * SKY)].mean(axis=2)
    return bool(np.quantile(sky, 0.75) < DARK)


def parts_of(night: Sequence[bool]) -> list[str]:
    """The part of each frame, in their order: `train`, `val` (tuned on), `night` or `day`."""
    parts = [""] * len(night)
    for dark, held in zip((True, False), TIMES, strict=True):
        frames = [number for number, one in enumerate(night) if one == dark]
        first, aside = (round(share * len(frames)) for share in (1 - HELD - TUNE, 1 - HELD))
        for place, number in enumerate(frames):
            parts[number] = "train" if place < first else "val" if place < aside else held
    return parts


def agreement(split: str, of: str, *settings: str, adabn: bool = False) -> float:
    """mIoU in percent on a part of the pairs, with the teacher's word on x1 as truth."""
    out = Path(of, f"{split}_adabn" if adabn else split)
    if not list(out.glob("metrics_*.json")):
        fra("evaluate", f"split={split}", "domain=d2", f"adabn={str(adabn).lower()}",
            f"out={out}", *settings)  # fmt: skip
    return float(read_json(next(out.glob("metrics_*.json")))["agreement"]["miou"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("roadscene", type=Path)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="where all of it goes")
    parser.add_argument("--steps", type=int, default=500)
    given = parser.parse_args()
    files = sorted((given.roadscene / "visible").iterdir())
    samples = [Sample(f.stem, f, x2=given.roadscene / "thermal" / f.name) for f in files]
    if missing := [f.name for f in files if not (given.roadscene / "thermal" / f.name).is_file()]:
        raise InputError(f"{given.roadscene}/thermal has no {missing[0]}, which visible has")
    parts = parts_of([is_night(read_image(sample.x1)) for sample in samples])
    data = (*laid(samples, parts, ["x1", "x2"], given.runs / "data"), "data.resize=[320,480]")
    os.environ["PYTHONPATH"] = str(given.networks.resolve())
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, (file, taught, own) in NETWORKS.items():
        home = given.runs / file
        network = (FACTORY, "network.void=true", "precision=fp32", *own,
                   f"network.preprocessing={given.networks / file}.json")  # fmt: skip
        classes = layout_of(DataConfig(taught)).classes
        seen = (*data, f"data.classes=[{','.join(classes)}]")
        weights = f"{given.networks / file}.pth"
        runs = {rate: home / f"rate_{rate}" for rate in RATES}
        for rate, folder in runs.items():
            fra("adapt", *network, *seen, *TRAINED, f"teacher={weights}", f"schedule.lr={rate}",
                f"steps={given.steps}", f"run={folder}")  # fmt: skip
        rate = max(RATES, key=lambda r: agreement("val", str(runs[r]), FACTORY, f"run={runs[r]}"))
        before = (*network, *seen, f"teacher={weights}")
        found[name] = {
            "B0": {time_: agreement(time_, str(home), *before) for time_ in TIMES},
            "AdaBN": {time_: agreement(time_, str(home), *before, adabn=True) for time_ in TIMES},
            "adapted": {
                t: agreement(t, str(runs[rate]), FACTORY, f"run={runs[rate]}") for t in TIMES
            },
        }
        for method, numbers in found[name].items():
            say(f"{name}, {method}: {', '.join(f'{k} {v:.1f}' for k, v in numbers.items())}")
    day = time.gmtime((runs[rate] / SUMMARY).stat().st_mtime)
    about = f"{given.steps} steps; {processor()}; {time.strftime('%Y-%m-%d', day)}"
    counts = {part: parts.count(part) for part in sorted(set(parts))}
    write_json(given.runs / "roadscene.json", {"about": about, "pairs": counts, "found": found})


if __name__ == "__main__":
    run(main)
