"""What goes wrong inside a script that driver.py runs; each function arranges one fault."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def none() -> None:
    """Nothing."""


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def after_steps(action: Callable[[int], None]) -> None:
    """Do something whenever a training has completed a step, with the number of steps."""
    import adapt.training.train

    fit = adapt.training.train.fit
    adapt.training.train.fit = lambda *given: fit(*given[:-1], lambda done: action(done["step"]))


def at_step(step: int, action: Callable[[], None]) -> None:
    """Do something when a training has completed so many steps."""
    after_steps(lambda done: action() if done == step else None)


def kill_at_step(step: str) -> None:
    """kill -9, before the step's checkpoint."""
    at_step(int(step), lambda: os.kill(os.getpid(), signal.SIGKILL))


def signal_at_step(argument: str) -> None:
    """`STEP,SIGNAL[,RANK]`: the process (with RANK only that one) sends itself a signal."""
    step, name, *where = argument.split(",")
    if not where or rank() == int(where[0]):
        at_step(int(step), lambda: os.kill(os.getpid(), getattr(signal, name)))


def no_hangup() -> None:
    """What nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def signal_while_saving(argument: str) -> None:
    """`STEP,SIGNAL`: the process sends itself a signal while that step's checkpoint is written."""
    import adapt.training.train

    step, name = argument.split(",")
    original = adapt.training.train.save

    def saving(*arguments: Any) -> None:
        original(*arguments)
        if arguments[2] == int(step):
            os.kill(os.getpid(), getattr(signal, name))

    adapt.training.train.save = saving


def poison(argument: str) -> None:
    """`STEP,RANK`: one process's loss is NaN at a step."""
    import adapt.objective.terms

    step, where = (int(part) for part in argument.split(","))
    original = adapt.objective.terms.Objective.__call__
    calls = iter(range(1000))  # 0: the trial before the first step

    def poisoned(*arguments: Any) -> Any:
        loss, parts = original(*arguments)
        if next(calls) == step and rank() == where:
            name, (raw, weight) = next(iter(parts.items()))
            parts[name] = (raw * float("nan"), weight)
            loss = loss + parts[name][0] * weight
        return loss, parts

    adapt.objective.terms.Objective.__call__ = poisoned


def exit_at_step(argument: str) -> None:
    """`STEP,RANK`: one process is gone at once, without a word."""
    step, where = (int(part) for part in argument.split(","))
    if rank() == where:
        at_step(step, lambda: os._exit(1))


def out_of_memory_at(argument: str) -> None:
    """`STEP,RANK`: the student's pass finds no memory."""
    import torch

    import adapt.training.setup

    step, where = (int(part) for part in argument.split(","))
    original = adapt.training.setup.Tapped.forward
    calls = iter(range(1000))  # 0: the trial before the first step

    def exhausted(*arguments: Any) -> Any:
        if next(calls) == step and rank() == where:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(*arguments)

    adapt.training.setup.Tapped.forward = exhausted


def loader_dies_at(position: str) -> None:
    """A loader's worker is gone when it should read a position."""
    from adapt.data.sampling import Stream

    original = Stream.__getitem__

    def dying(stream: Stream, index: int) -> Any:
        if index == int(position):
            os._exit(1)
        return original(stream, index)

    Stream.__getitem__ = dying


def writes_recorded(path: str) -> None:
    """Every file that this process opens for writing, creates, renames or removes, a line each in
    `path`.RANK. Python's own trial of the folder for temporary files, which torch asks for as it
    imports its compiler, is over by then."""
    import sys
    from tempfile import gettempdir

    gettempdir()
    names = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link")
    wanted = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    record = os.open(f"{path}.{rank()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & wanted:
            os.write(record, f"open {arguments[0]}\n".encode())
        elif event in names:
            os.write(record, f"{event} {arguments[0]}\n".encode())

    sys.addaudithook(hook)


def wait_at_step(argument: str) -> None:
    """`STEP,SECONDS`: the step takes so long."""
    import time

    step, seconds = argument.split(",")
    at_step(int(step), lambda: time.sleep(float(seconds)))


def slow(module: str, name: str, argument: str, seconds: str, after: int = 0) -> None:
    """`MARKER[,SECONDS]`: a function of a module takes long once it was called `after` times; the
    first such call makes the file MARKER."""
    import importlib
    import time

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


slow_evaluation = partial(slow, "adapt.training.train", "evaluate_networks", seconds="1")
slow_loader = partial(slow, "adapt.data.sampling", "Decoder.native", seconds="0.5", after=8)
slow_filter = partial(slow, "adapt.shift.distort", "shifted", seconds="5", after=2)
slow_scores = partial(slow, "adapt.penalties.fisher", "add_scores", seconds="1", after=2)
slow_summary = partial(slow, "adapt.disk.runs", "sha256", seconds="1")
slow_prediction = partial(slow, "adapt.evaluation.inference", "predict", seconds="5")


def save_forever(folder: str) -> None:
    """Commits checkpoints of 100 kB, one after the other, until it is killed."""
    from itertools import count

    import torch

    from adapt.disk import checkpoint

    for step in count(1):
        state = {"student": {"w": torch.full((25_000,), float(step))}}
        checkpoint.save(Path(folder), step, state, {}, 0.0)


def measure(argument: str) -> None:
    """`FILE,STEP,STEP...`: memory (kB), open files and threads at these steps, as JSON; files with
    a worker's tensor apart, as it depends on who is faster how many wait."""
    import gc
    import json

    file, *steps = argument.split(",")
    found = {}

    def note(step: int) -> None:
        if str(step) in steps:
            gc.collect()
            own = Path("/proc/self")
            lines = (own / "status").read_text().splitlines()
            sizes = {k: v for k, _, v in (line.partition(":") for line in lines)}
            files = [str(f.readlink()) for f in (own / "fd").iterdir() if f.is_symlink()]
            tensors = sum("/torch_" in file for file in files)
            found[step] = {
                "memory": int(sizes["VmRSS"].split()[0]),
                "files": len(files) - tensors,
                "tensors": tensors,
                "threads": int(sizes["Threads"]),
            }
            Path(file).write_text(json.dumps(found))

    after_steps(note)


def shared_memory(options: str) -> None:
    """Another /dev/shm, for this process and its children: a tmpfs mounted with these options."""
    import ctypes
    import subprocess

    assert ctypes.CDLL(None).unshare(0x00020000) == 0, "CLONE_NEWNS"
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", "/dev/shm"], check=True)
