"""R4: a corrupt checkpoint is refused by name; resuming falls back to the previous one, loudly."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from campaigns.kills import files_result
from tiny import Interrupted, crash_at, curve, flip, same, teaching
from warm import TRAINED, Warm

from adapt.disk import checkpoint
from adapt.errors import InputError
from adapt.training.train import train as fit

GIVEN = (*TRAINED, "steps=6", "checkpoint_every=2")
OLD, NEW = "step_00000002", "step_00000004"


def train(warm: Warm, run: str, status: int = 0, fault: str = "none") -> str:
    done = warm.run("train.py", *GIVEN, f"run={run}", status=status, fault=fault)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def straight(warm: Warm, world: Path) -> Path:
    """The undisturbed run."""
    train(warm, "r04_straight")
    return world / "r04_straight"


@pytest.fixture(scope="module")
def killed(warm: Warm, world: Path) -> Path:
    """A run killed in step 5, with checkpoints of steps 2 and 4."""
    train(warm, "r04_killed", status=-9, fault="kill_at_step:5")
    return world / "r04_killed"


@pytest.mark.system
def test_r04_resuming_uses_the_older_one(warm: Warm, straight: Path, killed: Path) -> None:
    """Other kinds of damage, without the command: tests/disk/test_checkpoint.py, the campaign."""
    run = killed.with_name("r04_flipped")
    shutil.copytree(killed, run)
    flip(run / "checkpoints" / NEW / "state.pt")
    said = train(warm, run.name)
    assert f"warning: skipping a damaged checkpoint, now {NEW}.damaged: " in said
    assert f"checkpoints/{NEW}/state.pt" in said and f"resuming {run.name} at step 2" in said
    assert same(run, straight) and curve(run) == curve(straight)
    found, warnings = checkpoint.newest(run / "checkpoints")
    assert found is not None and found.step == 6 and not warnings
    assert checkpoint.load(run / "checkpoints" / NEW).step == 4, "written again"


@pytest.mark.system
def test_r04_none_intact_is_an_error_and_touches_nothing(warm: Warm, killed: Path) -> None:
    """The two have each other's state."""
    run = killed.with_name("r04_none")
    shutil.copytree(killed, run)
    old, new = (run / "checkpoints" / name / "state.pt" for name in (OLD, NEW))
    contents = old.read_bytes(), new.read_bytes()
    new.write_bytes(contents[0])
    old.write_bytes(contents[1])
    before = files_result(run)
    said = train(warm, run.name, status=2)
    assert "Traceback" not in said and "none of the checkpoints in" in said
    assert f"{OLD}/" in said and f"{NEW}/" in said, "each is named with its fault"
    assert "Bring one back from a backup, or delete that folder to start from scratch" in said
    assert files_result(run) == before


def test_r04_damaged_checkpoints_do_not_crowd_out_intact_ones(tmp_path: Path) -> None:
    """A newer one is damaged: saves that follow must not prune what the run lives on."""
    for step in (5, 10):
        checkpoint.save(tmp_path, step, {"w": torch.arange(4.0), "at": step}, {}, 0.0)
    flip(tmp_path / "step_00000010" / "state.pt")
    found, warnings = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 5 and len(warnings) == 1
    for step, kept in ((6, [5, 6]), (10, [6, 10])):
        checkpoint.save(tmp_path, step, {"w": torch.arange(4.0), "at": step}, {}, 0.0)
        assert [checkpoint.load(p).state["at"] for p in checkpoint.committed(tmp_path)] == kept


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("student"),
        lambda state: state["optimizer"].update(param_groups=[]),
        lambda state: state.update(rng=[[torch.zeros(3)]]),
    ],
)
def test_r04_another_state_is_refused(
    world: Path, tmp_path: Path, change: Callable[[dict], object]
) -> None:
    """Its digests agree, as in a folder that somebody put together."""
    config = teaching(world, run=str(tmp_path / "run"), checkpoint_every=2)
    with pytest.raises(Interrupted):
        fit(config, crash_at(3))
    (old,) = checkpoint.committed(tmp_path / "run" / "checkpoints")
    found = checkpoint.load(old)
    shutil.rmtree(old)
    change(found.state)
    checkpoint.save(old.parent, 2, found.state, found.meta["inputs"], 1.0)
    with pytest.raises(InputError, match="the checkpoint of step 2 holds no training's state"):
        fit(config)
