"""What adapt says of the pairs before its first step, and that it changes nothing."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run
from textures import write_pairs
from tiny import Interrupted, adapting, crash_at, same

from adapt.align.models import moved_by
from adapt.settings.groups import DataConfig
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.settings.training import TrainConfig
from adapt.training.adapt import adapt
from adapt.training.pairs import say_pairs
from adapt.training.setup import Setup, prepare, resolve
from adapt.training.train import train

SIZE = (96, 128)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose x2 lies 5 px off x1 in `near`, and 12 px in `far`."""
    root = tmp_path_factory.mktemp("pairs")
    for name, off in (("near", (4, -3)), ("far", (12, 1))):
        write_pairs(root / name, [moved_by(*off)] * 5, SIZE)
    return root


def config(world: Path, place: Path, run: Path, **changes: Any) -> TrainConfig:
    data = DataConfig(name="pairs", root=str(place / "OLD"), target=str(place / "NEW"))
    changed = {"data": data, "steps": 2} | changes
    return adapting(world, run, **changed)


def setup_of(config: TrainConfig) -> Setup:
    return prepare(*resolve(config))


@pytest.mark.parametrize(
    ("place", "resize", "taps", "cells"),
    [
        ("near", [], ["pool3"], ""),
        ("near", [], ["pool1"], "2.5 cells of layer pool1, of 2 px each"),
        ("near", [], ["pool1", "pool3"], ""),
        ("near", [192, 256], ["pool3"], "1.2 cells of layer pool3, of 8 px each"),
        ("far", [], ["pool3"], "1.5 cells of layer pool3, of 8 px each"),
        ("far", [48, 64], ["pool3"], ""),
    ],
)
def test_an_offset_above_a_cell_of_the_deepest_tap_is_a_warning(
    world: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    place: str,
    resize: list[int],
    taps: list[str],
    cells: str,
) -> None:
    given = config(world, home / place, Path("unused"))
    regression = RegressionConfig(1.0, dict.fromkeys(taps, 1.0))
    objective = ObjectiveConfig("taps", regression=regression, kd=KDConfig(1.0))
    data = replace(given.data, resize=resize)
    setup = setup_of(replace(given, data=data, objective=objective))
    capsys.readouterr()
    before = torch.get_rng_state()
    say_pairs(setup)
    assert torch.equal(torch.get_rng_state(), before)
    said = capsys.readouterr().out
    assert "sample of 5 of 5 pairs: x1 128x96, brightness " in said
    assert ("warning" in said) == bool(cells) and cells in said


def test_it_is_said_once_and_changes_nothing(
    world: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = config(world, home / "far", tmp_path / "a", steps=3, checkpoint_every=1)
    with pytest.raises(Interrupted):
        adapt(given, crash_at(2))
    assert "warning: x2 lies (+12.0, +1.0) px off x1, 1.5 cells" in capsys.readouterr().out
    adapt(given)
    said = capsys.readouterr().out
    assert "resuming" in said and "px off x1" not in said
    train(replace(given, run=str(tmp_path / "b")))
    assert "px off x1" not in capsys.readouterr().out
    assert same(tmp_path / "a", tmp_path / "b")


def test_a_broken_image_is_left_to_the_training(
    world: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path, [moved_by(0, 0)] * 3, SIZE)
    setup = setup_of(config(world, tmp_path, Path("unused")))
    image = tmp_path / "NEW/1.png"
    image.write_bytes(image.read_bytes()[:-400])
    capsys.readouterr()
    say_pairs(setup)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"pairs: no sample: {image}: ")


@pytest.mark.system
def test_the_command_of_the_warning_cures_it(world: Path, home: Path) -> None:
    given = ("data=pairs", "data.root=OLD", "data.target=NEW", f"teacher={world / 'teacher'}",
             "taps=[pool3]", "steps=1", "batch=2", "device=cpu", "precision=fp32")  # fmt: skip
    place = home / "far"
    *_, align, setting = (
        run("adapt.py", *given, "run=before", cwd=place)
        .stdout.partition("warning: ")[2]
        .splitlines()[:3]
    )
    fra, name, *settings = shlex.split(align)
    assert (fra, name) == ("fra", "align")
    run("align.py", *settings, "workers=1", cwd=place)
    again = run("adapt.py", *given, setting.split()[-1], "run=after", cwd=place).stdout
    assert "x2 lies (+0.0, +0.0) px off x1" in again and "warning" not in again
