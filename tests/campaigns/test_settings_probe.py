"""Absurd values for every setting of every command end in a message, never in a traceback.

All values against the dataclasses here; the commands themselves in tests/campaigns/settings.py, of
whose cases a few are performed here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns.settings import COMMANDS, World, cases, changed

from adapt.errors import InputError
from adapt.settings.mapping import build

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = World(Path("world"), {"name": "scenes", "root": "d1"}, {"root": "d1"}, {})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_value_of_every_setting_is_taken_or_refused_by_name(name: str) -> None:
    base = COMMANDS[name].base(NOWHERE, Path("out"))
    refused = 0
    for case in cases([name], NOWHERE):
        try:
            build(COMMANDS[name].schema, changed(base, case.path, case.value))
        except InputError as error:
            refused += 1
            last = case.path[-1]
            assert last in str(error) or case.path[0] in str(error), f"{case}: {error}"
    assert refused > 10


@pytest.mark.system
def test_commands_end_in_words_whatever_they_are_told(tmp_path: Path) -> None:
    """A few cases of the campaign, which runs them all and is started by hand."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/campaigns/settings.py"), "--every", "90",
         "--commands", "train", "predict", "scan", "filters",
         "--out", str(tmp_path / "found.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["cases"] > 12 and found["counts"]["refused"] > 10 and not found["bad"]
