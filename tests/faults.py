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
