"""Readers that leave: `| head`, streams that were never there, a terminal that is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns.kills import run_result
from warm import TRAINED, Warm

from adapt.disk.runs import read_metrics

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, str(ROOT / "scripts/train.py"), *TRAINED, "data.root=d1"]
pytestmark = pytest.mark.system


@pytest.mark.parametrize("ending", ["| head -c 9", ">&- 2>&-", "2>&1 >&- | head -c 9"])
def test_r10_a_training_outlives_its_readers(world: Path, ending: str) -> None:
    """It ends as ever, says nothing of it, and none of its files has what it would have said."""
    run = world / f"unread{len(ending)}"
    command = f'"$@" {ending}; echo "status ${{PIPESTATUS[0]}}"'
    called = ["bash", "-c", command, "bash", *TRAIN, "steps=2", f"run={run.name}"]
    done = subprocess.run(called, cwd=world, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("status 0\n") and not done.stderr, done
    assert (run / "summary.json").is_file()
    unread = f"{run.name}: finished".encode()
    assert not any(unread in p.read_bytes() for p in run.rglob("*") if p.is_file())


def test_r10_a_lost_terminal_is_a_signal_to_save(warm: Warm, world: Path, tmp_path: Path) -> None:
    """SIGHUP from the kernel, with a bar that cannot be drawn any more; then R2."""
    given, metrics = ("steps=40", "run=lost"), world / "lost/metrics.jsonl"
    keyboard, terminal = os.openpty()
    for stream in ("stdout", "stderr"):  # the first one that a session opens is its terminal
        (tmp_path / f"out.{stream}").symlink_to(os.ttyname(terminal))
    command = warm.start("train.py", *TRAINED, *given, out=tmp_path / "out")
    command.until(lambda: metrics.is_file() and metrics.read_text().endswith("\n"))
    os.close(terminal)
    os.close(keyboard)
    assert command.wait() == 128 + signal.SIGHUP
    assert 0 < read_metrics(world / "lost")[-1]["step"] < 40
    warm.run("train.py", *TRAINED, *given)
    warm.run("train.py", *TRAINED, "steps=40", "run=kept")
    found, wanted = run_result(world / "lost"), run_result(world / "kept")
    assert {k: v for k, v in found.items() if k in wanted} == wanted


def test_r10_nohup_is_left_alone(warm: Warm, world: Path) -> None:
    given = (*TRAINED, "data.root=d1", "steps=30", "run=nohup")
    command = warm.start("train.py", *given, fault="no_hangup")
    command.until((world / "nohup/config.yaml").is_file)
    command.kill(signal.SIGHUP)
    assert command.wait() == 0
