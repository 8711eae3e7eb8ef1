"""docs/reliability.md: each requirement has a row, each row its tests, each campaign its counts."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("number", range(1, 24))
def test_each_requirement_has_its_row_and_its_tests(number: int) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| R{number} |")]
    assert len(rows) == 1
    assert f"`test_r{number:02d}_*`" in rows[0]
    assert any(name.startswith(f"test_r{number:02d}_") for name in TESTS)


@pytest.mark.parametrize("page", ["reliability.md", "threats.md"])
def test_named_tests_exist(page: str) -> None:
    named = re.findall(r"`(test_\w+)(\*?)`", (ROOT / "docs" / page).read_text())
    assert named
    for name, star in named:
        assert name in TESTS or (star and any(t.startswith(name) for t in TESTS)), name


COUNTED = {
    "campaign_kills.json": (200, lambda found: found["kills"], lambda found: found["not equal"]),
    "campaign_faults.json": (
        1000,
        lambda found: found["cases"],
        lambda found: found["again"][-1]["failures"],
    ),
    "campaign_checkpoints.json": (500, lambda found: found["cases"], lambda f: f["failures"]),
}


@pytest.mark.parametrize("name", COUNTED)
def test_campaigns_were_run_as_the_page_says(name: str) -> None:
    least, count, failures = COUNTED[name]
    found = json.loads((ROOT / "results" / name).read_text())
    assert count(found) >= least and not failures(found)
    assert f"{count(found):,}" in PAGE and found["date"] in PAGE
