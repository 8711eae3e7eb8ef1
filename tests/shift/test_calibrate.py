"""Calibration: the distortion it states is the one that make_distorted_voc and evaluate give."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from adapt.data import load, some
from adapt.data.images import read_image
from adapt.disk.files import read_json, write_json
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.metrics import per_class, scores_of
from adapt.settings.commands import CalibrateConfig, DistortConfig, EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig, ShiftConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import StudyConfig
from adapt.shift import calibrate as calibration
from adapt.shift.calibrate import Attempt, between, calibrate, nearest, one_answer
from adapt.shift.distort import make_distorted, shifted
from adapt.study.grid import Study

CUBISM = ShiftConfig(
    "cubism", {"tile_size": 4.0, "tile_saturation": 2.0}, 50.0, [{}, {"tile_size": 9.0}]
)


def config(world: Path, out: Path, **changes: object) -> CalibrateConfig:
    made = CalibrateConfig(
        teacher=str(world / "teacher"), shift=CUBISM, out=str(out), device="cpu", precision="fp32"
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_its_scores_are_evaluates_on_the_twin_of_the_same_parameters(
    world: Path, tmp_path: Path, fit: str
) -> None:
    """A filter with a seed, so that the twin's images are the very ones that were tried, and acts
    on them before they are cut to a shape."""
    seen = DataConfig() if fit == "stretch" else DataConfig(fit=fit, resize=[40, 40])
    found = read_json(calibrate(config(world, tmp_path / "c.json", data=seen)))
    assert [t["parameters"]["tile_size"] for t in found["trials"]] == [4.0, 9.0]
    for number, tried in enumerate(found["trials"]):
        twin = tmp_path / f"twin{number}"
        data = DataConfig(name="camvid", root=str(world / "d1"))
        shift = ShiftConfig("cubism", tried["parameters"])
        make_distorted(DistortConfig(data=data, shift=shift, out=str(twin), workers=1))
        common = {"teacher": str(world / "teacher"), "device": "cpu", "precision": "fp32"}
        clean, shifted = (
            read_json(evaluate(EvaluateConfig(data=d, domain=domain, **common)))["truth"]  # type: ignore[arg-type]
            for domain, d in (("d1", seen), ("d2", replace(seen, target=str(twin))))
        )
        assert tried["miou"] == pytest.approx(shifted["miou"], abs=1e-9)
        assert tried["class_accuracy"] == pytest.approx(shifted["class_accuracy"], abs=1e-9)
        losses = [abs(clean[k] - shifted[k]) / clean[k] for k in ("miou", "class_accuracy")]
        assert tried["distortion"] == pytest.approx(100 * sum(losses) / 2, abs=1e-9)


def trials(*pairs: tuple[float, float], **fixed: object) -> list[Attempt]:
    return [Attempt({"a": a, "b": 2, **fixed}, 0, 0, d) for a, d in pairs]


def test_the_nearest_is_chosen_and_the_next_lies_between_the_nearest_on_either_side() -> None:
    equals = trials((0, 10.0), (1, 40.0), (2, 50.0), (3, 30.0))
    assert nearest(equals, 35.0) is equals[1], "the earliest of equals"
    assert nearest(equals, 99.0) is equals[2]
    tried = trials((1.0, 10.0), (9.0, 70.0), (3.0, 20.0), (7.0, 60.0))
    assert between(tried, 30.0) == {"a": 4.0, "b": 2}
    assert between(tried, 21.0) == {"a": 3.4, "b": 2}  # a tenth of the way at least
    assert between(tried, 59.0) == {"a": 6.6, "b": 2}
    assert between(tried, 20.4) is None  # close enough
    again = [*tried, Attempt({"a": 4.0, "b": 2}, 0, 0, 61.0)]  # no step forward
    assert between(again, 30.0) == {"a": 3.5, "b": 2}
    assert between(tried, 75.0) is None and between(tried, 5.0) is None
    mixed = [*trials((1.0, 10.0), wave="sine"), *trials((3.0, 20.0), wave="triangle")]
    assert between(mixed, 15.0) is None
    assert between([*trials((1.0, 10.0)), *trials((3.0, 20.0), c=1)], 15.0) is None


def test_refining_closes_in(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a distortion that is a known function of the tile size instead of the measured one."""
    replaced = {
        "counted": lambda *given: given[-1].parameters["tile_size"] if given[-1] else 0.0,
        "one_answer": lambda size: size,
        "scores_of": lambda size: SimpleNamespace(size=size, miou=0.0, class_accuracy=0.0),
        "distortion": lambda clean, found: found.size**1.5,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(calibration, name, function)
    shift = replace(CUBISM, distortion=17.0, candidates=[{"tile_size": 9.0}, {"tile_size": 4.0}])
    for refine, error in ((0, 9.0), (1, 1.5), (4, 0.5)):
        changes = {"shift": shift, "refine": refine, "images": 1}
        found = read_json(calibrate(config(world, tmp_path / f"{refine}.json", **changes)))
        assert abs(found["distortion"] - 17.0) <= error
        assert len(found["trials"]) <= 2 + refine
        assert found["parameters"]["tile_saturation"] == 2.0
    chosen = nearest([Attempt(**t) for t in found["trials"]], 17.0)
    assert chosen.parameters == found["parameters"]


def test_a_constant_answer_finds_one_class_only() -> None:
    matrix = np.array([[5, 1, 0], [2, 9, 3], [0, 0, 4]])
    found = scores_of(one_answer(per_class(matrix)))
    assert found.class_accuracy == pytest.approx(100 / 3)
    assert found.miou == pytest.approx(100 * (14 / 24) / 3)


def test_fewer_images_are_spread_over_the_split(world: Path) -> None:
    data = load(DataConfig(name="camvid", root=str(world / "d1")), "train")
    assert [s.name for s in some(data, 3).samples] == [data.samples[i].name for i in (0, 2, 5)]
    assert some(data, 0) is data and some(data, 99) is data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": ShiftConfig("ripple")}, "shift.candidates of ripple is empty"),
        ({"shift": replace(CUBISM, candidates=[{"tile_sise": 3.0}])}, "tile_sise"),
        ({"shift": replace(CUBISM, candidates=[{"tile_size": -3.0}])}, "cubism"),
        ({"teacher": "nowhere"}, "teacher: no such run folder: nowhere"),
    ],
)
def test_wrong_input_is_named_and_nothing_written(
    world: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(config(world, tmp_path / "c.json", **changes))
    assert not list(tmp_path.iterdir())


def test_images_that_the_filters_are_not_made_for_are_named(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(DataConfig(name="camvid", root=str(world / "d1")), "val")
    data = replace(data, classification=True)
    with monkeypatch.context() as patched:
        patched.setattr(calibration, "load", lambda *_: data)
        with pytest.raises(InputError, match=r"calibrate: camvid has one label an image"):
            calibrate(config(world, tmp_path / "c.json"))
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint16))
    with pytest.raises(InputError, match=r"deep\.png: cubism is for 8-bit RGB; .* of uint16"):
        shifted(read_image(path), path, CUBISM, 0)


def test_a_study_distorts_with_the_parameters_that_were_found(tmp_path: Path, world: Path) -> None:
    study = Study(
        StudyConfig(
            runs=str(tmp_path),
            data=DataConfig(name="camvid", root=str(world / "d1")),
            network=NetworkConfig(width=1 / 32, batch_norm=True),
            shifts={"strong": CUBISM, "other": replace(CUBISM, distortion=0.0)},
            objectives={"pool5": ObjectiveConfig("pool5", RegressionConfig(1.0, {"pool5": 1.0}))},
            seeds=[0, 1],
        )
    )
    cells = {cell.name: cell for cell in study.cells()}
    needed = [name for name in cells if name == "train seed0/teacher" or "strong" in name]
    assert needed[:3] == ["train seed0/teacher", "calibrate strong", "distort strong"]
    assert "calibrate other" not in cells
    write_json(cells["calibrate strong"].result, {"parameters": {"tile_size": 7.0}})
    cells["distort strong"].perform()
    assert read_json(tmp_path / "shifts/strong/shift.json")["parameters"] == {"tile_size": 7.0}
