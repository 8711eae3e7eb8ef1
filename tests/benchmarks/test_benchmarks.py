"""The variants that benchmarks compare do the same work, and the scripts run."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from adapt.machine.runtime import runtime
from benchmarks import memory, step
from benchmarks.steps import TAPS, Stepper, floor, naive, network, ours, pairs, torchdistill


def moved(stepper: Stepper) -> dict[str, torch.Tensor]:
    """Weights of a student's convolutions after two steps."""
    step, student = stepper
    step()
    step()
    return {k: p.detach().clone() for k, p in student.named_parameters() if k.startswith("conv")}


@pytest.mark.parametrize("tap", ["pool3", "all"])
def test_every_hand_makes_the_same_step(tap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a hundredth of how far the step moves the weights."""
    monkeypatch.setattr("benchmarks.steps.LR", 0.1)
    monkeypatch.setattr("benchmarks.steps.ALPHA", 0.0)
    net, batch, taps = network(width=1 / 16), pairs(2, (40, 48)), TAPS[tap]
    start = {k: p.detach() for k, p in net.named_parameters()}
    wanted = moved(naive(net, batch, taps))
    far = {k: (w - start[k]).norm() for k, w in wanted.items()}
    assert any(far.values())
    steppers = {
        "ours": ours(net, batch, taps, "fp32"),
        "cached": ours(net, batch, taps, "fp32", cached=True),
        "checkpointing": ours(net, batch, taps, "fp32", checkpointing=True),
        "floor": floor(net, batch, taps, "fp32"),
        "student": floor(net, batch, taps, "fp32", teacher=False),
    }
    if find_spec("torchdistill"):
        steppers["torchdistill"] = torchdistill(net, batch, taps)
        steppers["tuned"] = torchdistill(net, batch, taps, runtime("auto", "fp32"))
    for name, stepper in steppers.items():
        found = moved(stepper)
        for key, weight in wanted.items():
            key = key if key in found else key.replace("conv", "", 1)
            assert (found[key] - weight).norm() <= 0.01 * far[key] + 1e-6, (name, key)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts take a network that steps in milliseconds."""
    for script in (step, memory):
        monkeypatch.setattr(script, "network", lambda *_: network(width=1 / 16))


def test_the_step_benchmark_records_its_ratios(
    small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = ["--rounds", "2", "--size", "32", "--batch", "1", "--taps", "pool3", "all"]
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr("sys.argv", ["benchmarks/step.py", *given, "--out", str(out)])
    step.main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["tap"] for line in lines] == ["pool3", "all"]
    for line in lines:
        times = line["milliseconds"]
        for row in line["ratios"]:
            above, below = row["ratio"].split(" / ")
            assert row["q1"] <= row["median"] <= row["q3"]
            assert times[above] > 0 and times[below] > 0


@pytest.mark.parametrize("variant", memory.VARIANTS)
def test_the_memory_of_a_step_is_counted(variant: str) -> None:
    """In a process of its own, as the benchmark does: here, a step may take what others left."""
    options = ["--taps", "pool3", "--size", "64", "64", "--batch", "2", "--precision", "fp32"]
    command = [sys.executable, memory.__file__, *options, "--threads", "1", "--only", variant]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    found = json.loads(told.splitlines()[-1])
    assert found["whole"] > found["step"] > 0
