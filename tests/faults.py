"""What goes wrong inside a script that tests/driver.py runs; each function arranges one fault."""

import os
import signal
from collections.abc import Callable
from typing import Any


def none() -> None:
    """Nothing."""


def at_step(step: int, action: Callable[[], None]) -> None:
    """Do something when a training has completed so many steps."""
    import adapt.train

    fit = adapt.train.fit

    def failing(*arguments: Any) -> None:
        *others, _ = arguments
        fit(*others, lambda done: action() if done == step else None)

    adapt.train.fit = failing


def kill_at_step(step: str) -> None:
    """kill -9, before the step's checkpoint."""
    at_step(int(step), lambda: os.kill(os.getpid(), signal.SIGKILL))


def signal_at_step(argument: str) -> None:
    """`STEP,SIGNAL`: the process sends itself a signal, SIGTERM say."""
    step, name = argument.split(",")
    at_step(int(step), lambda: os.kill(os.getpid(), getattr(signal, name)))


def wait_at_step(argument: str) -> None:
    """`STEP,SECONDS`: the step takes so long."""
    import time

    step, seconds = argument.split(",")
    at_step(int(step), lambda: time.sleep(float(seconds)))


def slow(module: str, name: str, argument: str, seconds: str, after: int = 0) -> None:
    """A function of a module takes long once it was called `after` times.

    `argument` is `MARKER[,SECONDS]`: the first such call makes the file MARKER.
    """
    import importlib
    import time
    from pathlib import Path

    place: Any = importlib.import_module(module)
    *owners, last = name.split(".")
    for owner in owners:
        place = getattr(place, owner)
    marker, _, given = argument.partition(",")
    real, calls = getattr(place, last), 0

    def delayed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            Path(marker).touch()
            time.sleep(float(given or seconds))
        return real(*arguments, **named)

    setattr(place, last, delayed)


def slow_evaluation(argument: str) -> None:
    """An evaluation inside a training takes long."""
    slow("adapt.train", "evaluate_networks", argument, "1")


def slow_loader(argument: str) -> None:
    """So does every sample behind the first four, in whichever process reads it."""
    slow("adapt.sampling", "Decoder._decode", argument, "0.5", 4)


def slow_filter(argument: str) -> None:
    """So does every image behind the third to be filtered."""
    slow("adapt.distort", "apply_shift", argument, "5", 4)


def slow_scores(argument: str) -> None:
    """So do the Fisher scores of every image behind the second."""
    slow("adapt.fisher_command", "add_scores", argument, "1", 2)


def slow_prediction(argument: str) -> None:
    """So does every batch that is predicted."""
    slow("adapt.inference", "predict", argument, "5")


def save_forever(folder: str) -> None:
    """Commits checkpoints of 100 kB, one behind the other, until it is killed."""
    from itertools import count
    from pathlib import Path

    import torch

    from adapt import checkpoint

    for step in count(1):
        state = {"student": {"w": torch.full((25_000,), float(step))}}
        checkpoint.save(Path(folder), step, state, {"inputs": {}})


def measure(argument: str) -> None:
    """`FILE,STEP,STEP...`: memory (kB), open files and threads at these steps, as JSON."""
    import gc
    import json
    from pathlib import Path

    import adapt.train

    file, *steps = argument.split(",")
    fit, found = adapt.train.fit, {}

    def note(step: int) -> None:
        if str(step) in steps:
            gc.collect()
            own = Path("/proc/self")
            lines = (own / "status").read_text().splitlines()
            sizes = {k: v for k, _, v in (line.partition(":") for line in lines)}
            found[step] = {
                "memory": int(sizes["VmRSS"].split()[0]),
                "files": len(list((own / "fd").iterdir())),
                "threads": int(sizes["Threads"]),
            }
            Path(file).write_text(json.dumps(found))

    def measured(*arguments: Any) -> None:
        *others, _ = arguments
        fit(*others, note)

    adapt.train.fit = measured
