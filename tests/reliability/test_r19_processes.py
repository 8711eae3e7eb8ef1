"""R19, and what R9, R10 and R18 promise of several processes, which share an undisturbed run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import shares
import torch
from commands import run
from several import TESTS, forked, torchrun
from tiny import curve, same, shifted_and_taught, weights

from adapt.disk import checkpoint
from adapt.disk.runs import read_metrics
from adapt.machine.runtime import STATUS, explained

TOLERANCE = 1e-6
"""Relative, of a weight tensor after 6 steps: sums are taken in another order."""

ADAPTATION = [
    "teacher=teacher", "data.target=d2", "objective=w_inc", "penalty=l2_sp", "penalty.alpha=0.01",
    "bn=eval", "precision=fp32", "device=cpu", "batch=4", "steps=6", "log_every=1", "eval_every=3",
    "checkpoint_every=2",
]  # fmt: skip

pytestmark = pytest.mark.system


def apart(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """The largest relative distance of a tensor."""
    assert one.keys() == two.keys()
    distances = [(a.double() - two[k].double()).norm() / a.double().norm() for k, a in one.items()]
    return float(torch.stack(distances).nan_to_num().max())


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, camvid_tree: Callable[..., Path]) -> Path:
    """7 training and 5 validation images, so that no batch and no share comes out even; a teacher,
    and `straight`, adapted by two processes that record what they write."""
    root = tmp_path_factory.mktemp("odd")
    camvid_tree(root / "d1", train=7, val=5)
    shifted_and_taught(root)
    said = torchrun(
        "adapt.py", *ADAPTATION, "run=straight", cwd=root, fault="writes_recorded:writes"
    )
    assert "2 processes of 2 each" in said and said.count("finished 6 steps") == 1
    return root


def resumes_at(run: Path) -> int:
    """The step of the newest checkpoint; none is damaged."""
    found, warnings = checkpoint.newest(run / "checkpoints")
    assert found is not None and not warnings
    return found.step


def adapted(root: Path, run: str, fault: str = "none", *more: str, count: int = 2):
    return forked("adapt.py", *ADAPTATION, f"run={run}", *more, cwd=root, fault=fault, count=count)


def test_r19_two_processes_train_as_one(odd: Path) -> None:
    """Through the script: weights and curve to rounding, scores of the val split with them."""
    assert adapted(odd, "alone", count=1).returncode == 0
    assert apart(weights(odd / "alone"), weights(odd / "straight")) < TOLERANCE
    for a, b in zip(curve(odd / "alone"), curve(odd / "straight"), strict=True):
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
            assert b["penalty"] == pytest.approx(a["penalty"], rel=1e-4)
        else:
            assert b["evaluation"] == pytest.approx(a["evaluation"], abs=0.2)


def test_r19_maps_that_are_computed_again_change_no_bit(odd: Path) -> None:
    """Networks that do not fit: gradient checkpointing in each of two processes."""
    assert adapted(odd, "again", "none", "gradient_checkpointing=true").returncode == 0
    assert curve(odd / "again") == curve(odd / "straight")
    assert same(odd / "again", odd / "straight")


def test_r19_only_the_first_process_writes(odd: Path) -> None:
    first, second = ((odd / f"writes.{r}").read_text() for r in (0, 1))
    assert "model.safetensors" in first and str(odd) not in second and "straight" not in second
    assert {w for w in second.splitlines() if w.startswith("open")} <= {
        "open /dev/null", "open 1", "open 2",
    }  # fmt: skip


def test_r19_two_processes_score_exactly_as_one(odd: Path) -> None:
    """Five images in batches of two: three shares of two, two and one, the same integers."""
    path, found = odd / "teacher/metrics_camvid_d2_d2_val.json", []
    for count in (1, 2):
        done = forked(
            "evaluate.py", "teacher=teacher", "data.target=d2", "domain=d2", "batch=2",
            "device=cpu", "precision=fp32", cwd=odd, count=count,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads(path.read_text()))
        path.unlink()
    assert found[0]["images"] == 5
    for key in ("confusion", "images", "agreement"):
        assert found[0][key] == found[1][key]


@pytest.fixture(scope="module")
def computed(odd: Path) -> Path:
    """What tests/helpers/shares.py writes in one process and in two."""
    for count in (1, 2):
        done = forked(str(TESTS / "shares.py"), str(odd), cwd=odd, count=count)
        assert done.returncode == 0, done.stderr
    return odd


@pytest.mark.parametrize("masked", ["whole", "masked"])
@pytest.mark.parametrize("name", shares.OBJECTIVES)
def test_r19_gradients_of_shares_average(computed: Path, name: str, masked: str) -> None:
    """Every term, with labels and valid pixels spread unevenly over the two shares."""
    files = [computed / f"{n}.pt" for n in ("1_0", "2_0", "2_1")]
    whole, *parts = (torch.load(f, weights_only=True)[f"{name}, {masked}"] for f in files)
    scale = float(whole.abs().max())
    assert scale > 0
    assert torch.allclose(sum(parts) / 2, whole, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("run", shares.RUNS)
def test_r19_two_processes_train_as_one_in_other_ways(computed: Path, run: str) -> None:
    """bn=affine; an average of the weights and AdamW; a student with a projector; layers' weights
    that go by the losses of all; two heads, of which a process may see the images of one; cuts that
    are drawn. Dropout is behind what these runs tap."""
    rounding = 10 if run == "heads" else 1  # SUNet's biases are 0 at first: all of them is gradient
    one, two = (weights(computed / f"{run}_{count}") for count in (1, 2))
    assert apart(one, two) < rounding * TOLERANCE


def test_r09_nan_in_one_process_stops_both_before_the_update(odd: Path) -> None:
    done = adapted(odd, "nan", "poison:3,1")
    assert done.returncode != 0
    stopped = [line for line in done.stderr.splitlines() if line.startswith("step 3:")]
    assert len(stopped) == 1, "both stop, one says so"
    assert "regression/pool1 is not finite" in stopped[0]
    assert stopped[0].count("train_") == 2, "the samples of the process at fault, no others"
    assert [r["step"] for r in read_metrics(odd / "nan")] == [1, 2]
    assert resumes_at(odd / "nan") == 2


def test_r18_a_lost_process_ends_the_other_and_the_run_goes_on(odd: Path) -> None:
    done = adapted(odd, "lost", "exit_at_step:3,1")
    assert done.returncode != 0
    assert "another process of this run has failed or is gone" in done.stderr
    assert resumes_at(odd / "lost") == 2
    resumed = adapted(odd, "lost", "slow_summary:late")  # for which the other must wait
    assert resumed.returncode == 0 and "at step 2" in resumed.stdout
    assert same(odd / "lost", odd / "straight")
    assert curve(odd / "lost") == curve(odd / "straight")


def test_r18_no_memory_in_one_process_is_named_with_step_sizes_and_samples(odd: Path) -> None:
    done = adapted(odd, "full", "out_of_memory_at:4,1")
    assert done.returncode != 0
    line = next(line for line in done.stderr.splitlines() if "out of memory" in line)
    assert line.startswith("step 4 (")
    for word in ("x2 (2, 3, 32, 40)", "train_", "2.00 GiB", "A smaller batch"):
        assert word in line
    assert resumes_at(odd / "full") == 2


def test_r18_a_dead_worker_of_the_loader_ends_the_run(odd: Path) -> None:
    """Position 17 lies in step 5; workers read ahead, so the step that names it may be earlier."""
    done = adapted(odd, "worker", "loader_dies_at:17", "workers=1", count=1)
    assert done.returncode == STATUS, done.stderr
    for word in ("DataLoader worker", "fewer workers", "step ", "train_"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not checkpoint.newest(odd / "worker" / "checkpoints")[1]


def test_r10_a_signal_to_one_process_stops_both_with_a_checkpoint(odd: Path) -> None:
    done = adapted(odd, "signal", "signal_at_step:3,SIGTERM,1")
    assert "stopped by a signal; signal resumes at step 3" in done.stderr
    assert resumes_at(odd / "signal") == 3


def test_r18_a_command_of_one_process_says_so(tmp_path: Path) -> None:
    several = {"WORLD_SIZE": "2", "RANK": "0"}
    done = run("make_distorted_voc.py", "out=x", cwd=tmp_path, status=2, **several)
    assert "make_distorted_voc runs in one process; start it without torchrun" in done.stderr


def test_r18_errors_of_other_kinds_keep_their_traceback() -> None:
    assert explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    full = explained(MemoryError(), "step 2")
    assert full is not None and str(full).startswith("step 2: out of memory: the machine's memory")
