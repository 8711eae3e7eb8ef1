"""Scripts of the product in several processes, as torchrun starts them."""

import subprocess
from pathlib import Path
from socket import create_server

from commands import python, warm
from warm import members

TESTS = Path(__file__).resolve().parent


def torchrun(script: str, *overrides: str, cwd: Path, fault: str = "none", count: int = 2) -> str:
    """What `script` prints in so many processes on this machine, each with a fault of faults.py."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    given = [str(TESTS / "driver.py"), fault, script, *overrides]
    return python(*several, *given, cwd=cwd).stdout


def forked(
    script: str, *overrides: str, cwd: Path, fault: str = "none", count: int = 2
) -> subprocess.CompletedProcess:
    """The same without its seconds of imports, and without torchrun, which ends the others where
    one has failed: here each sees for itself. Nothing that they have started outlives them."""
    with create_server(("localhost", 0)) as free:
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [
        warm().start(
            script, *overrides, cwd=cwd, fault=fault,
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), **place,
        )
        for rank in range(count)
    ]  # fmt: skip
    status = max(abs(rank.wait()) for rank in ranks)
    assert not any(members(rank.pid) for rank in ranks)
    printed = ("".join(getattr(rank, name) for rank in ranks) for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess([script], status, *printed)
