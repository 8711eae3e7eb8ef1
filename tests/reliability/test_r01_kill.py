"""R1: kill -9 at any moment leaves what was finished, and the same command goes on from it."""

import time
from pathlib import Path

import pytest
from campaigns.kills import Campaign, files_result, table
from tiny import teaching
from warm import Warm, members

from adapt.disk import checkpoint
from adapt.training.train import train

pytestmark = pytest.mark.system
TWIN = ("data=camvid", "data.root=d1", "shift=cubism", "labels=moved")


def test_r01_newest_checkpoint_loads_after_a_kill_while_saving(warm: Warm, tmp_path: Path) -> None:
    """Twelve kills, staggered over the 10 ms or so that a save takes."""
    torn = 0
    for number in range(12):
        folder = tmp_path / str(number)
        command = warm.start("train.py", fault=f"save_forever:{folder}")
        command.until(lambda folder=folder: len(checkpoint.committed(folder)) >= 2)
        time.sleep(0.0025 * number)
        command.kill()
        assert command.wait() == -9
        saved = checkpoint.committed(folder)
        torn += len(list(folder.iterdir())) - len(saved)
        found, warnings = checkpoint.newest(folder)
        assert found and not warnings, warnings
        assert set(found.state["student"]["w"].tolist()) == {float(found.step)}
        assert checkpoint.load(saved[-2]).step == found.step - 1, "the previous one is there too"
        checkpoint.clean(folder)
        assert sorted(folder.iterdir()) == saved, "what was torn is gone"
    assert torn, "some kills hit a save"


def test_r01_killed_twin_is_made_to_the_same_bytes(warm: Warm, world: Path) -> None:
    warm.run("make_distorted_voc.py", *TWIN, "out=clean", "workers=1")
    killed = 0
    for number in range(5):
        command = warm.start("make_distorted_voc.py", *TWIN, "out=killed", "workers=1")
        while not (world / "killed" / "shift.json").exists() and command.poll() is None:
            pass
        time.sleep(0.03 * number)
        command.kill()
        killed += command.wait() == -9
    torn = world / "killed" / "train" / ".train_000.png.tmp-7"  # after a write, before its rename
    torn.parent.mkdir(exist_ok=True)
    torn.write_bytes(b"half")
    warm.run("make_distorted_voc.py", *TWIN, "out=killed", "workers=1")
    assert killed > 1 and files_result(world / "killed") == files_result(world / "clean")


def test_r01_workers_do_not_outlive_a_killed_parent(warm: Warm, world: Path) -> None:
    """Else they would sleep forever, half a gigabyte each."""
    command = warm.start("make_distorted_voc.py", *TWIN, "out=orphaned", "workers=2")
    command.until((world / "orphaned" / "train").exists)
    assert len(members(command.pid)) > 2
    command.kill()
    assert command.wait() == -9
    end = time.monotonic() + 20
    while (left := members(command.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def test_r01_killed_before_its_configuration_it_starts_again(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("lock", "env.json", ".env.json.tmp-7", ".config.yaml.tmp-7"):
        (run / name).write_text("")
    train(teaching(world, run=str(run), steps=1))
    assert (run / "summary.json").is_file() and not list(run.glob(".*"))


def test_r01_campaign_of_kills_in_short(warm: Warm, world: Path) -> None:
    """Two trainings, as tests/campaigns/kills.py does with every command by the hundred."""
    short = Campaign(world, warm, seed=1, steps=8)
    found = table([short.round(number, "train") for number in (0, 2)])
    assert found["kills"] >= 2 and found["not equal"] == []
