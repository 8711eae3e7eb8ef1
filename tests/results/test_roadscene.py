"""Visible to thermal by night and day: who is held out, and the table."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from results.page.tables import nights

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/roadscene.py"


def test_blocks_of_the_night_and_of_the_day_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(SCRIPT))
    image = np.full((90, 40, 3), 200, np.uint8)
    assert not script["is_night"](image)
    image[:30] = 20  # the sky alone says it
    assert script["is_night"](image)
    image[:30, :14] = 250  # a third of it between trees
    assert not script["is_night"](image)
    image[:30] = 160  # the light of lamps
    assert script["is_night"](image)
    night = [False] * 20 + [True, False] * 10 + [True] * 10
    parts = script["parts_of"](night)
    for dark, held in ((True, "night"), (False, "day")):
        own = [part for one, part in zip(night, parts, strict=True) if one == dark]
        assert own == ["train"] * (len(own) * 11 // 20) + ["val"] * (len(own) // 5) + [held] * (
            len(own) - len(own) * 11 // 20 - len(own) // 5
        )
    assert not any(part == "night" for one, part in zip(night, parts, strict=True) if not one)


def test_the_table_has_both_times() -> None:
    found = {"ESPNet": {"B0": {"night": 5.25, "day": 7.0}, "adapted": {"night": 9.0, "day": 12.0}}}
    pairs = {"day": 3, "night": 4, "train": 9, "val": 2}
    lines = nights({"about": "1 steps", "pairs": pairs, "found": found}).splitlines()
    assert lines[0] == "| teacher |  | day, 3 pairs | night, 4 pairs |"
    assert lines[3] == "| ESPNet | adapted | 12.0 | 9.0 |"
    assert lines[-1] == "*9 pairs to train on, 1 steps*"
