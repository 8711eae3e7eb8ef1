"""kill -9 at random moments: every run, started again until it ends, equals the undisturbed one.

    python tests/campaigns/kills.py --count 200 --out results/campaign_kills.json

Each round starts train, adapt, make_distorted_voc or fisher by its script, kills it at a moment
drawn uniformly from its undisturbed duration, starts the same command again, up to three times
killed in turn, and compares with an undisturbed run bit by bit: model.safetensors, every tensor of
the newest two checkpoints, metrics.jsonl but for its timings, verdict.json; every file of a twin;
the Fisher file. Half of the kills hit the process alone, half its workers as well.

Commands are forked from a process that has imported everything; `--fresh 20` starts those of every
twentieth round, and all undisturbed ones, as new interpreters, killed in their imports too. Rounds
that are in `--out` already are not done again.
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
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers")]

import numpy as np
import torch
from tqdm import tqdm
from trees import camvid
from warm import Command, Warm

from adapt.disk import checkpoint
from adapt.disk.files import write_json
from adapt.disk.runs import read_metrics
from adapt.machine.runtime import processor

PENALTY = ["penalty=l2_sp_fisher", "penalty.alpha=0.01", "penalty.fisher=fisher.safetensors"]
TRAINED = ["device=cpu", "precision=fp32", "batch=2", "log_every=1"]


@dataclass(frozen=True)
class Case:
    """A command, where it writes, what it is judged by, and how far a killed one had come."""

    script: str
    overrides: tuple[str, ...]
    out: str
    """The setting that names its output."""
    suffix: str
    judged: Callable[[Path], dict[str, Any]]
    phase: Callable[[Path], str]
    every: tuple[int, ...] = ()
    """Choices of checkpoint_every, which changes when it saves and nothing of the result."""


def run_result(run: Path) -> dict[str, Any]:
    """What a training leaves, but for timings."""
    found: dict[str, Any] = {
        name: sha256((run / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "model.json", "verdict.json", "config.yaml")
        if (run / name).is_file()
    }
    found["metrics"] = [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(run)
    ]
    for folder in checkpoint.committed(run / "checkpoints")[-checkpoint.KEPT :]:
        saved = checkpoint.load(folder)
        found[folder.name] = digest(saved.state)
    del found["config.yaml"]  # it names the run's own folder
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
    return {
        p.relative_to(folder).as_posix(): sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def file_result(path: Path) -> dict[str, Any]:
    """One file, and that nothing else of its name is left beside it."""
    beside = [p.name for p in path.parent.iterdir() if path.stem in p.name and p != path]
    return {"file": sha256(path.read_bytes()).hexdigest(), "beside": beside}


def run_phase(run: Path) -> str:
    if not (run / "config.yaml").is_file():
        return "before the run folder"
    if (run / "summary.json").is_file():
        return "after the training"
    saves = run / "checkpoints"
    if any(saves.glob("*.tmp-*")):
        return "in a save"
    return "in training" if checkpoint.committed(saves) else "before the first checkpoint"


def twin_phase(out: Path) -> str:
    if (out / "manifest.json").is_file():
        return "after the manifest"
    return "among the files" if list(out.rglob("*.png")) else "before the first file"


def fisher_phase(out: Path) -> str:
    return "after the file" if out.is_file() else "before the file"


CASES = {
    "train": Case(
        "train.py",
        ("data=camvid", "data.root=d1", "network.width=0.03125", "network.batch_norm=true",
         "data.crop=[32,40]", "data.scale=[0.8,1.25]", "eval_every=3", *TRAINED),
        "run", "", run_result, run_phase, (1, 2, 3),
    ),
    "adapt": Case(
        "adapt.py",
        ("data.target=d2", "teacher=teacher", "objective=pool3", "schedule.optimizer=adamw",
         "schedule.lr=0.001", "ema=0.9", "bn=train", *PENALTY, *TRAINED),
        "run", "", run_result, run_phase, (1, 2, 3),
    ),
    "make_distorted_voc": Case(
        "make_distorted_voc.py",
        ("data=camvid", "data.root=photos", "shift=cubism", "labels=moved"),
        "out", "", files_result, twin_phase,
    ),
    "fisher": Case(
        "fisher.py",
        ("run=teacher", "draws=60", "device=cpu"),
        "out", ".safetensors", file_result, fisher_phase,
    ),
}  # fmt: skip
SHARES = {"train": 0.35, "adapt": 0.35, "make_distorted_voc": 0.2, "fisher": 0.1}


def world(root: Path, warm: Warm) -> None:
    """Data, teacher and Fisher file that the cases need."""
    if (root / "fisher.safetensors").is_file():
        return
    camvid(root / "d1", train=10, val=3)
    camvid(root / "photos", train=60, val=10, scale=4)
    warm.run("train.py", *CASES["train"].overrides, "steps=20", "run=teacher")
    warm.run("make_distorted_voc.py", "data=camvid", "data.root=d1", "shift=photocopy", "out=d2",
             "shift.parameters.mask_radius=5", "workers=1")  # fmt: skip
    warm.run("fisher.py", "run=teacher", "out=fisher.safetensors", "device=cpu")


STEPS = 60
"""Of each training."""
IMPORTS = 4.0
"""About how many seconds a new interpreter imports."""


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
        self.results: dict[tuple[str, int], dict[str, Any]] = {}
        self.seconds: dict[tuple[str, int, int], float] = {}

    def overrides(self, case: Case, out: str, every: int, workers: int) -> list[str]:
        more = [f"checkpoint_every={every}"] if every else []
        more += [f"steps={self.steps}"] if case.out == "run" else []
        more += [f"workers={workers}"]
        return [*case.overrides, f"{case.out}={out}{case.suffix}", *more]

    def undisturbed(self, name: str, every: int) -> dict[str, Any]:
        """What the case leaves, by an interpreter of its own."""
        if (name, every) not in self.results:
            case, out = CASES[name], f"straight_{name}_{every}"
            workers = 0 if case.every else 1
            given = self.overrides(case, out, every, workers)
            started = time.monotonic()
            if (status := self.warm.start(case.script, *given, fresh=bool(self.fresh)).wait()) != 0:
                raise RuntimeError(f"{case.script} {given} ended with {status}")
            if not self.fresh:
                self.seconds[name, every, workers] = time.monotonic() - started
            self.results[name, every] = case.judged(self.root / (out + case.suffix))
        return self.results[name, every]

    def duration(self, name: str, every: int, workers: int) -> float:
        """Seconds that the case takes where nothing disturbs it, without imports."""
        if (name, every, workers) not in self.seconds:
            case, out = CASES[name], f"timed_{name}_{every}_{workers}"
            remove(self.root / (out + case.suffix))
            started = time.monotonic()
            self.warm.run(case.script, *self.overrides(case, out, every, workers))
            self.seconds[name, every, workers] = time.monotonic() - started
        return self.seconds[name, every, workers]

    def round(self, number: int, name: str = "") -> dict[str, Any]:
        """Kill one run, of a random case unless it is named, up to three times; the record."""
        rng = np.random.default_rng([self.seed, number])
        name = name or str(rng.choice(list(SHARES), p=list(SHARES.values())))
        case = CASES[name]
        every = int(rng.choice(case.every)) if case.every else 0
        workers = 0 if case.every else 1
        workers = 2 if rng.random() < (0.25 if case.every else 0.1) else workers
        wanted, took = self.undisturbed(name, every), self.duration(name, every, workers)
        out = f"killed_{number}"
        given = self.overrides(case, out, every, workers)
        target = self.root / (out + case.suffix)
        remove(target)
        fresh = bool(self.fresh) and number % self.fresh == self.fresh - 1
        kills: list[str] = []
        for _ in range(int(rng.integers(1, 4))):
            moment, group = rng.uniform(0, took), bool(rng.random() < 0.5)
            moment += IMPORTS * rng.random() if fresh else 0
            if not self.killed(case, given, moment, group, fresh):
                break
            phase = case.phase(target)
            kills.append(f"{phase}, {'with its workers' if group else 'alone'}")
            if phase.startswith("after"):
                break  # what is started again has nothing left to do
        last = self.warm.start(case.script, *given)
        status = last.wait(300)
        found = case.judged(target) if status == 0 else {}
        differing = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        record = {
            "round": number, "case": name, "checkpoint_every": every, "workers": workers,
            "fresh": fresh, "kills": kills, "status": status, "differing": differing,
        }  # fmt: skip
        if status == 0 and not differing:
            remove(target)
        else:
            record["stderr"] = last.stderr[-2000:]
        return record

    def killed(self, case: Case, given: list[str], moment: float, group: bool, fresh: bool) -> bool:
        """Start, wait, kill -9; whether it was still running."""
        command: Command = self.warm.start(case.script, *given, fresh=fresh)
        time.sleep(moment)
        running = command.poll() is None
        if running:
            (command.kill_all if group else command.kill)()
        status = command.wait()
        if status not in (0, -9):
            raise RuntimeError(f"{case.script} ended with {status}: {command.stderr}")
        return status == -9


def table(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of kills by case and phase, and of rounds that did not end as they should."""
    phases = Counter((r["case"], k.partition(",")[0]) for r in rounds for k in r["kills"])
    cases: dict[str, dict[str, int]] = {}
    for (case, phase), count in sorted(phases.items()):
        cases.setdefault(case, {})[phase] = count
    kills = [k for r in rounds for k in r["kills"]]
    return {
        "rounds": len(rounds),
        "kills": len(kills),
        "with workers": sum("with its" in k for k in kills),
        "by case": {c: sum(p.values()) for c, p in cases.items()},
        "by phase": cases,
        "not equal": [r["round"] for r in rounds if r["status"] or r["differing"]],
    }


