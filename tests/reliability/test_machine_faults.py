"""Faults of the machine: shared memory, a deleted folder, other threads, odd names of files."""

import errno
import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import POOL3, edit_record, interrupted, teaching
from warm import TRAINED, Warm

from adapt.cli.main import check_folder
from adapt.disk.lock import whole_folder
from adapt.errors import InputError, Stopped
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.machine.streams import Printable
from adapt.machine.workers import spread
from adapt.scan.command import scan
from adapt.settings.commands import EvaluateConfig, PredictConfig, ScanConfig
from adapt.settings.groups import DataConfig, PenaltyConfig
from adapt.settings.viz import ReportConfig
from adapt.training.adapt import adapt
from adapt.training.train import train
from viz.report.page import report

LARGE = ("data.crop=[]", "data.resize=[300,400]", "workers=2")


@pytest.mark.system
@pytest.mark.parametrize(
    ("mounted", "script", "given", "said"),
    [
        ("size=64k", "train.py", (*TRAINED, *LARGE, "steps=2"), "(28): /dev/shm has 0.1 MB"),
        ("size=64k", "evaluate.py", ("run=teacher", "device=cpu", *LARGE), "docker run --shm-size"),
        ("ro", "train.py", (*TRAINED, *LARGE, "steps=2"), "(Read-only file system): they need a"),
        ("ro", "scan.py", ("data=camvid", "data.root=d1", "workers=2"), "workers=1 needs none"),
    ],
)
def test_r18_without_shared_memory_it_is_said_what_to_do(
    warm: Warm, world: Path, mounted: str, script: str, given: tuple[str, ...], said: str
) -> None:
    """In place of a wait without end, or a traceback."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("another /dev/shm needs privileges that this process lacks")
    run = [f"run={mounted[:2]}"] if script == "train.py" else []
    done = warm.run(script, *given, *run, fault=f"shared_memory:{mounted}", status=4)
    (line,) = done.stderr.splitlines()
    assert said in line and "workers=" in line


def test_r18_processes_that_cannot_be_started_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("multiprocessing.popen_spawn_posix.Popen.__init__", refuse)
    with (
        pytest.raises(Stopped, match=r"\(Resource temporarily unavailable\).*workers=1") as stop,
        spread(abs, [-1], 2, 1, "test") as found,
    ):
        list(found)
    assert stop.value.status == 4


@pytest.mark.parametrize("file", ["", "a/model.safetensors"])
def test_r16_a_write_is_of_the_folder_under_its_own_name(tmp_path: Path, file: str) -> None:
    """Not of the one beside it, in which it is made; a write without a name is of the folder."""
    out = tmp_path / "out"
    with pytest.raises(OSError) as caught, whole_folder(out, "out") as folder:
        error = OSError(
            errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / file) if file else None
        )
        raise error
    assert caught.value.filename == str(out / file) and not out.exists()


def test_a_deleted_folder_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InputError, match="the folder from which the command is started is gone"):
        check_folder()


def test_r02_another_thread_count_is_said_when_a_run_goes_on(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = teaching(world, run=str(tmp_path / "run"), checkpoint_every=2)
    interrupted(config, 3)
    edit_record(tmp_path / "run/env.json", threads=77)
    train(config)
    said = capsys.readouterr().out
    assert "since the run began, threads: 77 -> " in said and "torch: " not in said


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("red\x1b[31m", r"red\x1b[31m"),
        ("title\x1b]0;x\x07\x9b", r"title\x1b]0;x\x07\x9b"),
        ("sc\udce9ne", r"sc\udce9ne"),
        ("gnp\u202e.exe", r"gnp\u202e.exe"),
        ("Köln, 東京\n\r\x1b[A", "Köln, 東京\n\r\x1b[A"),
    ],
)
def test_a_name_does_nothing_to_a_terminal(name: str, shown: str) -> None:
    """Ends of lines and tqdm's way up pass."""
    raw = io.BytesIO()
    stream = Printable(raw, "utf-8", newline="")
    print(name, end="", file=stream, flush=True)
    assert raw.getvalue().decode() == shown


def test_files_of_any_name_go_through_all_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], world: Path
) -> None:
    """Bytes that are not UTF-8, and an escape sequence."""
    rng, names = np.random.default_rng(0), [b"sc\xe9ne", b"esc\x1b[31m", b"plain", b"\xff"]
    for place, folder in enumerate(("old", "new", "labels")):
        (tmp_path / folder).mkdir()
        for name in names:
            pixels = rng.integers(0, 255, (32, 40, 3), np.uint8)
            image = pixels[..., 0] // 90 if place == 2 else pixels
            Image.fromarray(image).save(tmp_path / folder / f"{os.fsdecode(name)}.png")
    old, new, labels = (str(tmp_path / folder) for folder in ("old", "new", "labels"))
    data = DataConfig(
        "pairs", root=old, target=new, labels=labels, parts={"val": 0.5}, classes=["a", "b", "c"]
    )
    run, adapted = str(tmp_path / "run"), str(tmp_path / "adapted")
    few = {"steps": 1, "data": data, "penalty": PenaltyConfig()}
    train(teaching(world, run=run, **few))
    adapt(teaching(world, run=adapted, teacher=run, objective=POOL3, **few))
    evaluate(EvaluateConfig(run=adapted, device="cpu"))
    predictions(PredictConfig(run=run, images=new, out=str(tmp_path / "out"), device="cpu"))
    scan(ScanConfig(data, out=str(tmp_path / "scan.json"), workers=1))
    report(ReportConfig(runs=adapted, out=str(tmp_path / "report.html")))
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(names)
    assert "verdict" in "".join(p.name for p in Path(adapted).iterdir())
