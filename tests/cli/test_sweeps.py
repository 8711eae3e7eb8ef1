"""Sweeps (-m) of the real scripts: in one process, through submitit, and preempted on a cluster."""

import time
from collections.abc import Callable
from pathlib import Path

import fake_slurm
import pytest
from commands import ROOT, python, run
from tiny import curve, same

RUN = "run=${hydra:runtime.choices.objective}"
NETWORK = """
import os
import signal
from pathlib import Path

from adapt.networks.deeplab_vgg16 import DeepLabVGG16


class Preempted(DeepLabVGG16):
    def forward(self, x):
        metrics, marker = Path("preempted/metrics.jsonl"), Path("was_preempted")
        if metrics.is_file() and len(metrics.read_text().splitlines()) == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR2)
        return super().forward(x)


def net(classes):
    return Preempted(classes, width=1 / 32, batch_norm=True)
"""

pytestmark = pytest.mark.system


def test_a_sweep_through_submitit_gives_what_one_process_gives(world: Path, tmp_path: Path) -> None:
    """Relative paths, a folder that is not the repository, and one of the runs that fails."""
    sweep = (
        f"teacher={world / 'teacher'}", "data.target=new", "steps=3", "batch=2", "device=cpu", RUN,
    )  # fmt: skip
    plain, launched = tmp_path / "plain", tmp_path / "launched"
    for place, launcher, names in (
        (plain, "basic", "pool1,custom,pool3"), (launched, "local", "custom,pool3"),
    ):  # fmt: skip
        place.mkdir()
        (place / "new").symlink_to(world / "d2")
        given = ("-m", f"objective={names}", *sweep, f"hydra/launcher={launcher}")
        done = run("adapt.py", *given, cwd=place, status=1)
        assert "Traceback" not in done.stderr
        assert "error: objective.regression.taps is empty" in done.stderr
        assert "(in the sweep: objective=custom teacher=" in done.stderr
        assert not (place / "custom").exists()
        if launcher == "basic":
            head, *ranks = (line.split() for line in done.stdout.splitlines()[-3:])
            assert head[0] == "agreement" and float(ranks[0][0]) >= float(ranks[1][0])
            assert {rank[-1] for rank in ranks} == {"objective=pool1", "objective=pool3"}
    assert same(plain / "pool3", launched / "pool3")
    assert curve(plain / "pool3") == curve(launched / "pool3")
    assert (launched / "pool3" / "verdict.json").is_file()
    logs = sorted((launched / "runs" / ".submitit").glob("*/*_log.err"))
    assert sorted("taps is empty" in log.read_text() for log in logs) == [False, True]


def test_parts_through_a_local_ray(camvid_tree: Callable[..., Path], tmp_path: Path) -> None:
    """Of two jobs one fails, and the command says so."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra `ray` is not here")
    camvid_tree(tmp_path / "d1")
    done = python(
        str(ROOT / "scripts/make_distorted_voc.py"), "-m", "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.init.include_dashboard=false",
        "data=camvid", "data.root=d1,nowhere", "out=d2", "workers=1", "part=1/1",
        cwd=tmp_path, status=1, RAY_AUTH_MODE="disabled", RAY_raylet_start_wait_time_s="300",
    )  # fmt: skip
    assert "error: data.root" in done.stderr and "nowhere" in done.stderr
    assert (tmp_path / "d2/parts/1-of-1.json").is_file()


def test_a_sweep_that_cannot_be_recorded_says_so(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    done = run("adapt.py", "-m", "seed=1,2", "teacher=none", cwd=tmp_path, status=74)
    assert done.stderr.splitlines() == ["error: runs/multirun.yaml: File exists"]


def statuses(file: Path, count: int) -> list[int]:
    """A job's exit statuses; its process ends a little after it has handed over its result."""
    for _ in range(300):
        if len(found := file.read_text().split()) == count:
            return [int(status) for status in found]
        time.sleep(0.1)
    raise AssertionError(f"{file}: {found}")


def test_a_preempted_job_is_queued_again_and_resumes(world: Path, tmp_path: Path) -> None:
    """SLURM's SIGTERM and SIGUSR2 in the middle of a step; a failing job counts as failed."""
    (tmp_path / "own.py").write_text(NETWORK)
    training = (
        "train.py", "data=camvid", f"data.root={world / 'd1'}", "data.crop=[32,40]", "device=cpu",
        "network.factory=own:net", "batch=2", "steps=6", "log_every=1",
    )  # fmt: skip
    slurm = fake_slurm.install(tmp_path / "slurm")
    done = run(
        *training[:1], "-m", *training[1:], "hydra/launcher=slurm", "hydra.launcher.partition=gpu",
        "start=none,nowhere", "run=preempted", cwd=tmp_path, status=1, **slurm,
    )  # fmt: skip
    logs = {path.name: path.read_text() for path in tmp_path.glob("runs/.submitit/*/*_log.*")}
    assert "nowhere" in done.stderr and "start=nowhere" in done.stderr
    assert "stopped by a signal; preempted resumes at step 4" in logs["7_0_0_log.err"]
    assert "resuming preempted at step 4" in logs["7_0_0_log.out"]
    assert statuses(tmp_path / "slurm/status_0", 2)[1] == 0
    assert statuses(tmp_path / "slurm/status_1", 1) == [2]
    asked = (tmp_path / "slurm" / "submitted.sh").read_text()
    for line in ("--partition=gpu", "--gpus-per-node=1", "--signal=USR2@300", "--requeue"):
        assert f"#SBATCH {line}\n" in asked
    run(*training, "start=none", "run=plain", cwd=tmp_path)
    assert same(tmp_path / "preempted", tmp_path / "plain")
    assert curve(tmp_path / "preempted") == curve(tmp_path / "plain")
