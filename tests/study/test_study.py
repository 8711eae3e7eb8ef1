"""The plan of a study: who gets which budget, start and data, and in what order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapt.cli.study import inversions
from adapt.errors import InputError
from adapt.settings.commands import CalibrateConfig
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig, ShiftConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import Stage, StudyConfig
from adapt.settings.viz import InvertConfig
from adapt.study.grid import Study


@pytest.fixture
def study() -> Study:
    objectives = {
        name: ObjectiveConfig(name, RegressionConfig(1.0, {name: 1.0}))
        for name in ("pool5", "pool1")
    }
    return Study(
        StudyConfig(
            name="s",
            data=DataConfig(name="camvid", root="photos"),
            network=NetworkConfig(width=1 / 32, batch_norm=True),
            shifts={"a": ShiftConfig("ripple"), "b": ShiftConfig("cubism")},
            objectives=objectives,
            supervised=Stage(steps=30, penalty=PenaltyConfig("l2", 0.1, 0.1)),
            adaptation=Stage(
                steps=10, penalty=PenaltyConfig("l2_sp", 0.2, 0.2), memory_format="contiguous"
            ),
            bn="affine",
            batch=3,
            seeds=[0, 7],
            device="cpu",
        )
    )


def test_who_shares_budget_images_and_start(study: Study) -> None:
    """B1 differs from the teacher in its images only; B2 and the method in what they learn from."""
    data = replace(study.config.data, parts={"a": 0.5, "b": 0.5}, part="b")
    stage = replace(study.config.supervised, start="imagenet")
    made = Study(replace(study.config, data=data, teacher_part="a", supervised=stage))
    teacher, b1 = made.teaching(7), made.scratch(7, "a")
    assert (teacher.domain, b1.domain) == ("d1", "d2")
    assert teacher.start == b1.start == "imagenet" and teacher.teacher == b1.teacher == ""
    same = ("steps", "schedule", "penalty", "objective", "batch", "seed", "bn", "network")
    assert all(getattr(teacher, f) == getattr(b1, f) for f in same)
    assert teacher.steps == 30 and teacher.bn == "train"
    b2, method = made.tuning(7, "a"), made.adapting(7, "a", "pool5")
    same = ("steps", "schedule", "batch", "seed", "bn", "data", "domain", "memory_format")
    assert all(getattr(b2, f) == getattr(method, f) for f in same)
    assert (teacher.memory_format, b2.memory_format) == ("channels_last", "contiguous")
    assert b2.steps == 10 and b2.bn == "affine" and b2.data.target == "runs/s/shifts/a"
    assert b2.start == method.teacher == "runs/s/seed7/teacher" and method.start == b2.teacher == ""
    assert b2.objective.supervised.weight == 1 and method.objective.supervised.weight == 0
    assert (b2.penalty.name, method.penalty.name) == ("l2", "l2_sp")
    assert teacher.data.part == "a" and {run.data.part for run in (b1, b2, method)} == {"b"}


def test_every_cell_comes_once_and_after_what_it_needs(study: Study) -> None:
    results = [cell.result for cell in study.cells()]
    done: set[Path] = set()
    for cell in study.cells():
        trained = cell.result.parent / "summary.json"
        assert trained not in results or trained in done or cell.result == trained, cell.name
        if cell.name.startswith("train") and "teacher" not in cell.name:
            seed, shift = cell.result.parts[2], cell.result.parts[3]
            assert study.root / seed / "teacher" / "summary.json" in done
            assert study.root / "shifts" / shift / "manifest.json" in done
        done.add(cell.result)
    trainings = [c.name for c in study.cells() if c.name.startswith("train") and "seed0" in c.name]
    assert trainings == [
        "train seed0/teacher", "train seed0/a/pool5", "train seed0/b/pool5", "train seed0/a/B2",
        "train seed0/b/B2", "train seed0/a/pool1", "train seed0/b/pool1", "train seed0/a/B1",
        "train seed0/b/B1",
    ]  # fmt: skip
    assert len(done) == 2 * (1 + 1 + 2 * 2 + 2 * 8) + 2  # per seed, and the twins


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shifts": {}}, "experiment=NAME"),
        ({"baselines": ["b3"]}, "baselines"),
        ({"rates": {"pool9": [0.1]}}, r"rates.*'pool9'"),
        ({"shares": [1.0]}, "shares is 1"),
        ({"features_of": ["pool9"]}, r"features_of.*'pool9'"),
        ({"inversions_of": "pool9"}, r"inversions_of.*'pool9'"),
        ({"rates": {"B2": [0.1]}, "baselines": ["b0"]}, "baselines has no b2"),
        ({"shares": [0.1], "baselines": ["b0"]}, "shares is set, but baselines has no b2"),
        ({"features_of": ["pool5"], "features": ""}, "features_of is set, but features is not"),
        ({"inversions_of": "pool5", "inversions": 0}, "inversions_of is set, but inversions is"),
        ({"together": "pool9"}, r"together.*'pool9'"),
        ({"together": "pool5", "rates": {"pool5": [0.1, 0.2]}}, "together is pool5.*one rate"),
        ({"source": "a", "objectives": {}, "baselines": ["b0"]}, "there is nothing to train"),
        ({"settings": {"pool5": {"seed": 3}}}, r"settings\.pool5\.seed is set, but the study sets"),
        (
            {"settings": {"pool5": {"schedule": {"lr": 0.1}}}, "rates": {"pool5": [0.1]}},
            r"settings\.pool5\.schedule\.lr and rates\.pool5 are set: give one",
        ),
        ({"adaptation": Stage(start="imagenet")}, "an adaptation starts from the teacher"),
        ({"inversion": InvertConfig(image="a.png")}, "inversion.image is set"),
    ],
)
def test_wrong_grids_are_refused(study: Study, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Study(replace(study.config, **changes))


def test_adabn_is_left_out_where_there_is_no_batch_norm(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    without = Study(replace(study.config, network=NetworkConfig(width=1 / 32)))
    assert "AdaBN left out: deeplab_vgg16 has no batch norm" in capsys.readouterr().out
    missing = {c.name for c in study.cells()} - {c.name for c in without.cells()}
    assert len(missing) == 4 and all("adabn" in name for name in missing)


def test_one_network_for_all_shifts_is_of_the_same_students_and_steps(study: Study) -> None:
    made = Study(replace(study.config, together="pool1", rates={"pool1": [0.2]}, old_domain=True))
    cells = {c.name: c for c in made.cells()}
    known = {c.name for c in Study(replace(made.config, together="")).cells()}
    own = [name for name in cells if name not in known and "seed7" in name]
    assert own[:2] == ["merge seed7/merged", "train seed7/together"]
    scored = [(name.split()[1], name.split()[3]) for name in own[2:]]
    assert scored == [(f"seed7/{run}", f"camvid_{where}_val") for run in ("merged", "together")
                      for where in ("d2_a", "d2_b", "d1")]  # fmt: skip
    students = [made.adapting(7, shift, "pool1", "lr_0.2") for shift in "ab"]
    assert cells[own[0]].settings.runs == [student.run for student in students]
    both = cells[own[1]].settings
    assert both.steps == 20 and both.data.targets == {s: f"runs/s/shifts/{s}" for s in "ab"}
    apart = replace(students[0], run=both.run, steps=20, data=both.data)
    assert replace(both, objective=apart.objective) == apart


def test_each_objective_is_adapted_in_each_variant(study: Study) -> None:
    penalties = {"off": PenaltyConfig("none"), "f": PenaltyConfig("l2_sp_fisher", 0.3)}
    compared = replace(study.config, penalties=penalties, freezes=["2"], selection="tune")
    made = Study(compared)
    cells = {cell.name: cell for cell in made.cells()}
    assert list(cells)[:4] == [c.name for c in study.cells()][:4]
    runs = [made.adapting(7, "a", "pool5", variant) for variant in made.variants("pool5")]
    root = "runs/s/seed7/a/pool5"
    assert [r.run for r in runs] == [f"{root}_off", f"{root}_f", f"{root}_freeze_2"]
    assert [(r.penalty.name, r.penalty.fisher, r.freeze) for r in runs] == [
        ("none", "", ""),
        ("l2_sp_fisher", "runs/s/seed7/fisher.safetensors", ""),
        ("l2_sp", "", "2"),
    ]
    scored = [n.split("camvid_")[1] for n in cells if n.startswith("evaluate seed7/a/pool5_f ")]
    assert scored == ["d2_a_val", "d1_val", "d2_a_tune"]
    order = [list(cells).index(f"{n}seed7{m}") for n, m in (
        ("train ", "/teacher"), ("fisher ", "/teacher"), ("train ", "/a/pool5_off"))]  # fmt: skip
    assert order == sorted(order)
    assert len(cells) == len({cell.result for cell in cells.values()})


def test_rates_and_shares_are_runs_of_their_own_and_scored_for_choosing(study: Study) -> None:
    rates = {"pool1": [study.config.adaptation.schedule.lr, 0.3], "B2": [0.3]}
    config = replace(study.config, rates=rates, shares=[0.25], selection="tune", seeds=[0])
    made = Study(config)
    runs = [made.adapting(0, "a", "pool1", variant) for variant in made.variants("pool1")]
    assert [Path(run.run).name for run in runs] == ["pool1", "pool1_lr_0.3"]
    assert [run.schedule.lr for run in runs] == [config.adaptation.schedule.lr, 0.3]
    b2 = made.tunings(0)
    assert [Path(run.run).name for run in b2[:2]] == ["B2_lr_0.3", "B2_share_0.25"]
    assert [(run.schedule.lr, run.data.share) for run in b2[:2]] == [
        (0.3, 1.0),
        (config.adaptation.schedule.lr, 0.25),
    ]
    cells = [cell.name for cell in made.cells()]
    chosen_on = {name.split()[1] for name in cells if name.endswith("_tune")}
    wanted = {f"seed0/{s}/{n}" for s in "ab" for n in ("pool1", "pool1_lr_0.3")}
    assert wanted <= chosen_on and not any("pool5" in name for name in chosen_on)


def test_an_objective_may_have_settings_of_its_own(study: Study) -> None:
    """Nothing else of its training differs, and what they are called is checked before the first
    cell."""
    own = {"pool1": {"ema": 0.9, "schedule": {"name": "constant"}, "data": {"flip": False}}}
    config = replace(study.config, settings=own)
    plain, changed = (Study(c).adapting(7, "a", "pool1") for c in (study.config, config))
    assert (changed.ema, changed.schedule.name, changed.data.flip) == (0.9, "constant", False)
    schedule, data = plain.schedule, replace(changed.data, flip=True)
    assert replace(changed, ema=plain.ema, schedule=schedule, data=data) == plain
    assert replace(schedule, name="constant") == changed.schedule
    assert Study(config).adapting(7, "a", "pool5") == study.adapting(7, "a", "pool5")
    with pytest.raises(InputError, match="settings: 'pool9' is not known"):
        replace(study.config, settings={"pool9": {}})
    wrong = Study(replace(study.config, settings={"pool1": {"data": {"flop": False}}}))
    with pytest.raises(InputError, match=r"settings\.pool1\.data\.flop"):
        list(wrong.cells())


def test_choices_are_made_on_one_split_and_what_was_chosen_is_scored_on_another(
    study: Study,
) -> None:
    """The same trainings, without those at the other rates; both with what is kept."""
    lr = study.config.adaptation.schedule.lr
    every = {name: [lr, 0.3] for name in ("pool5", "pool1", "B2")}
    config = replace(study.config, rates=every, split="tune", old_domain=True, seeds=[0])
    config = replace(config, baselines=["b0", "b2"])
    first = [cell.name for cell in Study(config).cells()]
    assert len(first) == len(set(first)) and not any("_val" in name for name in first)
    then = replace(config, split="val", rates={name: [0.3] for name in every})
    second = [cell.name for cell in Study(then).cells()]
    assert not any("_tune" in name for name in second)
    trained = [{n for n in cells if n.startswith("train")} for cells in (first, second)]
    assert len(trained[0]) == 1 + 12
    assert trained[1] == {n for n in trained[0] if n.endswith(("_lr_0.3", "teacher"))}
    for name in ("pool1", "B2"):
        for split, cells in (("tune", first), ("val", second)):
            assert {
                f"evaluate seed0/a/{name}_lr_0.3 on camvid_{d}_{split}" for d in ("d1", "d2_a")
            } <= {*cells}


def test_labels_that_moved_are_scored_where_the_filter_moves_them(study: Study) -> None:
    shifts = study.config.shifts | {"c": ShiftConfig("photocopy")}
    baselines = [*study.config.baselines, "ridge", "fda", "histogram"]
    config = replace(study.config, shifts=shifts, moved=True, seeds=[0], baselines=baselines)
    cells = [cell.name for cell in Study(config).cells()]
    assert [n for n in cells if n.startswith("distort")] == [
        "distort a", "distort a_moved", "distort b", "distort b_moved", "distort c",
    ]  # fmt: skip
    scored = [n.split("_d2_")[1] for n in cells if n.startswith("evaluate seed0/a/pool5 ")]
    assert scored == ["a_val", "a_moved_val"]
    assert "evaluate seed0/c/pool5 on camvid_d2_c_val" in cells
    teacher = "evaluate seed0/teacher on camvid_d2_a"
    free = [n.split("_d2_")[1] for n in cells if n.startswith(teacher)]
    treated = [f"a_val_{how}" for how in ("adabn", "histogram", "fda", "ridge")]
    assert free == ["a_val", "a_moved_val", *treated]


def test_maps_of_named_objectives_are_compared(study: Study) -> None:
    config = replace(study.config, features=["pool3"], seeds=[0])
    for named, wanted in (([], ["pool5"]), (["pool5", "pool1"], ["pool5", "pool1"])):
        cells = [c.name for c in Study(replace(config, features_of=named)).cells()]
        found = [n for n in cells if n.startswith("compare seed0/a/")]
        assert found == [
            "compare seed0/a/features",
            *(f"compare seed0/a/{n}/features" for n in wanted),
        ]


def test_each_way_of_inverting_has_its_folder(study: Study, world: Path) -> None:
    data = DataConfig(name="camvid", root=str(world / "d1"))
    config = replace(study.config, data=data)
    for maps, of, folder in (
        ("own", "", "inversion"), ("teacher", "", "inversion_teacher"),
        ("teacher", "pool1", "inversion_teacher_pool1"),
    ):  # fmt: skip
        made = replace(config, inversion=InvertConfig(maps=maps), inversions_of=of)
        (cell,) = inversions(Study(made))
        assert cell.result.parts[:3] == ("runs", "s", folder)
    assert not list(inversions(Study(replace(config, objectives={})))), "no student"


def test_strengths_are_chosen_on_the_part_for_choices(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the teachers and twins may be those of another study."""
    asked: list[CalibrateConfig] = []
    monkeypatch.setattr("adapt.study.grid.calibrate", asked.append)
    shifts = {"a": ShiftConfig("ripple", distortion=30.0)}
    for selection, source in (("tune", ""), ("", "runs/other")):
        config = replace(study.config, shifts=shifts, selection=selection, source=source)
        (cell,) = [cell for cell in Study(config).cells() if cell.name == "calibrate a"]
        cell.perform()
    assert [(c.split, c.teacher, c.out) for c in asked] == [
        ("tune", "runs/s/seed0/teacher", "runs/s/shifts/a.json"),
        ("val", "runs/other/seed0/teacher", "runs/other/shifts/a.json"),
    ]
    run = Study(config).adapting(7, "a", "pool5")
    assert (run.teacher, run.data.target) == ("runs/other/seed7/teacher", "runs/other/shifts/a")
    assert run.run == "runs/s/seed7/a/pool5"


