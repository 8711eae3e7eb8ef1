"""R23: what a killed command left beside its target is found and removed by the next call; files
that do not belong there stop neither a resumed run nor a listing."""

import fcntl
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import interrupted, same, teaching
from warm import Warm

from adapt.analysis.analyse import analyse
from adapt.api.run import Result
from adapt.data.scenes import write_scenes
from adapt.disk.files import write_whole
from adapt.disk.lock import scratch_folder
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.evaluation.rows import collect
from adapt.scan.command import scan
from adapt.settings.commands import (
    AnalyseConfig,
    DistortConfig,
    EvaluateConfig,
    PredictConfig,
    ScanConfig,
)
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.settings.viz import ReportConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train
from viz.report.page import report

KILLED = """
import os, signal, sys
from pathlib import Path
from adapt.disk.files import write_whole
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), b"half")
"""


@pytest.mark.system
def test_r23_a_killed_write_is_cleared_a_living_one_is_not(tmp_path: Path) -> None:
    place, living = tmp_path / "a.json", tmp_path / ".a.json.tmp-1"
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.json.tmp-")
    (tmp_path / ".b.json.tmp-1").write_text("of another target")
    with living.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        write_whole(place, b"whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.json", ".a.json.tmp-1", ".b.json.tmp-1"}


def copied(world: Path, place: Path) -> Path:
    """The teacher's run, without the scores that other tests may have left in it."""
    scores = shutil.ignore_patterns("metrics_*", "images_*")
    return shutil.copytree(world / "teacher", place / "run", ignore=scores)


def distorted(world: Path, place: Path) -> None:
    data = DataConfig(name="camvid", root=str(world / "d1"))
    shift = ShiftConfig("photocopy")
    make_distorted(DistortConfig(data=data, shift=shift, out=str(place / "out"), workers=1))


COMMANDS: dict[str, tuple[Callable[[Path, Path], object], tuple[str, ...]]] = {
    "evaluate": (
        lambda world, place: evaluate(EvaluateConfig(run=str(place / "run"), device="cpu")),
        tuple(f"run/{n}" for n in ("metrics_camvid_d1_val.json", "images_camvid_d1_val.csv")),
    ),
    "predict": (
        lambda world, place: predictions(
            PredictConfig(run=str(place / "run"), out=str(place / "out"), device="cpu")
        ),
        ("out/predictions.json",),
    ),
    "analyse": (
        lambda world, place: analyse(
            AnalyseConfig(run=str(place / "run"), teacher=str(world / "teacher"),
                          analyses=["weights"], device="cpu")
        ),
        ("run/analysis/weights.json", "run/analysis/weights.csv"),
    ),
    "report": (
        lambda world, place: report(
            ReportConfig(runs=str(place / "run"), out=str(place / "report.html"))
        ),
        ("report.html",),
    ),
    "scan": (
        lambda world, place: scan(
            ScanConfig(data=DataConfig(name="camvid", root=str(world / "d1")),
                       out=str(place / "scan.json"))
        ),
        ("scan.json",),
    ),
    "make_distorted": (distorted, ("out/shift.json",)),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_r23_the_next_call_clears(world: Path, tmp_path: Path, command: str) -> None:
    copied(world, tmp_path)
    call, targets = COMMANDS[command]
    for target in targets:
        left = (tmp_path / target).with_name(f".{Path(target).name}.tmp-1")
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
    call(world, tmp_path)
    assert not [p for p in tmp_path.rglob("*") if ".tmp-" in p.name]
    assert all((tmp_path / target).exists() for target in targets)


def test_r23_folders_beside_a_target(world: Path, tmp_path: Path) -> None:
    """Scenes, a copied result, and the frames of a video."""
    for name in (".scenes.new", ".kept.new", ".out.frames"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"")
    write_scenes(tmp_path / "scenes", train=1, val=1, seed=0, size=(16, 16))
    Result(world / "teacher", None, None, [], object()).save(tmp_path / "kept")  # type: ignore[arg-type]
    with scratch_folder(tmp_path / "out", "frames", "out") as folder:
        assert not list(folder.iterdir())
        words = "out: another process is writing"
        with (
            pytest.raises(InputError, match=words),
            scratch_folder(tmp_path / "out", "frames", "out"),
        ):
            pass
    assert {p.name for p in tmp_path.iterdir()} == {"scenes", "kept"}
    assert not list((tmp_path / "scenes").glob("half")) and not (tmp_path / "kept/half").exists()


def strays(folder: Path) -> None:
    """What sync clients, editors and people leave."""
    (folder / ".DS_Store").write_text("")
    (folder / "notes").mkdir()
    (folder / "step_00000099").write_text("")
    (folder / "step_00000002.damaged").write_text("")
    (folder / "step_00000003.tmp-9").write_text("")
    (folder / "step_00000004.tmp-9").mkdir()


def test_r23_strays_stop_neither_resuming_nor_listing(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = teaching(world, run=str(run), steps=6, checkpoint_every=2)
    interrupted(config, 3)
    strays(run / "checkpoints")
    strays(run)
    (tmp_path / "config.yaml").write_text("a: 1")
    train(config)
    assert same(run, world / "teacher")
    assert not collect(tmp_path)
    assert not [p for p in (run / "checkpoints").iterdir() if ".tmp-" in p.name]


@pytest.mark.system
def test_r23_a_killed_export_leaves_nothing(warm: Warm, world: Path) -> None:
    given = ("export.py", "run=teacher", "out=r23", "formats=[safetensors]", "images=1")
    killed = warm.start(*given)
    killed.until((world / ".r23.new").exists)
    killed.kill_all()
    assert killed.wait() == -signal.SIGKILL and not (world / "r23").exists()
    warm.run(*given)
    assert (world / "r23").is_dir() and not list(world.glob(".r23*"))
    assert not [p for p in (world / "r23").iterdir() if p.is_dir() and p.name != "__pycache__"]
