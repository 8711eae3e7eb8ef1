"""Absurd values for every setting of every command end in a message, never in a traceback."""

import json
from pathlib import Path

import pytest
from campaigns.settings import BASES, cases, changed
from commands import ROOT, run

from adapt.cli.commands import COMMANDS
from adapt.errors import InputError
from adapt.settings.mapping import build

NOWHERE = Path("world")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_value_of_every_setting_is_taken_or_refused_by_name(name: str) -> None:
    base = BASES[name](NOWHERE, Path("out"))
    refused = 0
    for case in cases([name], NOWHERE):
        try:
            build(COMMANDS[name].settings(), changed(base, case.path, case.value))
        except InputError as error:
            refused += 1
            last = case.path[-1]
            assert last in str(error) or case.path[0] in str(error), f"{case}: {error}"
    assert refused > 10


@pytest.mark.system
def test_commands_end_in_words_whatever_they_are_told(tmp_path: Path) -> None:
    """A few cases of the campaign, which runs them all and is started by hand."""
    few = ["--every", "90", "--commands", "train", "predict", "scan", "filters"]
    script = str(ROOT / "tests/campaigns/settings.py")
    run(script, *few, "--out", str(tmp_path / "found.json"), cwd=ROOT)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["cases"] > 12 and found["counts"]["refused"] > 10 and not found["bad"]
