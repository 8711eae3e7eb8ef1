"""docs/seeds.md: what its rows name is there, and its counts are those of the rows."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from commands import settings_of

ROOT = Path(__file__).resolve().parents[2]
HEAD, *PARTS = re.split(r"^## (\w+): .+$", (ROOT / "docs/seeds.md").read_text(), flags=re.MULTILINE)
ROWS = {
    seed: [row[2:-2].split(" | ") for row in re.findall(r"^\| \d+ .+ \|$", text, re.MULTILINE)]
    for seed, text in zip(PARTS[::2], PARTS[1::2], strict=True)
}
EVERY = [row for rows in ROWS.values() for row in rows]
STATES = ("works", "works on other data", "needs data or weights", "open")
NAMED = {name for row in EVERY for cell in row for name in re.findall(r"`([^`]+)`", cell)}
COMMANDS = sorted(name for name in NAMED if name.startswith(("fra ", "scripts/")) and " " in name)


def state(row: list[str]) -> str:
    return row[-1].partition(":")[0]


def test_every_item_is_there_once_and_the_counts_are_those_of_the_rows() -> None:
    assert [int(row[0]) for row in EVERY] == [*range(1, 162)]
    assert {state(row) for row in EVERY} == {*STATES}
    counts = [Counter(map(state, rows)) for rows in (*ROWS.values(), EVERY)]
    lines = [("state", *map(str.lower, ROWS), "all")]
    lines += [(name, *(str(c[name]) for c in counts)) for name in STATES]
    for line in lines:
        assert f"| {' | '.join(line)} |\n" in HEAD


def test_a_row_names_files_a_test_and_a_way_or_says_why_not() -> None:
    for number, _, _, where, how, test, said in EVERY:
        assert said.startswith("open") or ("`tests/" in test and "-" not in (where, how)), number
        assert said == "works" or re.fullmatch(r"[a-z ]+: .+[^.]", said), f"{number}: why?"


def test_what_is_named_is_there() -> None:
    for name in sorted(NAMED - {*COMMANDS}):
        file, _, test = name.partition("::")
        if "/" in file:
            assert (ROOT / file).exists(), file
            assert not test or f"\ndef {test}(" in (ROOT / file).read_text(), name


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_can_be_composed(line: str) -> None:
    """Those of the index scripts, which are no commands of fra, are a folder's name."""
    program, *rest = shlex.split(line)
    name = rest.pop(0) if program == "fra" else Path(program).stem
    if name.startswith("index_"):
        assert (ROOT / program).is_file() and len(rest) == 1
    else:
        settings_of(name, *rest)


def test_layer_weights_are_those_of_003() -> None:
    """Section 4.2.2."""
    pools = [f"pool{i}" for i in range(1, 6)]
    weights = [0.2, 0.4, 0.6, 0.8, 0.9]
    wanted = {"w_inc": weights, "w_dec": weights[::-1]} | {
        pool: [float(pool == other) for other in pools] for pool in pools
    }
    for name, numbers in wanted.items():
        taps = settings_of("adapt", f"objective={name}").objective.regression.taps
        assert [taps.get(pool, 0.0) for pool in pools] == numbers and taps.keys() <= {*pools}
