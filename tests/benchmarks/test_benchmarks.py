"""The scripts of benchmarks/ run at their smallest size, and what their numbers mean."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from adapt.machine.runtime import runtime
from benchmarks import gpu_parts
from benchmarks.measure import conclude, measure, peak_of
from benchmarks.steps import TAPS, Stepper, floor, naive, network, ours, pairs, torchdistill

SMALL = "--rounds 1 --size 33 33 --width 0.0625 --batch 2 --taps pool3 all --threads 1"
SCRIPTS = {
    "step": SMALL,
    "penalties": "--rounds 1 --size 33 --width 0.0625 --only l2_sp gl_sp_fisher",
    "evaluation": "--rounds 1 --batch 2 --size 30 40",
    "evaluation protocols": "--rounds 1 --batch 1 --size 40 56 --window 32 32 --width 0.0625",
    "data_path": "--rounds 1 --pairs 8 --size 40 60 --crop 32 32 --workers",
    "hand_over": "--rounds 1 --pairs 8 --size 40 60 --crop 32 32 --count 1 --workers",
    "filters": "speed --rounds 1 --size 30 40",
    "filters twin": "--rounds 1 --size 30 40 --count 2 --gegl 1",
    "filters batched": "--rounds 1 --size 30 40 --batch 2",
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """(command line) -> the lines that a script recorded; what it set in the process is undone."""
    out, threads, several = tmp_path / "out.jsonl", torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)

    def main(script: str, *words: str) -> list[dict[str, Any]]:
        module = import_module(f"benchmarks.{script}")
        monkeypatch.setattr(sys, "argv", [module.__file__, *words, "--out", str(out)])
        module.main()
        return [json.loads(line) for line in out.read_text().splitlines()]

    yield main
    torch.set_num_threads(threads)
    cv2.setNumThreads(several)
    torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_records_its_ratios(name: str, run: Callable[..., Any]) -> None:
    if name == "evaluation":
        pytest.importorskip("torchmetrics")
    lines = run(*name.split(), *SCRIPTS[name].split())
    assert len(lines) == (2 if name == "step" else 1)  # one for each tap
    for line in lines:
        assert line["milliseconds"] and (line["ratios"] or name == "filters")  # no GEGL is here
        for row in line["ratios"]:
            above, below = row["ratio"].split(" / ")
            assert row["q1"] <= row["median"] <= row["q3"]
            assert line["milliseconds"][above] > 0 and line["milliseconds"][below] > 0


def test_a_ratio_is_that_of_a_round(tmp_path: Path) -> None:
    """Variants take turns, the first round is dropped, and a float is believed."""
    calls: list[str] = []

    def variant(name: str, values: list[float]) -> Callable[[], float]:
        left = iter(values)
        return lambda: calls.append(name) or next(left)

    variants = {"a": variant("a", [9, 1, 4, 6.0]), "b": variant("b", [9, 2, 1, 2.0])}
    seconds = measure({k: lambda v=v: float(v()) for k, v in variants.items()}, rounds=3)
    assert calls == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert seconds == {"a": [1, 4, 6], "b": [2, 1, 2]}
    conclude(str(tmp_path / "out"), seconds, [("a", "b")], count=8, made="so")
    line = json.loads((tmp_path / "out").read_text())
    wanted = {"ratio": "a / b", "q1": 1.75, "median": 3.0, "q3": 3.5}
    assert line["ratios"] == [wanted] and line["made"] == "so"
    assert line["milliseconds"] == {"a": 4000, "b": 2000} and line["rates"] == {"a": 2, "b": 4}


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


@pytest.mark.parametrize("part", sorted({*gpu_parts.WHAT, *gpu_parts.STEPS} - {"searched"}))
def test_a_part_for_gpus_runs(part: str, run: Any, camvid_tree: Callable[..., Path]) -> None:
    camvid = str(camvid_tree()) if part == "camvid" else ""
    for line in run("gpu_parts", part, "--small", "1", "--camvid", camvid):
        assert line["part"] == part
        assert not line.get("failed") or (part == "graphs" and not torch.cuda.is_available())
        assert all(time > 0 for time in line.get("milliseconds", {"": 1}).values())
        assert "0 graphs compiled" not in line.get("headlines", [])


def test_a_gpu_is_known_by_the_longest_of_its_names() -> None:
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA H200")
    assert [peak_of(name) / 1e12 for name in names] == [989, 756, 835, 989]
    assert peak_of("Some GPU") == peak_of("") == 0
