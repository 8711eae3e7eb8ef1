"""Damages checkpoints, weights and run files by a seed and reads them with the product's functions.

    python tests/campaigns/checkpoints.py        -> results/campaign_checkpoints.json

Allowed are an InputError, or the content exactly as it was saved (the damage hit a byte that nobody
reads). A failure is any other exception, a crash, a hang, more memory than LARGER, code that ran,
and changed content of a file that has a digest or checksum. Of files that have none (a safetensors
file of somebody else, plain text such as config.yaml) the changed ones are counted apart.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from datetime import date
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers"), str(HERE)]

import numpy as np
import torch
from hostile_kinds import KINDS, Kind, make, same
from tqdm import tqdm

from adapt.disk.files import write_json
from adapt.errors import InputError
from adapt.machine.runtime import processor

DEADLINE = 60
"""Seconds for one case."""
LIMIT = 2 << 30
"""Bytes of address space beyond what a worker has at its start."""
LARGER = 256 << 20
"""Bytes that resident memory may grow by in one case."""
REFUSED, AS_SAVED, CHANGED = "refused", "as saved", "changed"
FAILURES = ("exception", "executed", "memory", "crash", "hang", "silently changed")
OUTCOMES = (REFUSED, AS_SAVED, CHANGED, *FAILURES)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reference(kind: Kind, base: Path, place: Path) -> Any:
    """What the undamaged file gives."""
    fresh(base, place)
    if kind.after is not None:
        kind.after(place)
    return kind.read(place)


def fresh(base: Path, place: Path) -> None:
    """A copy of everything but the images."""
    shutil.rmtree(place, ignore_errors=True)
    skipped = shutil.ignore_patterns("d1", "d2", "tensorboard")
    shutil.copytree(base, place, ignore=skipped)


def perform(kind: Kind, base: Path, place: Path, wanted: Any, rng: np.random.Generator) -> dict:
    """One case: {kind, mutator, outcome[, detail]}."""
    fresh(base, place)
    path, mutate = place / kind.file, kind.mutators[int(rng.integers(0, len(kind.mutators)))]
    content = path.read_bytes()
    damaged = mutate(content, rng)
    path.write_bytes(damaged)
    done = {"kind": kind.name, "mutator": mutate.__name__}
    trap, before = place / "executed", peak()
    try:
        if kind.after is not None:
            kind.after(place)
        found = kind.read(place)
    except InputError as error:
        done |= {"outcome": REFUSED, "detail": str(error)[:300]}
    except Exception:  # noqa: BLE001  # any other kind is what is looked for
        done |= {"outcome": "exception", "detail": traceback.format_exc()[-1500:]}
    else:
        changed = CHANGED if not kind.guarded else "silently changed"
        done |= {"outcome": AS_SAVED if same(found, wanted) else changed}
    if peak() - before > LARGER:
        done |= {"outcome": "memory", "detail": f"{(peak() - before) >> 20} MB more"}
    if trap.exists():
        done |= {"outcome": "executed"}
    return done


def work(base: Path, place: Path, seed: int, connection: Connection) -> None:
    """Performs the cases whose numbers come in, until None does."""
    torch.set_num_threads(1)
    place.mkdir(parents=True)
    os.chdir(place)  # where `touch executed` would leave its mark
    trap = place / "copy" / "executed"
    os.system = lambda *_: trap.touch()  # type: ignore[assignment]
    wanted = {kind.name: reference(kind, base, place / "copy") for kind in KINDS}
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while (number := connection.recv()) is not None:
        kind = KINDS[number % len(KINDS)]
        rng = np.random.default_rng([seed, number])
        connection.send(perform(kind, base, place / "copy", wanted[kind.name], rng))


class Worker:
    """A process that is replaced when it dies or hangs."""

    def __init__(self, base: Path, place: Path, seed: int) -> None:
        self.arguments, self.lives = (base, place, seed), 0
        self.start()

    def start(self) -> None:
        base, place, seed = self.arguments
        self.lives += 1
        self.connection, theirs = multiprocessing.Pipe()
        mine = place / str(self.lives)
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=work, args=(base, mine, seed, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.number: int | None = None

    def give(self, number: int | None) -> None:
        self.number = number
        self.connection.send(number)

    def end(self, outcome: str) -> dict[str, Any]:
        """What to note of a case that killed the worker, which is started anew."""
        assert self.number is not None, "the worker died before its first case"
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        done = {"kind": KINDS[self.number % len(KINDS)].name, "mutator": "", "outcome": outcome}
        self.start()
        return done | {"detail": f"exit status {code}"}


def campaign(base: Path, place: Path, count: int, seed: int, workers: int) -> list[dict[str, Any]]:
    """All cases, each in a worker with a deadline and a memory limit."""
    crew = [Worker(base, place / f"worker{i}", seed) for i in range(workers)]
    waiting, results = iter(range(count)), []
    bar = tqdm(total=count, desc="cases", disable=not sys.stderr.isatty())
    for worker in crew:
        worker.give(next(waiting, None))
    while any(w.number is not None for w in crew):
        busy = [w for w in crew if w.number is not None]
        patience = DEADLINE * (2 if len(results) < workers else 1)  # imports at first
        ready = wait([w.connection for w in busy], timeout=patience)
        for worker in [w for w in busy if w.connection in ready] or busy:
            number = worker.number
            try:
                done = worker.connection.recv() if ready else worker.end("hang")
            except (EOFError, ConnectionError):
                done = worker.end("crash")
            results.append({"case": number} | done)
            bar.update()
            worker.give(next(waiting, None))
    bar.close()
    return results


def table(results: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Kind -> outcome -> count."""
    found: dict[str, Counter[str]] = {kind.name: Counter() for kind in KINDS}
    for done in results:
        found[done["kind"]][done["outcome"]] += 1
    return {name: {o: counts[o] for o in OUTCOMES if counts[o]} for name, counts in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=7200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/campaign_checkpoints.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make(base)
        shutil.copyfile(base / "runs/student/config.yaml", base / "given.yaml")
        results = campaign(base, Path(folder) / "work", given.count, given.seed, given.workers)
    rows = table(results)
    for name, counts in rows.items():
        print(f"{name:34}", ", ".join(f"{k} {v}" for k, v in counts.items()))
    failures = [done for done in results if done["outcome"] in FAILURES]
    for done in failures[:40]:
        print(json.dumps(done, indent=1).replace("\\n", "\n"), file=sys.stderr)
    packages = ("torch", "safetensors", "pyyaml", "numpy")
    write_json(
        given.out,
        {
            "command": "python tests/campaigns/checkpoints.py "
            f"--count {given.count} --seed {given.seed}",
            "date": date.today().isoformat(),
            "cpu": processor(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in packages},
            "cases": len(results),
            "outcomes": dict(Counter(done["outcome"] for done in results)),
            "failures": len(failures),
            "guarded": [kind.name for kind in KINDS if kind.guarded],
            "by_kind": rows,
        },
    )
    print(f"{len(results)} cases, {len(failures)} failures; {given.out}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
