"""R16: a full or read-only disk stops a command, is named with what is free, and costs nothing."""

import errno
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from campaigns.kills import files_result, run_result
from tiny import teaching
from trees import camvid
from warm import Warm

from adapt.disk import checkpoint
from adapt.disk.files import unwritten
from adapt.settings.commands import DistortConfig
from adapt.settings.groups import DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train


class Disk:
    """Counts what is written below a folder; the call number `full` and all after it fail, a
    write after half of its bytes."""

    def __init__(self, folder: Path, full: int | None, code: int) -> None:
        self.folder, self.full, self.code, self.calls = folder, full, code, 0

    def use(self, path: Any) -> None:
        """One call on `path`, or an OSError with that path, or without one."""
        self.calls += 1
        if self.full is not None and self.calls >= self.full:
            names = () if path is None else (str(path),)
            raise OSError(self.code, os.strerror(self.code), *names)

    def holds(self, path: Any) -> bool:
        known = isinstance(path, str | bytes | os.PathLike)
        return known and Path(os.fsdecode(path)).is_relative_to(self.folder)


class FullFile(io.FileIO):
    """A file on such a disk."""

    disk: Disk

    def write(self, content: Any) -> int:
        try:
            self.disk.use(None)
        except OSError:
            super().write(bytes(content)[: len(content) // 2])
            raise
        return super().write(content)


@contextmanager
def disk(
    monkeypatch: pytest.MonkeyPatch, folder: Path, full: int | None = None, code: int = errno.ENOSPC
) -> Iterator[Disk]:
    """Opening, writing, fsync and renaming below `folder` go through a Disk."""
    made = Disk(folder, full, code)
    opened, synced = io.open, os.fsync
    renamed: dict[str, Callable[..., None]] = {"rename": os.rename, "replace": os.replace}

    def opening(file: Any, mode: str = "r", *others: Any, **named: Any) -> Any:
        if not made.holds(file) or not set(mode) & set("wxa"):
            return opened(file, mode, *others, **named)
        made.use(file)
        raw = FullFile(file, mode.replace("b", "").replace("t", ""))
        raw.disk = made
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

    def syncing(descriptor: int) -> None:
        if made.holds(Path(f"/proc/self/fd/{descriptor}").readlink()):
            made.use(None)
        synced(descriptor)

    def renaming(name: str) -> Callable[..., None]:
        def rename(source: Any, target: Any) -> None:
            if made.holds(source):
                made.use(source)
            renamed[name](source, target)

        return rename

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", opening)
        patch.setattr(os, "fsync", syncing)
        for name in renamed:
            patch.setattr(os, name, renaming(name))
        yield made


def refused(error: OSError, folder: Path, code: int) -> None:
    """It says where and why."""
    text = unwritten(error)
    assert error.errno == code and text.startswith(f"{folder}/")
    assert ("MB" in text and "free" in text) == (code == errno.ENOSPC)


def rubbish(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if ".tmp-" in p.name]


@pytest.mark.parametrize(
    ("code", "apart"), [(errno.ENOSPC, 3), (errno.EROFS, 11)], ids=["full", "read-only"]
)
def test_r16_a_training_survives_a_disk_that_fills_up_anywhere(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    code: int,
    apart: int,
) -> None:
    """At the n-th open, write, fsync or rename for every third n (a file has four of these):
    environment, configuration, metrics, TensorBoard, checkpoints, model and summary."""
    config = {"steps": 2, "checkpoint_every": 1, "eval_every": 1}
    with disk(monkeypatch, tmp_path / "straight") as counted:
        train(teaching(world, run=str(tmp_path / "straight"), **config))
    assert counted.calls > 50
    wanted = run_result(tmp_path / "straight")
    for full in range(1, counted.calls + 1, apart):
        run = tmp_path / f"full{full}"
        with disk(monkeypatch, run, full, code), pytest.raises(OSError) as caught:
            train(teaching(world, run=str(run), **config))
        refused(caught.value, run, code)
        saved = checkpoint.committed(run / "checkpoints")
        assert not rubbish(run) and not (run / "summary.json").exists()
        assert [checkpoint.load(path).step for path in saved] == [1, 2][: len(saved)]
        assert "Traceback" not in capfd.readouterr().err, "the writer's thread says nothing"
        if full % 7 == 1:
            train(teaching(world, run=str(run), **config))
            assert run_result(run) == wanted


def test_r16_a_twin_survives_a_disk_that_fills_up_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marker, images, labels, lists, manifest. Made again with room, it is that of an undisturbed
    call."""
    camvid(tmp_path / "d1", train=2, val=1)

    def distort(out: Path) -> Any:
        data, shift = DataConfig(name="camvid", root=str(tmp_path / "d1")), ShiftConfig("cubism")
        make_distorted(DistortConfig(data=data, shift=shift, out=str(out), workers=1))
        return files_result(out)

    with disk(monkeypatch, tmp_path / "straight") as counted:
        wanted = distort(tmp_path / "straight")
    assert counted.calls > 25
    for full in range(1, counted.calls + 1, 3):
        out = tmp_path / f"full{full}"
        with disk(monkeypatch, out, full), pytest.raises(OSError) as caught:
            distort(out)
        refused(caught.value, out, errno.ENOSPC)
        assert not rubbish(out) and not (out / "manifest.json").exists()
        assert distort(out) == wanted


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
    given = (
        "data=camvid", f"data.root={world / 'd1'}", "network.width=0.0625", "batch=2",
        "network.batch_norm=true", "data.crop=[32,40]", "steps=4", "log_every=1",
        "checkpoint_every=1", "device=cpu", "precision=fp32",
    )  # fmt: skip
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
    twin = ("make_distorted_voc.py", "data=camvid", f"data.root={world / 'd1'}", "shift=cubism")
    refusal = warm.run(*twin, f"out={small / 'twin'}", "workers=1", status=74).stderr
    assert refusal == f"error: {small / 'twin'}: Read-only file system\n"
