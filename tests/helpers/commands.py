"""Commands as a user gives them: composed, or as the real scripts in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adapt.cli.commands import COMMANDS
from adapt.cli.composing import composed
from adapt.settings.mapping import build

ROOT = Path(__file__).resolve().parents[2]


def settings_of(command: str, *overrides: str) -> Any:
    values = OmegaConf.to_container(composed(command, list(overrides)), resolve=True)
    assert isinstance(values, dict) and values.pop("hydra")
    return build(COMMANDS[command].settings(), values)


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


def run(script: str, *overrides: str, **given: Any) -> subprocess.CompletedProcess:
    """A script of scripts/."""
    return python(str(ROOT / "scripts" / script), *overrides, **given)
