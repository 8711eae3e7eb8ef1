"""The commands that a page shows: their settings exist and take these values."""

import re
import shlex
from pathlib import Path

import pytest
from commands import settings_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOWN = re.compile(r"^    fra (\w+) +(.*)$", re.MULTILINE)


@pytest.mark.parametrize(("page", "count"), [("real_cameras.md", 16)])
def test_commands_of_a_page_can_be_composed(page: str, count: int) -> None:
    found = SHOWN.findall((DOCS / page).read_text().replace("\\\n", " "))
    assert len(found) == count
    for name, rest in found:
        settings_of(name, *shlex.split(rest))
