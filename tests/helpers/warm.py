"""Real scripts without their seconds of imports: one warmed-up process forks one for each command.

As a program it is that process. It reads a request a line, {"start": [FAULT, SCRIPT.py,
OVERRIDES...], "cwd", "out", "fresh", "environment"} or {"wait": PID, "timeout": SECONDS}, and
answers with a line of JSON. What it starts runs in a session of its own, through
tests/helpers/driver.py.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Command:
    """A script that was started by a Warm."""

    def __init__(self, warm: "Warm", pid: int, out: Path) -> None:
        self.warm, self.pid, self.out = warm, pid, out

    def wait(self, timeout: float = 120) -> int:
        """Its exit status, minus the signal's number where one killed it."""
        answer = self.warm.ask({"wait": self.pid, "timeout": timeout})
        if answer is None:
            self.kill_all()
            self.warm.ask({"wait": self.pid, "timeout": 10})
            raise TimeoutError(f"still running after {timeout} s: {self.stderr}")
        return int(answer)

    def poll(self) -> int | None:
        return self.warm.ask({"wait": self.pid, "timeout": 0})

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that happens while it runs."""
        while not condition():
            assert self.poll() is None, self.stderr
            time.sleep(0.002)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def kill_all(self, number: int = signal.SIGKILL) -> None:
        """Signal it and its workers, as a terminal or a scheduler does."""
        os.killpg(self.pid, number)

    @property
    def stdout(self) -> str:
        return self.out.with_suffix(".stdout").read_text()

    @property
    def stderr(self) -> str:
        return self.out.with_suffix(".stderr").read_text()


def members(session: int) -> list[str]:
    """Living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(own) == session and state != "Z":
            found.append(stat.parent.name)
    return found


class Warm:
    """Starts scripts in `cwd`; what they print lies in `logs`."""

    def __init__(self, cwd: Path, logs: Path) -> None:
        self.cwd, self.logs = cwd, logs
        self.started: list[Command] = []
        logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / "warm.py")]
        pipe = subprocess.PIPE
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment, start_new_session=True
        )

    def ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        script: str,
        *overrides: str,
        fault: str = "none",
        fresh: bool = False,
        cwd: Path | None = None,
        out: Path | None = None,
        **environment: str,
    ) -> Command:
        """A script; `fresh` = by an interpreter of its own, imports and all. It writes to
        out.stdout and out.stderr."""
        out = out or self.logs / f"{len(self.started) + 1:04d}"
        request = {
            "start": [fault, script, *overrides],
            "cwd": str(cwd or self.cwd),
            "out": str(out),
            "fresh": fresh,
            "environment": environment,
        }
        pid = self.ask(request)
        self.started.append(Command(self, pid, out))
        return self.started[-1]

    def run(self, script: str, *overrides: str, fault: str = "none", status: int = 0) -> Command:
        command = self.start(script, *overrides, fault=fault)
        found = command.wait()
        assert found == status, (found, command.stdout[-500:], command.stderr[-3000:])
        return command

    def close(self) -> None:
        """End it, and what a failed test has left running."""
        assert self.process.stdin and self.process.stdout
        for command in self.started:
            if command.poll() is None:
                command.kill_all()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()  # it has nothing to finish
        self.process.wait()


TRAINED = (
    "data=camvid", "data.root=d1", "network.width=0.03125", "network.batch_norm=true",
    "data.crop=[32,40]", "batch=2", "log_every=1", "device=cpu", "precision=fp32",
)  # fmt: skip
"""Settings of a training of seconds; `steps` and what a test is about go with it."""

IMPORTED = (
    "adapt.cli.main", "adapt.training.adapt", "adapt.shift.distort", "adapt.analysis.fisher",
    "adapt.evaluation.evaluate", "adapt.cli.study", "albumentations", "torchvision",
    "torch.utils.tensorboard", "adapt.cli.adapt", "adapt.cli.weights", "adapt.cli.dry_run",
    "matplotlib.style", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "hydra._internal.hydra", "hydra.core.override_parser.overrides_parser", "faults",
)  # fmt: skip


def warm_up() -> None:
    """Import what the scripts import; what would start a thread is left to them."""
    sys.path[0] = str(HERE.parents[1])
    sys.path.append(str(HERE))
    for name in IMPORTED:
        importlib.import_module(name)
    import numpy as np
    import torch
    from PIL import Image

    from adapt.cli.composing import arguments, composed
    from transforms import cubism, photocopy

    Image.init()
    composed("train", arguments("train", [*TRAINED]).overrides)  # the parser fills its tables
    for late in (torch.optim.SGD, torch.optim.AdamW):
        late([torch.zeros(1)])
    for compiled in (cubism, photocopy):
        compiled(np.zeros((8, 8, 3), np.uint8))
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, "a process with threads cannot be forked"
    gc.freeze()  # the children neither look through all of this nor copy it


def become(
    started: list[str], cwd: str, out: str, fresh: bool, environment: dict[str, str]
) -> None:
    """In the forked child: a script's process."""
    import runpy

    os.environ.update(environment)
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup starts ignores this
    os.chdir(cwd)
    for name, descriptor in (("/dev/null", 0), (f"{out}.stdout", 1), (f"{out}.stderr", 2)):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    command = [str(HERE / "driver.py"), *started]
    if fresh:
        os.execv(sys.executable, [sys.executable, *command])
    sys.argv = command
    sys.path.insert(0, str(HERE))
    status: Any = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        status = ended.code or 0
    # As an interpreter ends, but for taking its modules apart, which takes longer than a command.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def waited(pid: int, timeout: float) -> int | None:
    """Exit status of a child, minus a signal's number; None = it still runs."""
    end = time.monotonic() + timeout
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    ended: dict[int, int] = {}
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        answer: int | None
        if "start" in request:
            answer = os.fork()
            if answer == 0:
                answers.close()
                become(request.pop("start"), **request)
        else:
            pid = request["wait"]
            if pid not in ended and (status := waited(pid, request["timeout"])) is not None:
                ended[pid] = status
            answer = ended.get(pid)
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    serve()
