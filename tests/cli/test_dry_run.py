"""--dry-run: what is said is what is done afterwards, and nothing is written."""

from pathlib import Path

import pytest
from commands import run

pytestmark = pytest.mark.system


def state(root: Path) -> dict[str, int]:
    """Every file and folder with the time of its last change."""
    return {str(p): p.lstat().st_mtime_ns for p in [root, *root.rglob("*")]}


def test_a_training_is_described_before_it_is_made(world: Path) -> None:
    """Whether it is new, begun or finished; and refused as the training itself would be."""
    given = ("data.target=d2", "teacher=teacher", "run=dry/student", "steps=2", "batch=2",
             "device=cpu", "precision=fp32")  # fmt: skip
    before = state(world)
    planned = run("adapt.py", "--dry-run", *given, cwd=world).stdout.splitlines()
    assert state(world) == before
    done = run("adapt.py", *given, cwd=world).stdout.splitlines()
    assert planned == [*done[: len(planned) - 1], "would start in dry/student"]
    assert len(planned) > 2 and "penalty l2_sp on" in planned[0]
    again = run("adapt.py", *given, "--dry-run", cwd=world).stdout
    assert "would do nothing: dry/student is finished" in again
    refused = run("adapt.py", *given, "seed=1", "--dry-run", cwd=world, status=2).stderr
    assert "started with another configuration" in refused and "seed: 0 -> 1" in refused
    wrong = ("objective=custom", "+objective.regression.taps={pol3: 1}", "--dry-run")
    refused = run("adapt.py", *given, *wrong, cwd=world, status=2).stderr
    assert "pol3" in refused and len(refused.splitlines()) == 1


def test_other_commands_check_their_settings(world: Path) -> None:
    before = state(world)
    scored = run("evaluate.py", "run=teacher", "--dry-run", cwd=world).stdout
    assert "would score teacher on 3 images of camvid, d1, val" in scored
    scanned = run("scan.py", "data=camvid", "data.root=d1", "--dry-run", cwd=world).stdout
    assert {"data.name=camvid", "data.root=d1", "near=24"} <= set(scanned.splitlines())
    for given, words in (
        (("scan.py", "data=camvid", "data.root=d0"), "data.root: no such file or folder: d0"),
        (("calibrate.py", "teacher=techer"), "teacher: no such file or folder: techer"),
        (("merge.py", "runs=[teacher,techer]", "run=new"), "runs[1]: no such file or folder"),
    ):
        assert words in run(*given, "--dry-run", cwd=world, status=2).stderr
    several = run("train.py", "seed=1,2", "-m", "--dry-run", cwd=world, status=2).stderr
    assert several.startswith("error: --dry-run looks at one run, -m makes several; see train")
    assert state(world) == before
