"""kill -9 at random moments: every run, started again until it ends, equals the undisturbed one.

    python tests/campaigns/kills.py [--count 200] [--seed 0] [--fresh 20]

Each round starts train, adapt, make_distorted_voc or fisher by its script, kills it at a moment
drawn uniformly from its undisturbed duration, starts the same command again, up to three times
killed in turn, and compares with an undisturbed run bit by bit: model.safetensors, every tensor of
the newest two checkpoints, metrics.jsonl but for its timings, verdict.json; every file of a twin;
the Fisher file. Half of the kills hit the process alone, half its workers as well.

Commands are forked from a process that has imported everything; `--fresh 20` starts those of every
twentieth round as new interpreters, killed in their imports too. Rounds that are in `--out` already
are not done again.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers")]

import numpy as np
import torch
from tqdm import tqdm
from trees import camvid
from warm import TRAINED, Warm

from adapt.disk import checkpoint
from adapt.disk.files import write_json
from adapt.disk.runs import read_metrics
from adapt.machine.runtime import processor

STEPS = 60
"""Of each training."""
IMPORTS = 4.0
"""About how many seconds a new interpreter imports."""


def run_result(run: Path) -> dict[str, Any]:
    """What a training leaves, but for timings."""
    found: dict[str, Any] = {
        name: sha256((run / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "model.json", "verdict.json")
        if (run / name).is_file()
    }
    found["metrics"] = [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(run)
    ]
    for folder in checkpoint.committed(run / "checkpoints")[-checkpoint.KEPT :]:
        found[folder.name] = digest(checkpoint.load(folder).state)
    return found


def digest(value: Any) -> Any:
    """Nested state with every tensor as the SHA-256 of its bytes."""
    if isinstance(value, torch.Tensor):
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {tuple(value.shape)} {sha256(content).hexdigest()}"
    if isinstance(value, dict):
        return {str(k): digest(v) for k, v in value.items()}
    return [digest(v) for v in value] if isinstance(value, list | tuple) else value


def files_result(folder: Path) -> dict[str, Any]:
    """Every file below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in paths}


def file_result(path: Path) -> dict[str, Any]:
    return {path.suffix: sha256(path.read_bytes()).hexdigest()}


class Case(NamedTuple):
    """A command, the setting that names its output, which file marks its end, and how the output is
    judged; choices of checkpoint_every change when it saves and nothing of the result."""

    script: str
    overrides: tuple[str, ...]
    out: str
    end: str
    judged: Callable[[Path], dict[str, Any]]
    every: tuple[int, ...] = ()


PENALTY = ("penalty=l2_sp_fisher", "penalty.alpha=0.01", "penalty.fisher=fisher.safetensors")
CASES = {
    "train": Case("train.py", (*TRAINED, "data.scale=[0.8,1.25]", "eval_every=3"), "run",
                  "summary.json", run_result, (1, 2, 3)),
    "adapt": Case(
        "adapt.py",
        ("data.target=d2", "teacher=teacher", "objective=pool3", "schedule.optimizer=adamw",
         "schedule.lr=0.001", "ema=0.9", "bn=train", *PENALTY, "device=cpu", "precision=fp32",
         "batch=2", "log_every=1"),
        "run", "summary.json", run_result, (1, 2, 3),
    ),
    "make_distorted_voc": Case(
        "make_distorted_voc.py",
        ("data=camvid", "data.root=photos", "shift=cubism", "labels=moved"),
        "out", "manifest.json", files_result,
    ),
    "fisher": Case("fisher.py", ("run=teacher", "draws=60", "device=cpu"), "out", "", file_result),
}  # fmt: skip
SHARES = {"train": 0.35, "adapt": 0.35, "make_distorted_voc": 0.2, "fisher": 0.1}


def phase(target: Path, end: str) -> str:
    """How far a killed command had come."""
    if (target / end if end else target).is_file():
        return "after the end"
    if any(target.parent.glob(f".{target.name}.tmp-*")) or any(target.rglob("*.tmp-*")):
        return "in a write"
    return "under way" if target.exists() else "before its output"


