"""Commands as a user gives them: composed, or as the real scripts in processes of their own."""

import atexit
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import OmegaConf
from warm import Warm

from adapt.cli.commands import COMMANDS
from adapt.cli.composing import composed
from adapt.settings.mapping import build
from adapt.settings.study import StudyConfig

ROOT = Path(__file__).resolve().parents[2]


def settings_of(command: str, *overrides: str) -> Any:
    values = OmegaConf.to_container(composed(command, list(overrides)), resolve=True)
    assert isinstance(values, dict) and values.pop("hydra")
    return build(COMMANDS[command].settings(), values)


def experiment(name: str, *overrides: str) -> StudyConfig:
    config = settings_of("study", f"experiment={name}", *overrides)
    assert isinstance(config, StudyConfig)
    return config


def python(
    *arguments: str, cwd: Path, status: int | None = 0, **environment: str
) -> subprocess.CompletedProcess:
    """An interpreter of its own, in `cwd`; None = whatever its exit status is."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert status in (None, done.returncode), (done.returncode, done.stdout, done.stderr)
    return done


@cache
def warm() -> Warm:
    """One for all tests of this process."""
    logs = TemporaryDirectory(prefix="commands-")
    made = Warm(Path(logs.name), Path(logs.name))
    atexit.register(lambda: (made.close(), logs.cleanup()))
    return made


def run(
    script: str, *overrides: str, cwd: Path, status: int | None = 0, **environment: str
) -> subprocess.CompletedProcess:
    """A script of scripts/, without its seconds of imports."""
    command = warm().start(script, *overrides, cwd=cwd, **environment)
    found = command.wait(300)
    assert status in (None, found), (found, command.stdout, command.stderr)
    return subprocess.CompletedProcess([script], found, command.stdout, command.stderr)
