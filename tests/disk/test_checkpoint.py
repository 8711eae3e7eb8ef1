"""Checkpoints, run folders and records: whole or absent, verified, rewound."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tiny import flip

from adapt.disk import checkpoint, files
from adapt.disk.runs import METRICS, open_run, read_config, read_metrics, revision
from adapt.errors import InputError

STATE = {"student": {"w": torch.arange(4.0)}, "rng": [torch.get_rng_state()]}
OLD, NEW = "step_00000005", "step_00000010"


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.save(folder, step, {**STATE, "at": step}, {}, 0.0)


def test_saved_state_comes_back_and_the_newest_two_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, 15)
    assert [p.name for p in checkpoint.committed(tmp_path)] == [NEW, "step_00000015"]
    found, warnings = checkpoint.newest(tmp_path)
    assert found and found.step == found.state["at"] == 15 and not warnings
    assert torch.equal(found.state["student"]["w"], STATE["student"]["w"])


DAMAGE = {
    "flipped": lambda p: flip(p / "state.pt"),
    "gone": lambda p: (p / "state.pt").unlink(),
    "a folder": lambda p: ((p / "state.pt").unlink(), (p / "state.pt").mkdir()),
    "state of another": lambda p: shutil.copy(p.with_name(OLD) / "state.pt", p),
    "renamed": lambda p: (shutil.rmtree(p), shutil.copytree(p.with_name(OLD), p)),
    "no meta": lambda p: (p / "meta.json").unlink(),
    "bad meta": lambda p: (p / "meta.json").write_text('{"format'),
    "poor meta": lambda p: (p / "meta.json").write_text('{"format": 2, "step": 10}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_is_named_and_the_previous_one_used(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 5, 10)
    DAMAGE[damage](tmp_path / NEW)
    with pytest.raises(InputError, match=NEW):
        checkpoint.load(tmp_path / NEW)
    found, warnings = checkpoint.newest(tmp_path)
    assert found and found.step == 5
    assert len(warnings) == 1 and NEW in warnings[0]


def test_leftovers_are_not_checkpoints_and_are_cleaned(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / f"{NEW}.tmp-123").mkdir()
    assert [p.name for p in checkpoint.committed(tmp_path)] == [OLD]
    checkpoint.clean(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [OLD]


def test_other_configuration_is_refused_and_harmless_ones_are_not(tmp_path: Path) -> None:
    first = {"steps": 1, "workers": 0, "penalty": {"alpha": 0.1}}
    with open_run(tmp_path / "r", first) as run:
        recorded = run.recorded
    changed = first | {"penalty": {"alpha": 0.2}}
    with (
        pytest.raises(InputError, match=r"penalty\.alpha: 0\.1 -> 0\.2"),
        open_run(tmp_path / "r", changed),
    ):
        pass
    with open_run(tmp_path / "r", first | {"workers": 3}) as run:
        assert run.recorded == recorded
    kept = read_config(tmp_path / "r")
    assert kept["penalty"]["alpha"] == 0.1 and kept["workers"] == 0


def test_foreign_folder_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not a run folder"), open_run(tmp_path, {}):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_metrics_are_rewound_and_a_cut_line_dropped(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", {}) as run:
        for step in (1, 2, 3):
            run.log({"step": step})
        with (run.path / METRICS).open("a") as stream:
            stream.write('{"step": 4, "lo')
        assert [r["step"] for r in read_metrics(run.path)] == [1, 2, 3]
        run.rewind(2)
        run.log({"step": 3})
        assert (run.path / METRICS).read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_json_has_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [float("nan"), (1.5, float("inf"))]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, [1.5, None]]}


@pytest.mark.system
def test_the_record_of_the_code_leaves_its_repository_alone(tmp_path: Path) -> None:
    """An index that git could refresh stays as it is: it was not locked."""
    user = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    (tmp_path / "a.py").write_text("a = 1\n")
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert revision(tmp_path) == {"commit": "", "dirty": True}
    for command in (["add", "a.py"], [*user, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    index = tmp_path / ".git/index"
    os.utime(tmp_path / "a.py", (1, 1))
    before = index.read_bytes()
    found = revision(tmp_path)
    assert len(found["commit"]) == 40 and not found["dirty"]
    assert index.read_bytes() == before
