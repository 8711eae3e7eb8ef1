"""Progress without a terminal: which lines there are, and what their figures are."""

import re
from collections.abc import Iterable

import pytest

from adapt.machine import runtime


def lines(
    seconds: float, items: Iterable, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], **given: int,
) -> list[str]:  # fmt: skip
    """What a loop says whose every pass takes so many seconds."""
    now = [0.0]
    monkeypatch.setattr(runtime.time, "monotonic", lambda: now[0])
    bar = runtime.progress(items, what="run", **given)  # type: ignore[arg-type]
    for number in bar:
        now[0] += seconds
        bar.set_postfix(loss=f"{number}")
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("seconds", "count", "said"),
    [
        (0.29, 100, []),  # it ends before the first line is due
        (1.0, 60, [30, 36, 42, 48, 54, 60]),  # then every tenth
        (10.0, 100, [*range(3, 101, 3)]),  # every 30 s, which comes first
        (100.0, 4, [1, 2, 3, 4]),
    ],
)
def test_a_line_comes_after_30_s_or_a_tenth(
    seconds: float, count: int, said: list[int], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = lines(seconds, range(count), monkeypatch, capsys)
    assert [int(re.findall(r"run: (\d+)/", line)[0]) for line in found] == said


def test_its_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that was resumed at 40 of 100, at 4 s a step: 8 steps in 32 s, 52 are left."""
    found = lines(4.0, iter(range(60)), monkeypatch, capsys, total=100, initial=40)
    assert found[0] == "run: 48/100, loss 7, 0.25/s, 03:28 left"
    assert found[-1] == "run: 96/100, loss 55, 0.25/s, 00:16 left"
    without = lines(4.0, iter(range(9)), monkeypatch, capsys)
    assert without == ["run: 8, loss 7, 0.25/s"]
