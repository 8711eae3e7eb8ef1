"""The real scripts in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(
    script: str, *overrides: str, cwd: Path, status: int | None = 0, **environment: str
) -> subprocess.CompletedProcess:
    """A script of scripts/, called from `cwd`; None = whatever its exit status is."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *overrides],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert status in (None, done.returncode), (done.returncode, done.stderr)
    return done
