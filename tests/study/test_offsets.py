"""Offsets that a study plants in its pairs: which cells there are, and where x2 then lies."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from adapt.data import load
from adapt.data.images import read_image
from adapt.data.sampling import Decoder
from adapt.settings.groups import DataConfig, NetworkConfig, ShiftConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import StudyConfig
from adapt.study.grid import Study
from adapt.study.offsets import RANDOM, SYSTEMATIC, Misaligned, offset


def test_each_objective_meets_each_offset_before_and_after_align() -> None:
    study = Study(
        StudyConfig(
            name="s",
            data=DataConfig(name="camvid", root="photos"),
            network=NetworkConfig(width=1 / 32),
            shifts={"a": ShiftConfig("photocopy")},
            objectives={"pool5": ObjectiveConfig("pool5", RegressionConfig(1.0, {"pool5": 1.0}))},
            offsets=[8.0],
            baselines=["b0"],
            seeds=[0, 7],
        )
    )
    cells = [cell.name for cell in study.cells()]
    once = [name for name in cells if name.split()[0] in ("plant", "align")]
    kinds = ("systematic_8", "random_8")
    assert once == [f"{what} offsets/a/{kind}" for kind in kinds for what in ("plant", "align")]
    runs = ["pool5", *(f"pool5_{kind}{end}" for kind in kinds for end in ("", "_aligned"))]
    for seed in (0, 7):
        begun = f"train seed{seed}/a/"
        assert [n.removeprefix(begun) for n in cells if n.startswith(begun)] == runs
        scored = [n for n in cells if n.startswith(f"evaluate seed{seed}/a/")]
        assert scored == [f"evaluate seed{seed}/a/{run} on camvid_d2_a_val" for run in runs]
    made = study.adapting(7, "a", "pool5")
    for run, name in zip(study.off(made, "a"), runs[1:], strict=True):
        assert (Path(run.run).name, run.objective.name) == (name, name)
        same = {"run": made.run, "data": made.data, "objective": made.objective}
        assert replace(run, **same) == made, "nothing but the pairs differs"


def test_offsets_have_one_length_and_one_or_all_directions() -> None:
    names = [str(number) for number in range(200)]
    assert {offset(SYSTEMATIC, 24.0, name) for name in names} == {(21, 11)}
    each = np.array([offset(RANDOM, 24.0, name) for name in names])
    assert np.abs(np.hypot(*each.T) - 24).max() < 1 and len(np.unique(each, axis=0)) > 80
    assert np.hypot(*each.mean(axis=0)) < 24 * 3 / math.sqrt(len(names))


def test_planted_transforms_and_moved_images_are_the_same(world: Path, tmp_path: Path) -> None:
    """Namely x2 shifted by whole pixels; what it then does not show is not valid."""
    data = DataConfig(name="camvid", root=str(world / "d1"), target=str(world / "d2"), flip=False)
    off = Misaligned(data, RANDOM, 5.0, tmp_path / "random_5")
    off.plant(workers=1)
    planted, moved = off.versions[""], load(off.moved, "train")
    data_set = load(planted, "train")
    read = Decoder(data_set, planted, ["x1", "x2", "valid"])
    for sample, written in zip(data_set.samples, moved.samples, strict=True):
        assert sample.name == written.name and sample.x2 and written.x2
        (x, y), found = offset(RANDOM, 5.0, sample.name), read(sample)
        source, image = read_image(sample.x2), read_image(written.x2)
        inside = found["valid"] == 1
        height, width = inside.shape
        assert inside.sum() == (height - abs(y)) * (width - abs(x))
        expected = np.roll(source, (y, x), axis=(0, 1)) * inside[..., None]
        np.testing.assert_array_equal(found["x2"], expected)
        np.testing.assert_array_equal(image, expected)
