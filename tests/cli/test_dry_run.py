"""--dry-run: what is said is what is done afterwards, and nothing is written."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from warm import Warm

pytestmark = pytest.mark.system


def state(root: Path) -> dict[str, int]:
    """Every file and folder with the time of its last change."""
    return {str(p): p.lstat().st_mtime_ns for p in [root, *root.rglob("*")]}


@pytest.fixture(scope="module")
def warm(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with closing(Warm(world, tmp_path_factory.mktemp("logs"))) as made:
        yield made


def test_a_training_is_described_before_it_is_made(warm: Warm, world: Path) -> None:
    """Whether it is new, begun or finished; and refused as the training itself would be."""
    given = ("adapt.py", "data.target=d2", "teacher=teacher", "run=dry/student", "steps=2",
             "batch=2", "device=cpu", "precision=fp32")  # fmt: skip
    before = state(world)
    planned = warm.run(*given, "--dry-run").stdout.splitlines()
    assert state(world) == before
    done = warm.run(*given).stdout.splitlines()
    assert planned == [*done[: len(planned) - 1], "would start in dry/student"]
    assert len(planned) > 2 and "penalty l2_sp on" in planned[0]
    again = warm.run(*given, "--dry-run").stdout
    assert "would do nothing: dry/student is finished" in again
    refused = warm.run(*given, "seed=1", "--dry-run", status=2).stderr
    assert "started with another configuration" in refused and "seed: 0 -> 1" in refused
    wrong = ("objective=custom", "+objective.regression.taps={pol3: 1}", "--dry-run")
    refused = warm.run(*given, *wrong, status=2).stderr
    assert "pol3" in refused and len(refused.splitlines()) == 1


def test_other_commands_check_their_settings(warm: Warm, world: Path) -> None:
    before = state(world)
    scored = warm.run("evaluate.py", "run=teacher", "--dry-run").stdout
    assert "would score teacher on 3 images of camvid, d1, val" in scored
    scanned = warm.run("scan.py", "data=camvid", "data.root=d1", "--dry-run").stdout
    assert {"data.name=camvid", "data.root=d1", "near=24"} <= set(scanned.splitlines())
    several = warm.run("train.py", "seed=1,2", "-m", "--dry-run", status=2).stderr
    assert several.startswith("error: --dry-run looks at one run, -m makes several; see train")
    assert state(world) == before
