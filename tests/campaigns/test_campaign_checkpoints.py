"""A short campaign of tests/campaigns/checkpoints.py, and that it would notice."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from campaigns.checkpoints import FAILURES, KINDS, make, perform

from adapt.disk import tensors


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("campaign") / "base"
    make(made)
    return made


def outcomes(base: Path, place: Path, name: str, count: int) -> Counter[str]:
    """Of the first cases of a kind."""
    found: Counter[str] = Counter()
    for number in range(count):
        done = perform(name, base, place, np.random.default_rng([7, number]))
        assert done["outcome"] != "exception", done["detail"]
        found[done["outcome"]] += 1
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_or_as_it_was_saved(
    name: str, base: Path, tmp_path: Path
) -> None:
    found = outcomes(base, tmp_path / "copy", name, 20)
    assert not {outcome: found[outcome] for outcome in FAILURES if found[outcome]}
    assert found["refused"] > 2, "damage that nobody notices proves little"


def test_a_guard_that_is_gone_is_noticed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "check_archive", lambda path: None)
    assert outcomes(base, tmp_path / "copy", "weights .pth", 25)["silently changed"]
