"""Time to quality: what a recipe trains, what counts as its time, and the table."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from adapt.disk.files import write_json
from adapt.errors import InputError
from results.page.contest import quickest


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, whose commands are kept in `asked`; each takes a second, and agreement is 40."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    module, asked = import_module("scripts.speedrun"), []

    def fra(command: str, *settings: str) -> None:
        asked.append((command, dict(one.split("=", 1) for one in settings)))
        if command == "evaluate":
            out = Path(asked[-1][1]["out"])
            write_json(out / "metrics_x.json", {"agreement": {"miou": 40.0}})

    monkeypatch.setattr(module, "fra", fra)
    monkeypatch.setattr(sys.modules["scripts.roadscene"], "fra", fra)
    monkeypatch.setattr(module, "processor_seconds", lambda: float(len(asked)))
    monkeypatch.setattr(module, "asked", asked, raising=False)
    return module


def test_trainings_follow_one_another_and_judging_takes_no_time(
    script: Any, tmp_path: Path
) -> None:
    home = tmp_path / "first"
    (home / "0").mkdir(parents=True)  # of an interrupted one, whose time nobody knows
    told = ("teacher=T", "data.target=D")
    found = script.measured("half-sized images first", home, (3000, 300), *told)
    assert found == {"seconds": 3.0, "images": 2400, "watch": 40.0, "judge": 40.0}
    assert not (home / "0").exists(), "it began anew"
    (_, first), (_, second), (_, watched), (_, judged) = script.asked
    assert first["steps"] == second["steps"] == "150"
    assert (first["data.crop"], "data.crop" in second) == ("[72,96]", False)
    assert "start" not in first and second["start"] == first["run"]
    assert (watched["split"], judged["split"]) == ("watch", "judge")
    assert watched["run"] == second["run"] and watched["data.target"] == "D"
    assert script.measured("half-sized images first", home, (3000, 300), *told) == found
    assert len(script.asked) == 4, "what is finished is not done again"
    with pytest.raises(InputError, match=r"record\.json is of \[3000, 300\]; give another --runs"):
        script.measured("half-sized images first", home, (2, 1), *told)


def test_a_recipe_is_a_tenth_of_the_long_one(script: Any, tmp_path: Path) -> None:
    images = {
        name: script.measured(name, tmp_path / name, (3000, 300))["images"]
        for name in (script.LONG, script.TENTH, "half the batch, twice the steps")
    }
    assert [*images.values()] == [24000, 2400, 2400]


def test_who_gets_there_is_held_against_the_long_one_of_the_same_seed() -> None:
    rows = [
        ("long", 0, 1000.0, 60.0, 50.0), ("long", 1, 500.0, 70.0, 40.0),
        ("fast", 0, 100.0, 59.5, 48.0), ("fast", 1, 100.0, 68.0, 40.0),
    ]  # fmt: skip
    found = [
        {"recipe": name, "shift": "ripple", "seed": seed, "seconds": spent, "images": 2400,
         "watch": watch, "judge": judge}
        for name, seed, spent, watch, judge in rows
    ]  # fmt: skip
    lines = quickest({"machine": "Z80", "date": "2026-01-02", "found": found}).splitlines()
    assert lines[3] == "| fast | 100 | 0.15 | 2,400 | -1.0 | 1 of 2 | 1 of 2 |"
    assert lines[-1] == "*Z80, 2026-01-02.*"
