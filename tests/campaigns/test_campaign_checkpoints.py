"""A short campaign of tests/campaigns/checkpoints.py, and that it would notice."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from campaigns import checkpoints, hostile_kinds

from adapt.disk import tensors


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("campaign") / "base"
    hostile_kinds.make(made)
    shutil.copyfile(made / "runs/student/config.yaml", made / "given.yaml")
    return made


def outcomes(base: Path, place: Path, names: tuple[str, ...], each: int) -> Counter[str]:
    """Of `each` cases of the named kinds, in this process."""
    found: Counter[str] = Counter()
    for kind in hostile_kinds.KINDS:
        if kind.name in names:
            wanted = checkpoints.reference(kind, base, place)
            for number in range(each):
                rng = np.random.default_rng([7, number])
                done = checkpoints.perform(kind, base, place, wanted, rng)
                assert done["outcome"] != "exception", done["detail"]
                found[done["outcome"]] += 1
    return found


def test_damaged_files_are_refused_or_as_they_were_saved(base: Path, tmp_path: Path) -> None:
    names = tuple(kind.name for kind in hostile_kinds.KINDS)
    found = outcomes(base, tmp_path / "copy", names, 6)
    assert not {o: found[o] for o in checkpoints.FAILURES if found[o]}
    assert found["refused"] > 3 * 18 and found["as saved"] + found["changed"] > 3


def test_a_guard_that_is_gone_is_noticed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "check_archive", lambda path: None)
    assert outcomes(base, tmp_path / "copy", ("weights .pth",), 25)["silently changed"]


@pytest.mark.system
def test_a_worker_that_dies_is_replaced(base: Path, tmp_path: Path) -> None:
    """The case is noted as a failure and the next one is served by another process."""
    worker = checkpoints.Worker(base, tmp_path / "work", 0)
    first = worker.process
    worker.give(0)
    first.kill()
    first.join()
    with pytest.raises((EOFError, ConnectionError)):
        worker.connection.recv()
    done = worker.end("crash")
    assert done["outcome"] == "crash" and done["detail"] == "exit status -9"
    assert worker.process.pid != first.pid
    worker.give(1)
    assert worker.connection.recv()["outcome"] in checkpoints.OUTCOMES
    worker.give(None)
    worker.process.join(60)
    assert worker.process.exitcode == 0 and os.getpid() != worker.process.pid
