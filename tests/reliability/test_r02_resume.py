"""R2: a resumed run equals the straight one, bit by bit."""

from pathlib import Path

import pytest
from campaigns.kills import run_result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from warm import Warm

from adapt.disk.runs import read_metrics

pytestmark = pytest.mark.system
EVERYTHING = (
    "data.target=d2", "teacher=teacher", "objective=pool5", "objective.kd.weight=0.5",
    "penalty=l2_sp_fisher", "penalty.alpha=0.01", "penalty.fisher=fisher.safetensors", "ema=0.9",
    "data.crop=[32,40]", "data.scale=[0.8,1.25]", "data.rotate=5", "data.jitter_x2=0.2",
    "data.blur_x1=1", "steps=20", "eval_every=4", "log_every=1", "batch=2", "checkpoint_every=7",
    "freeze=1", "schedule.momentum=0.9", "schedule.lr=0.01", "device=cpu", "precision=fp32",
)  # fmt: skip


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {t: [(e.step, e.value) for e in events.Scalars(t)] for t in events.Tags()["scalars"]}


def test_r02_resume_is_bit_exact(warm: Warm, world: Path) -> None:
    """20 steps at once, and 7 + 13: killed in mid-epoch. (AdamW: tests/training/test_train.py.)"""
    warm.run("fisher.py", "run=teacher", "out=fisher.safetensors", "device=cpu")
    straight, cut = "straight", "cut"
    warm.run("adapt.py", *EVERYTHING, f"run={straight}")
    warm.run("adapt.py", *EVERYTHING, f"run={cut}", fault="kill_at_step:9", status=-9)
    assert [r["step"] for r in read_metrics(world / cut) if "loss" in r][-1] == 9
    again = warm.run("adapt.py", *EVERYTHING, f"run={cut}")
    assert f"resuming {cut} at step 7" in again.stdout
    wanted, found = (run_result(world / run) for run in (straight, cut))
    assert {"model.safetensors", "verdict.json", "step_00000014", "step_00000020"} < wanted.keys()
    assert found == wanted
    drawn = curves(world / cut)
    assert drawn == curves(world / straight)
    assert [step for step, _ in drawn["loss"]] == list(range(1, 21)), "each step once"
    assert [step for step, _ in drawn["val/miou"]] == [4, 8, 12, 16, 20]
