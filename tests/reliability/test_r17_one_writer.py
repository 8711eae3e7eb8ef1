"""R17: one writer for a run, a twin, a Fisher file and a study; a dead one blocks nobody."""

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest
from campaigns.kills import run_result
from warm import TRAINED, Command, Warm

from adapt.disk.lock import only_writer
from adapt.errors import InputError

pytestmark = pytest.mark.system
GIVEN = (*TRAINED, "steps=6", "checkpoint_every=2")


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Name -> inode, time of change and content of every file."""
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes())
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def wait_for(path: Path, command: Command) -> None:
    while not path.exists():
        assert command.poll() is None, command.stderr
        time.sleep(0.002)


def test_r17_of_two_that_start_at_once_one_survives(warm: Warm, world: Path) -> None:
    given = ("train.py", *GIVEN, "run=twice")
    commands = [warm.start(*given, fault="wait_at_step:3,10") for _ in range(2)]
    statuses = [command.wait() for command in commands]
    assert sorted(statuses) == [0, 2]
    loser = commands[statuses.index(2)]
    assert loser.stderr.startswith("error: run: another process is writing twice")
    warm.run("train.py", *GIVEN, "run=once")
    assert run_result(world / "twice") == run_result(world / "once")


def test_r17_the_second_touches_nothing_and_a_dead_owner_blocks_nobody(
    warm: Warm, world: Path
) -> None:
    run, given = world / "owned", ("train.py", *GIVEN, "run=owned")
    owner = warm.start(*given, "workers=2", fault="wait_at_step:3,300")
    wait_for(run / "checkpoints" / "step_00000002", owner)
    while len((run / "metrics.jsonl").read_text().splitlines()) < 3:
        time.sleep(0.01)
    before: dict[str, tuple[int, int, bytes]] = {}
    while before != (before := state(run)):  # until the owner has come to its pause
        time.sleep(0.5)
    second = warm.run(*given, status=2)
    assert "another process is writing owned" in second.stderr
    assert state(run) == before
    owner.kill()
    assert owner.wait() == -9
    warm.run(*given)  # while the dead owner's workers, which shared its lock, may still live


TWIN = ("make_distorted_voc.py", "data=camvid", "data.root=d1", "shift=photocopy", "workers=1")
FISHER = ("fisher.py", "run=teacher", "device=cpu")
STUDY = (
    "study.py", "experiment=camvid_small", "data.root=d1", "data.resize=[]", "data.crop=[32,40]",
    "network.width=0.03125", "supervised.steps=2", "batch=2", "device=cpu",
)  # fmt: skip
OTHERS = {
    "twin": ((*TWIN, "out=owned_twin"), "slow_filter", "out: another process is writing"),
    "fisher": ((*FISHER, "out=owned.safetensors"), "slow_scores", "out: another process is"),
    "study": ((*STUDY, "runs=owned_study"), "wait_at_step", "runs: another process does the"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_r17_twins_fisher_files_and_studies_have_one_writer(
    warm: Warm, world: Path, name: str
) -> None:
    given, fault, message = OTHERS[name]
    marker = world / f"owned_{name}.marker"
    if name == "study":
        owner = warm.start(*given, fault=f"{fault}:1,300")
        wait_for(world / "owned_study/seed0/teacher/config.yaml", owner)
    else:
        owner = warm.start(*given, fault=f"{fault}:{marker},300")
        wait_for(marker, owner)
    second = warm.run(*given, status=2)
    assert second.stderr.startswith(f"error: {message}") and "Traceback" not in second.stderr
    owner.kill()
    assert owner.wait() == -9
    if name != "study":
        warm.run(*given)
        assert not (world / "owned_twin/lock").exists() and not (world / "owned.lock").exists()
    else:
        stopped = warm.run(*given, fault="signal_at_step:1,SIGTERM", status=143)
        assert "study/seed0/teacher resumes at step 1" in stopped.stderr


def test_r17_two_evaluations_of_one_run_are_harmless(warm: Warm, world: Path) -> None:
    """They read, and replace whole files by equal ones."""
    given = ("evaluate.py", "run=teacher", "device=cpu", "split=train")
    marker = world / "evaluating.marker"
    commands = [warm.start(*given, fault=f"slow_prediction:{marker},1") for _ in range(2)]
    assert [command.wait() for command in commands] == [0, 0]
    assert commands[0].stdout == commands[1].stdout
    assert not list((world / "teacher").glob(".*"))


def test_r17_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlocked(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unlocked)
    with (
        pytest.raises(InputError, match=r"lock: cannot be locked \(No locks available\)"),
        only_writer(tmp_path / "lock", "run"),
    ):
        pass
