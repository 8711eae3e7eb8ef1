"""Every write of every command fails once; every file of a run is damaged for every reader.

    python tests/campaigns/faults.py [--count N] [--seed 0]

A write (making a file or a folder, writing, fsync, renaming) that fails, with ENOSPC or EIO in
turn, must end the command with status 74 and one line that names what could not be written; nothing
is half written under its own name or left beside it, and the same command ends as one that was
never disturbed. A file of a run that is removed, emptied, another run's or a link must end a
command that reads the run with status 2 and one line that names the file, or change nothing of the
result, or be named in what is printed. Nothing is written through a link. Anything else is a
failure. All takes place in this process; with `--count`, a sample of so many cases does.
"""

import argparse
import csv
import errno
import io
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from datetime import date
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers")]

import numpy as np
import torch
from disk import disk
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from tqdm import tqdm
from trees import camvid
from warm import TRAINED

from adapt.cli.composing import composed
from adapt.cli.main import perform
from adapt.cli.sweep import UNWRITTEN
from adapt.disk.files import write_json
from adapt.machine.runtime import processor

SHORT = ("steps=2", "checkpoint_every=1")
TEACH = ("train", *TRAINED, *SHORT)
PENALTY = ("penalty=l2_sp", "penalty.alpha=0.01", "penalty.beta=0.01")
ADAPT = (
    "adapt", "data.target=d2", "teacher=teacher", "objective=pool3", *PENALTY, "device=cpu",
    "precision=fp32", "batch=2", "log_every=1", *SHORT,
)  # fmt: skip
PAIRED = ("data=camvid", "data.root=d1", "data.target=d2")
MADE = (
    (*TEACH, "run=teacher"), (*TEACH, "run=teacher2", "seed=1"),
    ("make_distorted_voc", "data=camvid", "data.root=d1", "shift=photocopy", "out=d2",
     "workers=1", "shift.parameters.mask_radius=5.0"),
    (*ADAPT, "run=student"), (*ADAPT, "run=student2", "seed=1"),
    ("evaluate", "run=student", "device=cpu"),
)  # fmt: skip
"""What lies there before a case: two runs of each kind, which differ by their seed."""
WRITERS = {
    "train": (*TEACH, "run=new", "eval_every=1"),
    "adapt": (*ADAPT, "run=new"),
    "evaluate": ("evaluate", "run=student", "device=cpu"),
    "predict": ("predict", "run=student", "device=cpu", "out=new"),
    "make_distorted_voc": (
        "make_distorted_voc", "data=camvid", "data.root=d1", "shift=cubism", "out=new",
        "workers=1"),
    "calibrate": ("calibrate", "teacher=teacher", *PAIRED, "refine=1", "images=1", "device=cpu",
                  "out=new"),
    "study": ("study", "experiment=camvid_small", "data.root=d1", "runs=new", "device=cpu",
              "data.resize=[]", "data.crop=[32,40]", "network.width=0.03125", "supervised.steps=1",
              "adaptation.steps=1", "batch=2", "inversions=0", "~objectives.pool1",
              "~objectives.pool3", "~objectives.w_inc", "~shifts.ripple", "~shifts.cubism",
              "baselines=[b0]"),
    "report": ("report", "runs=student", "out=new.html"),
    "invert": ("invert", "run=student", "image=image.png", "steps=1", "device=cpu"),
    "layers": ("layers", "run=student", "image=image.png", "out=new", "device=cpu"),
    "filters": ("filters", "image=image.png", "out=new"),
    "analyse": ("analyse", "run=student", "teacher=teacher", "device=cpu", "analyses=[weights]"),
    "fisher": ("fisher", "run=teacher", "out=new.safetensors", "device=cpu", "images=1"),
    "scan": ("scan", *PAIRED, "workers=1", "out=new.json"),
    "align": (
        "align", "data=camvid", "data.root=large", "data.target=large", "workers=1", "out=new"),
    "drift": ("drift", "teacher=teacher", *PAIRED, "images=1", "out=new", "device=cpu"),
    "merge": ("merge", "runs=[student,student2]", "run=new"),
    "export": ("export", "run=student", "out=new", "formats=[safetensors]", "images=1"),
}  # fmt: skip
"""Every command of `fra`, with what it writes below the case's folder."""
READERS = {
    name: WRITERS[name]
    for name in ("evaluate", "predict", "report", "invert", "analyse", "merge", "export")
} | {"adapt, again": (*ADAPT, "run=student"), "start": (*TEACH, "run=new", "start=student")}
READERS |= {
    f"{name}, of the teacher": tuple(o.replace("student", "teacher") for o in READERS[name])
    for name in ("evaluate", "start")
} | {
    "train, again": (*TEACH, "run=teacher"),
    "adapt, of the teacher": WRITERS["adapt"],
    "fisher, of the teacher": WRITERS["fisher"],
}
ELSEWHERE = "elsewhere"
OF_WHAT_IS_DONE = "metrics.jsonl", "/lock", "new/pairs.jsonl", "new/results.csv", "new/results.json"
"""What the same command goes on with."""
TIMES = re.compile(
    rb'"(seconds|sha256|date|made_on|images_per_second)": ("[^"]*"|[-\d.e]+)'
    rb"|<td>[\d,]+</td>(?=<td>([0-9a-f]{10}|not in git))"
)
"""What differs between two undisturbed calls, and the digests of what has such."""
PARTS = re.compile(r"(?:^|(?<=/))\.([^/]+)\.(?:new|old|frames|lock|tmp-\d+)(?=/|$)|\.tmp-\d+")
"""What is written aside for a time; group 1 is the name of what it is for."""