def remove(path: Path) -> None:
    """A run folder or twin of an interrupted round, or a file."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


class Campaign:
    """Undisturbed runs, made once, and rounds of killed ones."""

    def __init__(
        self, root: Path, warm: Warm, seed: int, fresh: int = 0, steps: int = STEPS
    ) -> None:
        self.root, self.warm, self.seed, self.fresh, self.steps = root, warm, seed, fresh, steps
        self.straight: dict[tuple[str, int, int], tuple[dict[str, Any], float]] = {}

    def command(self, name: str, out: str, every: int, workers: int) -> tuple[list[str], Path]:
        """Script and settings, and where they write."""
        case, suffix = CASES[name], "" if CASES[name].end else ".safetensors"
        more = [f"checkpoint_every={every}"] if every else []
        more += [f"steps={self.steps}"] if case.out == "run" else []
        given = [case.script, *case.overrides, f"{case.out}={out}{suffix}", *more]
        return [*given, f"workers={workers}"], self.root / (out + suffix)

    def undisturbed(self, name: str, every: int, workers: int) -> tuple[dict[str, Any], float]:
        """What the case leaves, and its seconds without imports."""
        key = (name, every, workers)
        if key not in self.straight:
            given, target = self.command(name, f"straight_{name}_{every}_{workers}", every, workers)
            remove(target)
            started = time.monotonic()
            self.warm.run(*given)
            self.straight[key] = CASES[name].judged(target), time.monotonic() - started
        return self.straight[key]

    def round(self, number: int, name: str = "") -> dict[str, Any]:
        """Kills of one run and what it is in the end."""
        rng = np.random.default_rng([self.seed, number])
        name = name or str(rng.choice(list(SHARES), p=list(SHARES.values())))
        case = CASES[name]
        every = int(rng.choice(case.every)) if case.every else 0
        workers = 2 if rng.random() < (0.25 if every else 0.1) else int(not every)
        wanted, took = self.undisturbed(name, every, workers)
        given, target = self.command(name, f"killed_{number}", every, workers)
        remove(target)
        fresh = bool(self.fresh) and number % self.fresh == self.fresh - 1
        kills: list[str] = []
        for _ in range(int(rng.integers(1, 4))):
            moment, group = rng.uniform(0, took), bool(rng.random() < 0.5)
            command = self.warm.start(*given, fresh=fresh)
            time.sleep(moment + (IMPORTS * rng.random() if fresh else 0))
            (command.kill_all if group else command.kill)()
            if (status := command.wait()) != -9:
                assert status == 0, command.stderr
                break
            kills.append(f"{phase(target, case.end)}, {'with its workers' if group else 'alone'}")
            if kills[-1].startswith("after"):
                break  # what is started again has nothing left to do
        last = self.warm.start(*given)
        status = last.wait(300)
        found = case.judged(target) if status == 0 else {}
        differing = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        record = {
            "round": number, "case": name, "checkpoint_every": every, "workers": workers,
            "fresh": fresh, "kills": kills, "status": status, "differing": differing,
        }  # fmt: skip
        if status == 0 and not differing:
            remove(target)
            return record
        return {**record, "stderr": last.stderr[-2000:]}


def table(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of kills by case and phase, and of rounds that did not end as they should."""
    phases = Counter((r["case"], k.partition(",")[0]) for r in rounds for k in r["kills"])
    cases: dict[str, dict[str, int]] = {}
    for (case, how_far), count in sorted(phases.items()):
        cases.setdefault(case, {})[how_far] = count
    kills = [k for r in rounds for k in r["kills"]]
    return {
        "rounds": len(rounds),
        "kills": len(kills),
        "with workers": sum("with its" in k for k in kills),
        "by case": {c: sum(p.values()) for c, p in cases.items()},
        "by phase": cases,
        "not equal": [r["round"] for r in rounds if r["status"] or r["differing"]],
    }


def campaign(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Rounds until so many kills are recorded."""
    done = json.loads(given.out.read_text())["record"] if given.out.is_file() else []
    result: dict[str, Any] = {}
    with (
        closing(Warm(work, work / "logs")) as warm,
        tqdm(total=given.count, disable=not sys.stderr.isatty()) as bar,
    ):
        camvid(work / "d1", train=10, val=3)
        camvid(work / "photos", train=60, val=10, scale=4)
        warm.run("train.py", *CASES["train"].overrides, "steps=20", "run=teacher")
        warm.run("make_distorted_voc.py", "data=camvid", "data.root=d1", "shift=photocopy",
                 "out=d2", "shift.parameters.mask_radius=5", "workers=1")  # fmt: skip
        warm.run("fisher.py", "run=teacher", "out=fisher.safetensors", "device=cpu")
        made = Campaign(work, warm, given.seed, given.fresh)
        while (kills := sum(len(r["kills"]) for r in done)) < given.count:
            bar.update(kills - bar.n)
            done.append(made.round(len(done)))
            told = f"--count {given.count} --seed {given.seed} --fresh {given.fresh}"
            result = {
                "command": f"python tests/campaigns/kills.py {told}",
                "date": date.today().isoformat(),
                "versions": {p: version(p) for p in ("torch", "numpy", "safetensors")},
                "cpu": processor(),
                **table(done),
                "record": done,
            }
            write_json(given.out, result)
    return result


def main() -> None:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", type=int, default=20, help="0 = no new interpreters")
    parser.add_argument("--out", type=Path, default=Path("results/campaign_kills.json"))
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as work:
        found = campaign(given, Path(work))
    print(json.dumps({k: v for k, v in found.items() if k != "record"}, indent=1))
    sys.exit(bool(found.get("not equal")))


if __name__ == "__main__":
    main()