def campaign(count: int, seed: int, out: Path, work: Path, fresh: int) -> dict[str, Any]:
    """Rounds until `count` kills are recorded in `out`."""
    done = json.loads(out.read_text())["record"] if out.is_file() else []
    with (
        closing(Warm(work, work / "logs")) as warm,
        tqdm(total=count, disable=not sys.stderr.isatty()) as bar,
    ):
        world(work, warm)
        made = Campaign(work, warm, seed, fresh)
        while (kills := sum(len(r["kills"]) for r in done)) < count:
            bar.update(kills - bar.n)
            done.append(made.round(len(done)))
            command = f"tests/campaigns/kills.py --count {count} --seed {seed} --fresh {fresh}"
            result = {
                "command": command,
                "date": date.today().isoformat(),
                "versions": {p: version(p) for p in ("torch", "numpy", "safetensors")},
                "cpu": processor(),
                **table(done),
                "record": done,
            }
            write_json(out, result)
    return result if done else {}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", type=int, default=20, help="0 = no new interpreters")
    parser.add_argument("--out", type=Path, default=Path("results/campaign_kills.json"))
    parser.add_argument("--work", type=Path, help="where the runs lie; default: a temporary folder")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        found = campaign(given.count, given.seed, given.out, work, given.fresh)
    print(json.dumps({k: v for k, v in found.items() if k != "record"}, indent=1))
    sys.exit(bool(found.get("not equal")))


if __name__ == "__main__":
    main()