class Ended(NamedTuple):
    status: int
    message: str
    said: str


@cache
def settings(given: tuple[str, ...]) -> Any:
    return composed(given[0], list(given[1:]))


def call(given: tuple[str, ...], place: Path) -> Ended:
    """A command in this process, in the folder `place`; status 1 is an exception that no user
    should see."""
    config = settings(given).copy()
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        config.pop("hydra")
    said = io.StringIO()
    with chdir(place), redirect_stdout(said), redirect_stderr(said):
        try:
            message, status = perform(given[0], config, False)
        except Exception:  # noqa: BLE001  # any kind is what is looked for
            message, status = traceback.format_exc()[-1500:], 1
        except SystemExit as ended:
            message, status = "", int(ended.code or 0)
    return Ended(status, message, said.getvalue())


def tree(place: Path) -> dict[str, str]:
    """Every file and link below a folder, without times; event files count as one."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = re.sub(r"events\.out\..*", "events", str(path.relative_to(place)))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif name.endswith("events"):
            found[name] = "events"
        elif path.is_file():
            found[name] = sha256(without_times(path)).hexdigest()
    return found


def without_times(path: Path) -> bytes:
    if path.name != "results.csv":
        return TIMES.sub(b"", path.read_bytes())
    with path.open(newline="") as file:
        return repr([row | {"seconds": ""} for row in csv.DictReader(file)]).encode()


class Campaign:
    """Undisturbed calls, made once, and cases on copies of `base`."""

    def __init__(self, root: Path, made: Sequence[tuple[str, ...]] = MADE) -> None:
        self.root, self.base, self.number = root, root / "base", 0
        camvid(self.base / "d1", train=2, val=1)
        camvid(self.base / "large", train=2, val=1, scale=5)
        shutil.copy(self.base / "d1/val/val_000.png", self.base / "image.png")
        for given in made:
            self.right(given, self.base)
        self.before = tree(self.base)
        self.kept: dict[tuple[str, ...], tuple[dict[str, str], int]] = {}

    def right(self, given: tuple[str, ...], place: Path) -> None:
        ended = call(given, place)
        assert ended.status == 0, (given, ended)

    def copy(self) -> Path:
        """A new folder each time: some of the product is remembered by path."""
        self.number += 1
        return shutil.copytree(self.base, self.root / f"case{self.number}")

    def undisturbed(self, given: tuple[str, ...]) -> tuple[dict[str, str], int]:
        """What a call leaves, and in how many writes."""
        if given not in self.kept:
            place = self.copy()
            with disk(place) as calls:
                self.right(given, place)
            self.kept[given] = tree(place), len(calls)
            shutil.rmtree(place)
        return self.kept[given]

    def unlike(self, given: tuple[str, ...], found: dict[str, str]) -> list[str]:
        """Names that differ from what an undisturbed call leaves."""
        wanted, _ = self.undisturbed(given)
        return sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))

    def write(self, command: str, number: int) -> dict[str, Any]:
        """The write `number` of a command fails: {outcome[, detail]}."""
        given, place = WRITERS[command], self.copy()
        with disk(place, lambda n: n == number, (errno.ENOSPC, errno.EIO)[number % 2]) as calls:
            ended = call(given, place)
        path = PARTS.sub(r"\1", os.path.relpath(calls[number - 1], place))
        wanted, _ = self.undisturbed(given)
        left = [
            n for n, content in tree(place).items()
            if content not in (wanted.get(n), self.before.get(n))
            and not n.endswith(OF_WHAT_IS_DONE)
        ]  # fmt: skip
        again = call(given, place)
        unlike = self.unlike(given, tree(place))
        shutil.rmtree(place)
        detail = {"failed": path, "status": ended.status, "message": ended.message}
        if ended.status == 0 and not unlike and not left:
            return {"outcome": "done all the same"}
        if ended.status != UNWRITTEN:
            return {"outcome": "traceback" if ended.status == 1 else "another status", **detail}
        named = ended.message.removeprefix("error: ").split(": ")[0].replace(f"{place}/", "")
        named = PARTS.sub(r"\1", named)
        related = Path(path).is_relative_to(named) or Path(named).is_relative_to(path)
        if "\n" in ended.message or not related:  # a folder stands for what is made in it
            return {"outcome": "not named", **detail}
        if left:
            return {"outcome": "half written", **detail, "left": left}
        if again.status or unlike:
            return {"outcome": "not repaired", **detail, "again": again[:2], "unlike": unlike}
        return {"outcome": "named"}

    def damage(self, reader: str, name: str, kind: str) -> dict[str, Any]:
        """A file of the run that a command reads is damaged: {outcome[, detail]}."""
        given, place = READERS[reader], self.copy()
        DAMAGES[kind](place / name, place)
        before = tree(place)
        ended = call(given, place)
        after, unlike = tree(place), self.unlike(given, tree(place))
        written = [n for n in unlike if n.endswith((".html", ".md")) and n in after]
        pages = [(place / n).read_text() for n in written]
        shutil.rmtree(place)
        unlike = [n for n in unlike if not n.startswith(ELSEWHERE) and n != name]
        detail = {"status": ended.status, "message": ended.message[-700:], "unlike": unlike}
        of = {n: c for n, c in after.items() if n.startswith(ELSEWHERE)}
        if of != {n: c for n, c in before.items() if n.startswith(ELSEWHERE)}:
            return {"outcome": "written through a link", **detail}
        if ended.status == 0:
            told = any(Path(name).name in text for text in (ended.said, *pages))
            if not unlike:
                return {"outcome": "right, and said" if told else "right"}
            return {"outcome": "changed, and said" if told else "silently changed", **detail}
        if ended.status != 2:
            return {"outcome": "traceback" if ended.status == 1 else "another status", **detail}
        if "\n" in ended.message or Path(name).name not in ended.message:
            return {"outcome": "not named", **detail}
        return {"outcome": "refused"}


def removed(path: Path, place: Path) -> None:
    path.unlink()


def emptied(path: Path, place: Path) -> None:
    path.write_bytes(b"")


def swapped(path: Path, place: Path) -> None:
    run, rest = path.relative_to(place).parts[0], path.relative_to(place).parts[1:]
    shutil.copy(place / f"{run}2" / Path(*rest), path)


def linked(path: Path, place: Path) -> None:
    (place / ELSEWHERE).mkdir()
    path.rename(place / ELSEWHERE / path.name)
    path.symlink_to(place / ELSEWHERE / path.name)


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "removed": removed, "emptied": emptied, "swapped": swapped, "linked": linked,
}  # fmt: skip
FAILURES = (
    "traceback", "another status", "not named", "half written", "not repaired",
    "written through a link", "silently changed",
)  # fmt: skip


def files_of(base: Path, run: str) -> list[str]:
    """The files of a run that can be swapped for another one's."""
    paths = (p for p in sorted((base / run).rglob("*")) if p.is_file() and p.name != "lock")
    rest = [p.relative_to(base / run) for p in paths]
    return [f"{run}/{p}" for p in rest if (base / f"{run}2" / p).is_file()]