def test_a_chain_goes_from_date_to_date(study: Study) -> None:
    """Each date's student is taught by that of the date before, on the images of both dates."""
    shifts = study.config.shifts | {"c": ShiftConfig("photocopy")}
    made = Study(replace(study.config, shifts=shifts, chain=True, baselines=["b0"]))
    names = [cell.name for cell in made.cells()]
    wanted = [f"train seed0/{shift}/pool5_chain" for shift in "bc"]
    assert [name for name in names if "seed0" in name and name.endswith("pool5_chain")] == wanted
    plain = [made.adapting(0, shift, "pool5") for shift in "abc"]
    first, second = made.chained(plain)
    assert (first.teacher, second.teacher) == (plain[0].run, first.run)
    assert (first.data.root, first.data.target) == ("runs/s/shifts/a", "runs/s/shifts/b")
    assert (second.data.root, second.data.target) == ("runs/s/shifts/b", "runs/s/shifts/c")
    assert second.objective == replace(plain[2].objective, name="pool5_chain")
    kept = replace(
        second, run=plain[2].run, teacher=plain[2].teacher, data=plain[2].data,
        objective=plain[2].objective,
    )  # fmt: skip
    assert kept == plain[2], "nothing else differs"
    with pytest.raises(InputError, match="chain=true needs two shifts"):
        replace(study.config, shifts={"a": ShiftConfig("ripple")}, chain=True)
