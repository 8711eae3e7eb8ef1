"""The averaged student against the definition, through whole runs, and across interruptions."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adapting, same, teaching, weights
from torch import Tensor, nn

from adapt.disk.checkpoint import newest
from adapt.disk.files import read_json
from adapt.disk.runs import SUMMARY, read_metrics
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.training.adapt import adapt
from adapt.training.averaging import averaged
from adapt.training.train import train

LOOSE = {"schedule": ScheduleConfig("constant", lr=0.05), "penalty": PenaltyConfig()}
"""Steps of a shorter run are the first steps of a longer one."""


def average_of(steps: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """The documented recursion in double precision; integers are the last step's."""
    result = {k: v.double() for k, v in steps[0].items()}
    for t, step in enumerate(steps[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        result = {k: d * result[k] + (1 - d) * v.double() for k, v in step.items()}
    last = steps[-1]
    return {k: v if last[k].is_floating_point() else last[k] for k, v in result.items()}


def states(run: Path) -> dict[str, Any]:
    found, _ = newest(run / "checkpoints")
    assert found is not None
    return found.state


def test_the_exported_model_is_the_average_over_the_steps(world: Path, tmp_path: Path) -> None:
    """0.15 is reached after the first average, 0.999 never: both branches of the warm-up."""
    steps = []
    for n in (1, 2, 3, 4):
        train(teaching(world, run=str(tmp_path / str(n)), steps=n, **LOOSE))
        steps.append(weights(tmp_path / str(n)))
    assert "average" not in states(tmp_path / "4"), "ema=0 is off"
    for decay in (0.15, 0.999):
        run = train(teaching(world, run=str(tmp_path / f"d{decay}"), steps=4, ema=decay, **LOOSE))
        found, wanted = weights(run), average_of(steps, decay)
        assert found.keys() == wanted.keys() and not same(run, tmp_path / "4")
        for name, tensor in found.items():
            if tensor.is_floating_point():  # rounded to float32 once a step
                assert torch.allclose(tensor.double(), wanted[name], rtol=1e-5, atol=1e-7), name
            else:
                assert torch.equal(tensor, wanted[name]), name
        raw = states(run)["student"]
        assert all(torch.equal(raw[k], steps[-1][k]) for k in raw), "averaging changed the training"
        assert read_json(run / SUMMARY)["ema"] == decay


def test_evaluation_while_training_scores_the_average(world: Path, tmp_path: Path) -> None:
    """The last scores are those of the saved model; the student's own are others."""
    kind = {"steps": 12, "batch": 4, "eval_every": 12, "schedule": ScheduleConfig(lr=0.2)}
    for name, ema in (("raw", 0.0), ("average", 0.999)):
        train(adapting(world, tmp_path / name, ema=ema, **kind))
    logged = [read_metrics(tmp_path / name)[-1]["evaluation"] for name in ("raw", "average")]
    given = EvaluateConfig(run=str(tmp_path / "average"), device="cpu", precision="fp32")
    scored = read_json(evaluate(given))
    assert logged[1]["agreement_miou"] == scored["agreement"]["miou"]
    assert logged[1]["miou"] == scored["truth"]["miou"]
    assert logged[0] != logged[1]


def test_a_constant_rate_with_an_average_from_adapt_to_its_verdict(
    world: Path, tmp_path: Path
) -> None:
    """What is judged is the average, which lies nearer to the start than the last step's student:
    the average stands for the rate that does not fall."""
    kind = {"steps": 12, "batch": 4, "schedule": ScheduleConfig("constant", lr=0.05)}
    run = adapt(adapting(world, tmp_path / "run", ema=0.999, **kind))
    assert {line["lr"] for line in read_metrics(run)} == {0.05}
    start, last, found = weights(world / "teacher"), states(run)["student"], weights(run)
    moved = [k for k in found if k.endswith("0.weight") and not torch.equal(found[k], start[k])]
    assert moved
    for name in moved:
        assert (found[name] - start[name]).norm() < (last[name] - start[name]).norm()
    again = EvaluateConfig(run=str(run), device="cpu", precision="fp32")
    verdict = read_json(run / "verdict.json")
    assert verdict["after"] == pytest.approx(read_json(evaluate(again))["agreement"]["miou"])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_outside_0_1_is_refused(world: Path, decay: float) -> None:
    with pytest.raises(InputError, match=r"ema is .*; it must lie in \[0, 1\)"):
        teaching(world, ema=decay)


class Odd(nn.Module):
    """Parameters and buffers of several types and layouts, one of them shared."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.tied = self.conv
        self.wide = nn.Parameter(torch.randn(3, dtype=torch.double))
        self.register_buffer("count", torch.tensor(2**53 + 1))
        self.register_buffer("flag", torch.tensor([True, False]))


def test_unchanged_values_stay_bit_equal_and_counters_are_the_last_ones() -> None:
    torch.manual_seed(0)
    net = Odd()
    before = deepcopy(net.state_dict())
    for decay in (0.0, 0.3, 0.999):
        average = averaged(net, decay)
        for _ in range(100):
            average.update_parameters(net)
        after = average.module.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before)
    for _ in range(3):
        net.count += 1
        net.flag.logical_not_()
        average.update_parameters(net)
    assert torch.equal(average.module.count, net.count)
    assert torch.equal(average.module.flag, net.flag)
