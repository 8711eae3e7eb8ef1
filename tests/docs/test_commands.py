"""The commands that pages show: their settings exist and take these values."""

import re
import shlex
from pathlib import Path

import pytest
from commands import COMMANDS, settings_of

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"^    (?:fra |python scripts/)(\w+)(?:\.py)? +(.*)$", re.MULTILINE)
PLACEHOLDER = re.compile(r"…|\.\.\.|=NAME\b")


def shown(page: Path) -> list[tuple[str, list[str]]]:
    """Commands and what they are given; scripts that are no commands, and lines with a part left
    out, are not among them."""
    text = re.sub(r" *\\\n *", " ", page.read_text())
    return [
        (name, [word for word in shlex.split(rest, comments=True) if word != "-m"])
        for name, rest in SHOWN.findall(text)
        if name in COMMANDS and not PLACEHOLDER.search(rest)
    ]


PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if shown(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_can_be_composed(page: Path) -> None:
    for name, given in shown(page):
        settings_of(name, *given)


def test_commands_are_found() -> None:
    assert len(PAGES) > 10 and sum(len(shown(page)) for page in PAGES) > 80
