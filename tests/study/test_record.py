"""A study's cells: done with the settings that are given now, or refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import experiment

from adapt.cli.dry_run import study as plan
from adapt.cli.study import study
from adapt.disk.files import read_json
from adapt.disk.runs import LOST
from adapt.errors import DIVERGED, InputError, Stopped
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig, ScheduleConfig, ShiftConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import Stage, StudyConfig
from adapt.settings.viz import InvertConfig
from adapt.study import Study, study_of
from adapt.study.cells import Cell
from adapt.study.record import RECORD, Record, uses
from results.page.records_of_runs import record

EXPERIMENTS = (Path(__file__).resolve().parents[2] / "configs/experiment").glob("*.yaml")
WITH_SOURCE = sorted(p.stem for p in EXPERIMENTS if "\nsource:" in p.read_text())


def cell(root: Path, result: str = "metrics.json", **settings: Any) -> Cell:
    made = EvaluateConfig(**({"run": str(root / "run")} | settings))
    return Cell(result, root / result, lambda: None, made)


def done_with(root: Path, **settings: Any) -> Record:
    """The record of a cell that is done with these settings."""
    record, made = Record((root,)), cell(root, **settings)
    record.add(made)
    made.result.touch()
    return record


def test_other_settings_are_refused_old_and_new(tmp_path: Path) -> None:
    record = done_with(tmp_path, split="val", loss=True)
    record.check([cell(tmp_path, split="val", loss=True)])
    words = "'metrics.json' was done with .*cells.json -> given.: loss: True -> False; split: 'val'"
    words += f" -> 'test'.*remove {tmp_path}/metrics.json, and it is done again"
    with pytest.raises(InputError, match=words):
        record.check([cell(tmp_path, split="test", loss=False)])
    (tmp_path / "metrics.json").unlink()
    record.check([cell(tmp_path, split="test", loss=False)])  # it is not done, so it will be


def test_what_was_made_from_a_network_that_would_be_another_is_refused(tmp_path: Path) -> None:
    """The same settings make the same network again, so that what is there stays its own."""
    teacher = Cell("teacher", tmp_path / "run/summary.json", lambda: None, ObjectiveConfig("a"))
    Record((tmp_path,)).add(teacher)
    scored = done_with(tmp_path)
    scored.check([teacher, cell(tmp_path)])
    other = replace(teacher, settings=ObjectiveConfig("b"))
    with pytest.raises(InputError, match=rf"'metrics.json' was made from {tmp_path}/run, which is "
                       rf"gone .*name: 'a' -> 'b'\): remove {tmp_path}/metrics.json"):  # fmt: skip
        scored.check([other, cell(tmp_path)])
    (tmp_path / "metrics.json").unlink()
    scored.check([other, cell(tmp_path)])


def test_what_does_not_shape_a_result_may_differ(tmp_path: Path) -> None:
    data = DataConfig("camvid", "photos", explicit=["name"])
    record = done_with(tmp_path / "a", data=data, run=str(tmp_path / "a/run"), workers=1)
    record.check([cell(tmp_path / "a", data=replace(data, explicit=[]), workers=2)])


def test_data_that_lay_elsewhere_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = done_with(tmp_path, data=DataConfig("camvid", "photos"))
    record.check([cell(tmp_path, data=DataConfig("camvid", "test"))])
    words = "warning: data.root: 'photos' -> 'test'; what was done before stays: metrics.json\n"
    assert capsys.readouterr().out == words
    with pytest.raises(InputError, match=r"given.: data\.share: 1\.0 -> 0\.5\. Give"):
        record.check([cell(tmp_path, data=DataConfig("camvid", "test", share=0.5))])


def test_a_study_may_be_moved(tmp_path: Path) -> None:
    done_with(tmp_path / "a", teacher=f"{tmp_path}/a/teacher")
    (tmp_path / "a").rename(tmp_path / "b")
    Record((tmp_path / "b",)).check([cell(tmp_path / "b", teacher=f"{tmp_path}/b/teacher")])
    with pytest.raises(InputError, match=r"teacher: 'teacher' -> '.*/c/teacher'"):
        Record((tmp_path / "b",)).check([cell(tmp_path / "b", teacher=f"{tmp_path}/c/teacher")])


def test_a_setting_that_a_record_lacks_is_its_default(tmp_path: Path) -> None:
    record = done_with(tmp_path)
    text = (tmp_path / RECORD).read_text()
    (tmp_path / RECORD).write_text(text.replace('"loss": false,', ""))
    record.check([cell(tmp_path)])
    with pytest.raises(InputError, match="loss: False -> True"):
        record.check([cell(tmp_path, loss=True)])
    (tmp_path / RECORD).unlink()
    record.check([cell(tmp_path, loss=True)])  # of an earlier version: believed


def test_two_cells_with_one_result_are_refused(tmp_path: Path) -> None:
    twins = [cell(tmp_path, split="val"), cell(tmp_path, split="test")]
    with pytest.raises(InputError, match=r"two cells would write .*split: 'val' -> 'test'"):
        Record((tmp_path,)).check(twins)
    Record((tmp_path,)).check([twins[0], twins[0]])


@pytest.fixture
def config(world: Path, tmp_path: Path) -> StudyConfig:
    return StudyConfig(
        runs=str(tmp_path / "first"),
        data=DataConfig("camvid", str(world / "d1"), resize=[32, 24]),
        network=NetworkConfig(width=1 / 32),
        shifts={"a": ShiftConfig("ripple")},
        objectives={"pool5": ObjectiveConfig("pool5", RegressionConfig(1.0, {"pool5": 1.0}))},
        baselines=["b0"],
        supervised=Stage(steps=1),
        adaptation=Stage(steps=1),
        inversions=0,
        report="none",
        device="cpu",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"objectives": {"x": ObjectiveConfig("x", RegressionConfig(1.0, {"pool9": 1.0}))}},
            r"objectives\.x\.regression\.taps: layer: 'pool9' is not known",
        ),
        (
            {
                "objectives": {"y": ObjectiveConfig("y", RegressionConfig(1.0, {"pool9": 1.0}))},
                "settings": {"y": {"taps": "auto"}},
                "features": ["pool77"],
            },
            "features: layer: 'pool77'",
        ),
        ({"features": ["pool55"]}, r"features: layer: 'pool55'.* Did you mean 'pool5'"),
        ({"freezes": ["17"]}, "freeze=17: the network has 16 convolution"),
        ({"inversions": 1, "inversion": InvertConfig(taps={"pool0": 1.0})}, "inversion.*'pool0'"),
    ],
)
def test_layers_are_known_before_the_first_cell(
    config: StudyConfig, changes: dict[str, Any], words: str
) -> None:
    wrong = replace(config, **changes)
    for command in (study, plan):
        with pytest.raises(InputError, match=words):
            command(wrong)
    assert not Path(config.runs).exists()


@pytest.mark.parametrize("name", WITH_SOURCE)
def test_an_experiment_with_a_source_does_the_same_there(name: str) -> None:
    """The cells that two studies share have the same settings in both, or the second one stops."""
    own = study_of(experiment(name, "data.root=photos"))
    source = study_of(experiment(Path(own.config.source).name.replace("contest", "contest_round1"),
                                 "data.root=photos"))  # fmt: skip
    assert isinstance(own, Study) and source.root == own.source
    shared = {cell.result for cell in source.cells()} & {cell.result for cell in own.cells()}
    assert len(shared) > 3
    first = [cell for cell in (*source.cells(), *own.cells()) if cell.result in shared]
    Record(own.folders).check(first)


def test_a_study_and_the_one_that_has_its_teachers(config: StudyConfig, tmp_path: Path) -> None:
    """From end to end: done again nothing is done, changed settings are refused by both commands,
    and a study with `source` is held to what its teachers were trained with."""
    table = study(config).read_bytes()
    cells = read_json(tmp_path / "first" / RECORD)
    assert next(iter(cells)) == "seed0/teacher/summary.json" and len(cells) == 6
    assert study(config).read_bytes() == table
    other = replace(config, adaptation=Stage(steps=1, schedule=ScheduleConfig(lr=0.5)))
    for command in (study, plan):
        words = (
            r"'train seed0/a/pool5' .*schedule\.lr: .* -> 0\.5.* remove .*/pool5, and it is done"
        )
        with pytest.raises(InputError, match=words):
            command(other)
    second = replace(other, runs=str(tmp_path / "second"), source=str(tmp_path / "first"))
    with pytest.raises(InputError, match=r"source: no such folder: .*/fist; do that study first"):
        study(replace(second, source=str(tmp_path / "fist")))
    with pytest.raises(InputError, match=r"train .*/teacher' .*first/cells.json.*steps: 1 -> 2"):
        study(replace(second, supervised=Stage(steps=2)))
    rows = json.loads(study(second).read_text())
    study(replace(second, report=""))
    assert not (tmp_path / "second/seed0/teacher").exists()
    lines = json.loads((tmp_path / "second/report.json").read_text())
    for found in (rows, lines):
        assert {line["method"] for line in found} == {"teacher", "B0", "pool5"}


def test_a_training_that_diverges_does_not_stop_the_others(
    config: StudyConfig, tmp_path: Path
) -> None:
    """At 1e20 the second step's loss is not finite; what comes after it is done all the same."""
    rates = {"pool5": [1e20, 0.01]}
    wild = replace(config, rates=rates, adaptation=Stage(steps=2), split="train")
    for _ in range(2):
        with pytest.raises(
            Stopped, match=r"^the rest is done, but train .*_lr_1e\+20: step"
        ) as end:
            study(wild)
        assert end.value.status == DIVERGED
    noted = read_json(tmp_path / "first" / LOST)
    assert list(noted) == ["seed0/a/pool5_lr_1e+20"] and "is not finite" in str(noted)
    assert list((tmp_path / "first/seed0/a/pool5").glob("metrics_*.json")), "0.01 is scored"
    study(replace(wild, rates={"pool5": [0.01]}))
    (path,) = record(tmp_path / "first", tmp_path / "records")
    assert read_json(path)["diverged"] == ["a/pool5_lr_1e+20"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"run": "r/a"}, True), ({"run": "r/a/model"}, True), ({"run": "r/ab"}, False),
        ({"teacher": "backbone:r/a/model"}, True), ({"run": "r/b,r/a"}, True),
        ({"run": "x/r/a"}, False),
    ],
)  # fmt: skip
def test_what_a_cell_is_made_from(settings: dict[str, str], named: bool) -> None:
    made = Cell("c", Path("r/c"), lambda: None, EvaluateConfig(**({"run": "x"} | settings)))
    assert uses(made, Path("r/a")) == named
