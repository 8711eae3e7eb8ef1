"""R17: one writer for a run, a twin, a Fisher file and a study; a dead one blocks nobody."""

import errno
import fcntl
import time
from pathlib import Path

import pytest
from campaigns.kills import run_result
from warm import TRAINED, Warm

from adapt.disk.lock import only_writer
from adapt.errors import InputError

GIVEN = (*TRAINED, "steps=6", "checkpoint_every=2")


def state(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Inode, time of change and content of every file."""
    files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return {path: (of.st_ino, of.st_mtime_ns, path.read_bytes()) for path, of in files}


@pytest.mark.system
def test_r17_of_two_that_start_at_once_one_survives(warm: Warm, world: Path) -> None:
    given = ("train.py", *GIVEN, "run=twice")
    commands = [warm.start(*given, fault="wait_at_step:3,3") for _ in range(2)]
    statuses = [command.wait() for command in commands]
    assert sorted(statuses) == [0, 2]
    loser = commands[statuses.index(2)]
    assert loser.stderr.startswith("error: run: another process is writing twice")
    warm.run("train.py", *GIVEN, "run=once")
    assert run_result(world / "twice") == run_result(world / "once")


@pytest.mark.system
def test_r17_a_second_touches_nothing_a_dead_owner_blocks_nobody(warm: Warm, world: Path) -> None:
    run, given = world / "owned", ("train.py", *GIVEN, "run=owned")
    owner = warm.start(*given, "workers=2", fault="wait_at_step:3,300")
    owner.until((run / "checkpoints" / "step_00000002").exists)
    owner.until(lambda: len((run / "metrics.jsonl").read_text().splitlines()) >= 3)
    before: dict[Path, tuple[int, int, bytes]] = {}
    while before != (before := state(run)):  # until the owner has come to its pause
        time.sleep(0.5)
    second = warm.run(*given, status=2)
    assert "another process is writing owned" in second.stderr
    assert state(run) == before
    owner.kill()
    assert owner.wait() == -9
    warm.run(*given)  # while the dead owner's workers may still live


OTHERS = {
    "twin": (
        "owned_twin/lock", "out: another process is writing owned_twin",
        ("make_distorted_voc.py", "data=camvid", "data.root=d1", "shift=photocopy", "workers=1",
         "out=owned_twin"),
    ),
    "fisher": (
        "owned.lock", "out: another process is writing owned.safetensors",
        ("fisher.py", "run=teacher", "device=cpu", "out=owned.safetensors"),
    ),
    "study": (
        "owned_study/lock", "runs: another process does the study in owned_study",
        ("study.py", "experiment=camvid_small", "data.root=d1", "data.resize=[]",
         "data.crop=[32,40]", "network.width=0.03125", "device=cpu", "runs=owned_study"),
    ),
}  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize("name", OTHERS)
def test_r17_other_outputs_have_one_writer(warm: Warm, world: Path, name: str) -> None:
    lock, message, given = OTHERS[name]
    with only_writer(world / lock, "this test"):
        there = state((world / lock).parent)
        second = warm.run(*given, status=2)
        assert second.stderr == f"error: {message} (it holds {lock})\n"
        assert state((world / lock).parent) == there
    assert not (world / lock).exists()
    if name != "study":
        warm.run(*given)
        assert not (world / lock).exists()


def test_r17_no_locks_and_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is named, a link is not followed."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"), only_writer(tmp_path / "link", "run"):
        pass
    assert not (tmp_path / "elsewhere").exists()

    def unlocked(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unlocked)
    words = r"lock: cannot be locked \(No locks available\)"
    with pytest.raises(InputError, match=words), only_writer(tmp_path / "lock", "run"):
        pass
