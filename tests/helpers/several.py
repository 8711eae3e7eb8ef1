"""Scripts of the product in several processes, as torchrun starts them."""

import subprocess
from pathlib import Path

from commands import python

TESTS = Path(__file__).resolve().parent


def torchrun(
    script: str, *overrides: str, cwd: Path, fault: str = "none", count: int = 2
) -> subprocess.CompletedProcess:
    """`script` in so many processes on this machine, each with a fault of faults.py."""
    return launch([str(TESTS / "driver.py"), fault, script, *overrides], cwd, count)


def launch(command: list[str], cwd: Path, count: int) -> subprocess.CompletedProcess:
    """A Python file with its arguments, in so many processes."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return python(*(several if count > 1 else []), *command, cwd=cwd, status=None)
