"""R16: a full or read-only disk stops a command, is named with what is free, and costs nothing."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns.kills import files_result, run_result
from disk import disk
from tiny import teaching
from trees import camvid
from warm import TRAINED, Warm

from adapt.disk import checkpoint
from adapt.disk.files import unwritten
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train


def rubbish(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if ".tmp-" in p.name]


def taught(root: Path, run: Path) -> Any:
    train(teaching(root, run=str(run), steps=2, checkpoint_every=1, eval_every=1))
    return run_result(run)


def distorted(root: Path, out: Path) -> Any:
    data = DataConfig(name="camvid", root=str(root / "d1"))
    make_distorted(DistortConfig(data=data, shift=ShiftConfig("cubism"), out=str(out), workers=1))
    return files_result(out)


@pytest.mark.parametrize(
    ("make", "code", "apart"),
    [(taught, errno.ENOSPC, 3), (taught, errno.EROFS, 11), (distorted, errno.ENOSPC, 3)],
)
def test_r16_a_disk_that_fills_up_anywhere_costs_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str],
    make: Callable[[Path, Path], Any], code: int, apart: int,
) -> None:  # fmt: skip
    """At the n-th open, write, fsync or rename for every third n (a file has four of these). With
    room again the result is that of an undisturbed call."""
    camvid(tmp_path / "d1", train=2, val=1)
    with disk(tmp_path / "straight") as calls:
        wanted = make(tmp_path, tmp_path / "straight")
    assert len(calls) > 25
    for full in range(1, len(calls) + 1, apart):
        out = tmp_path / f"full{full}"
        with disk(out, lambda n, full=full: n >= full, code), pytest.raises(OSError) as caught:
            make(tmp_path, out)
        said = unwritten(caught.value)
        assert caught.value.errno == code and said.startswith((f"{out}/", f"{out}: "))
        assert ("MB" in said and "free" in said) == (code == errno.ENOSPC)
        saved = checkpoint.committed(out / "checkpoints")
        assert not rubbish(out)
        assert not (out / "summary.json").exists() and not (out / "manifest.json").exists()
        assert [checkpoint.load(path).step for path in saved] == [1, 2][: len(saved)]
        assert "Traceback" not in capfd.readouterr().err, "the writer's thread says nothing"
        if full % 7 == 1 or make is distorted:
            assert make(tmp_path, out) == wanted


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(options, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs privileges that this process lacks")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.system
def test_r16_a_real_disk_of_one_megabyte(warm: Warm, world: Path, small: Path) -> None:
    given = (*TRAINED, "network.width=0.0625", "steps=4", "checkpoint_every=1")
    full = warm.run("train.py", *given, f"run={small / 'run'}", status=74)
    (line,) = full.stderr.splitlines()
    assert line.startswith(f"error: {small}/run/") and "No space left on device" in line
    assert "MB" in line and "free" in line
    saved = checkpoint.committed(small / "run/checkpoints")
    assert saved and all(checkpoint.load(path) for path in saved)
    assert not rubbish(small)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
    again = warm.run("train.py", *given, f"run={small / 'run'}")
    assert f"at step {len(saved)}" in again.stdout
    warm.run("train.py", *given, "run=roomy")
    assert run_result(small / "run") == run_result(world / "roomy")
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    twin = ("make_distorted_voc.py", "data=camvid", "data.root=d1", "shift=cubism")
    refusal = warm.run(*twin, f"out={small / 'twin'}", "workers=1", status=74).stderr
    assert refusal == f"error: {small / 'twin'}: Read-only file system\n"