def cases(
    campaign: Campaign,
    writers: Mapping[str, tuple[str, ...]] = WRITERS,
    readers: Mapping[str, tuple[str, ...]] = READERS,
) -> list[tuple[str, str, str]]:
    """Fault, command and place: `write` and its number, or the kind of damage and the file."""
    found = []
    for command, given in writers.items():
        numbers = range(1, campaign.undisturbed(given)[1] + 1)
        found += [("write", command, str(number)) for number in numbers]
    for reader in readers:
        run = "teacher" if "teacher" in reader or reader == "train, again" else "student"
        names = files_of(campaign.base, run)
        found += [(kind, reader, name) for name in names for kind in DAMAGES]
    return found


def judge(campaign: Campaign, case: tuple[str, str, str]) -> dict[str, Any]:
    """{fault, command, at, outcome[, detail]}"""
    kind, command, what = case
    if kind == "write":
        done = campaign.write(command, int(what))
    else:
        done = campaign.damage(command, what, kind)
    return {"fault": kind, "command": command, "at": what, **done}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, help="of cases, drawn by the seed; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writers", nargs="*", default=list(WRITERS))
    parser.add_argument("--readers", nargs="*", default=list(READERS))
    parser.add_argument("--out", type=Path, default=Path("results/campaign_faults.json"))
    given = parser.parse_args()
    out = given.out.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        writers = {name: WRITERS[name] for name in given.writers}
        known = cases(campaign, writers, {name: READERS[name] for name in given.readers})
        order = np.random.default_rng(given.seed).permutation(len(known))[: given.count]
        results = []
        for number in tqdm(order, disable=not sys.stderr.isatty()):
            results.append(judge(campaign, known[number]))
            if results[-1]["outcome"] in FAILURES:
                print(json.dumps(results[-1], indent=1).replace("\\n", "\n"), flush=True)
    by_command: dict[str, dict[str, Counter[str]]] = {}
    for done in results:
        counts = by_command.setdefault(done["command"], {})
        kind = "write" if done["fault"] == "write" else "file"
        counts.setdefault(kind, Counter())[done["outcome"]] += 1
    failures = [done for done in results if done["outcome"] in FAILURES]
    count = f" --count {given.count}" if given.count else ""
    write_json(
        out,
        {
            "command": f"python tests/campaigns/faults.py{count} --seed {given.seed}",
            "date": date.today().isoformat(),
            "cpu": processor(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("torch", "safetensors", "numpy")},
            "cases": len(results),
            "known cases": len(known),
            "outcomes": dict(Counter(done["outcome"] for done in results)),
            "failures": len(failures),
            "by_command": by_command,
        },
    )
    print(f"{len(results)} of {len(known)} cases, {len(failures)} failures; {given.out}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
