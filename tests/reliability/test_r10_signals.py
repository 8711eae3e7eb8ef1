"""R10: SIGTERM and Ctrl-C end a command in order; the same one goes on as if nothing had been."""

import signal
import time
from pathlib import Path

import pytest
from campaigns.kills import run_result
from warm import TRAINED, Command, Warm, members

from adapt.disk import checkpoint
from adapt.disk.runs import read_metrics

pytestmark = pytest.mark.system
GIVEN = (*TRAINED, "steps=16", "eval_every=4")
TERM, INT, WARNING = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


@pytest.fixture(scope="module")
def straight(warm: Warm, world: Path) -> Path:
    warm.run("train.py", *GIVEN, "run=unstopped")
    return world / "unstopped"


def ended(command: Command, status: int) -> None:
    """With that status, one line and no traceback."""
    assert command.wait(30) == status, command.stderr
    assert len(command.stderr.splitlines()) == 1 and "stopped by a signal" in command.stderr


def goes_on(warm: Warm, straight: Path, run: Path) -> int:
    """The step that it goes on from; in the end nothing differs from the straight run."""
    (saved,) = checkpoint.committed(run / "checkpoints")
    step = checkpoint.load(saved).step
    assert read_metrics(run)[-1]["step"] == step, "the step was finished and saved"
    again = warm.run("train.py", *GIVEN, f"run={run.name}")
    assert f"resuming {run.name} at step {step}" in again.stdout
    found, wanted = run_result(run), run_result(straight)
    del found[saved.name]  # the straight run has no checkpoint there
    assert found == wanted
    return step


def test_r10_step_and_evaluation_are_finished(warm: Warm, world: Path, straight: Path) -> None:
    run, marker = world / "evaluating", world / "evaluating.marker"
    command = warm.start("train.py", *GIVEN, f"run={run.name}", fault=f"slow_evaluation:{marker}")
    command.until(marker.exists)
    command.kill(TERM)
    ended(command, 143)
    assert "evaluation" in read_metrics(run)[-1]
    assert goes_on(warm, straight, run) == 4


@pytest.mark.parametrize("sent", [INT, WARNING])
def test_r10_workers_leave_signals_alone(
    warm: Warm, world: Path, straight: Path, sent: int
) -> None:
    """Ctrl-C and schedulers signal all processes of a job; here the loader is waited for."""
    run, marker = world / f"loading{sent:d}", world / f"loading{sent:d}.marker"
    given = ("train.py", *GIVEN, "workers=2", f"run={run.name}")
    command = warm.start(*given, fault=f"slow_loader:{marker}")
    command.until(marker.exists)
    command.kill_all(sent)
    ended(command, 128 + sent)
    assert goes_on(warm, straight, run) > 0


def test_r10_a_second_signal_ends_at_once(warm: Warm, world: Path) -> None:
    """And one that only comes twice, as `timeout` sends it, does not."""
    run = world / "impatient"
    command = warm.start("train.py", *GIVEN, f"run={run.name}", fault="wait_at_step:5,300")
    command.until(lambda: [r for r in read_metrics(run) if r["step"] >= 5])
    command.kill(TERM)
    command.kill(TERM)
    time.sleep(0.7)
    assert command.poll() is None
    command.kill(TERM)
    assert command.wait(2) == -TERM
    warm.run("train.py", *GIVEN, f"run={run.name}")


def test_r10_a_signal_after_the_last_step_stops_a_study_too(warm: Warm, world: Path) -> None:
    """While its checkpoint is written: of this training nothing is left to do."""
    overrides = (
        "experiment=camvid_small", "data.root=d1", "data.resize=[]", "data.crop=[32,40]",
        "network.width=0.03125", "supervised.steps=2", "adaptation.steps=2", "batch=2",
        "inversions=0", "~objectives.pool1", "~objectives.pool3", "~objectives.w_inc",
        "~shifts.ripple", "~shifts.cubism", "baselines=[b0]", "device=cpu", "runs=study",
    )  # fmt: skip
    stopped = warm.run("study.py", *overrides, fault="signal_while_saving:2,SIGTERM", status=143)
    assert "study/seed0/teacher resumes at step 2" in stopped.stderr
    marker = world / "study.marker"
    command = warm.start("study.py", *overrides, fault=f"slow_filter:{marker}")
    command.until(marker.exists)
    command.kill_all(INT)
    ended(command, 130)
    done = warm.run("study.py", *overrides)
    assert "train seed0/teacher" not in done.stdout and (world / "study/report.html").is_file()


def test_r10_a_twin_is_stopped_in_order(warm: Warm, world: Path) -> None:
    """With two workers, signalled in their imports."""
    out = world / "twin"
    given = ("make_distorted_voc.py", "data=camvid", "data.root=d1", "shift=cubism", "out=twin")
    command = warm.start(*given, "workers=2")
    command.until(lambda: len(members(command.pid)) >= 4)  # itself, a tracker, two workers
    time.sleep(0.5)
    command.kill_all(INT)
    ended(command, 130)
    assert not (out / "manifest.json").exists() and not list(out.rglob("*.tmp-*"))
    assert not (out / "lock").exists()
    warm.run(*given, "workers=1")
    assert (out / "manifest.json").is_file()


def test_r10_fisher_and_evaluate_are_stopped_in_order(warm: Warm, world: Path) -> None:
    before = sorted((world / "teacher").iterdir())
    given = ("fisher.py", "run=teacher", "out=stopped.safetensors", "device=cpu")
    evaluated = ("evaluate.py", "run=teacher", "device=cpu", "workers=2")
    sent_to = ((given, "slow_scores", TERM), (evaluated, "slow_prediction", WARNING))
    for called, fault, sent in sent_to:
        marker = world / f"{fault}.marker"
        command = warm.start(*called, fault=f"{fault}:{marker}")
        command.until(marker.exists)
        command.kill_all(sent)
        ended(command, 128 + sent)
    assert not (world / "stopped.safetensors").exists()
    assert sorted((world / "teacher").iterdir()) == before
    warm.run(*given)
    warm.run("fisher.py", "run=teacher", "out=unstopped.safetensors", "device=cpu")
    wanted, found = (world / f"{name}.safetensors" for name in ("unstopped", "stopped"))
    assert found.read_bytes() == wanted.read_bytes()
