"""The five folds of CWFID: what is held out, and that every command of a fold can be composed."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from commands import settings_of

from adapt.data import load
from adapt.data.pairs import read_csv

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/cwfid_folds.py"
FOLDERS = ("red", "nir", "labels")


def test_every_image_is_held_out_once_with_its_partner_and_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve images, so that folds differ in size; files hold their own names, as nothing here
    looks at pixels."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(SCRIPT))
    names = [f"{number:03}.png" for number in range(12)]
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(f"{folder}/{name}")
    rows = [",".join(f"{folder}/{name}" for folder in FOLDERS) for name in names]
    (tmp_path / "pairs.csv").write_text("\n".join(["x1,x2,y1", *rows]))
    samples, held = read_csv(tmp_path / "pairs.csv"), list[str]()
    tuned = list[str]()
    for fold in range(5):
        home, parts = tmp_path / f"fold{fold}", dict[str, list[str]]()
        data = script["data_of"](fold, samples, home / "data")
        commands = script["trainings"](fold, data, home, 1)
        teacher = settings_of(*commands.pop("teacher"))
        for part in ("train", "val", "tune"):
            found = load(teacher.data, part).samples
            texts = [[Path(file).read_text() for file in (s.x1, s.x2, s.y1)] for s in found]
            parts[part] = [x1.removeprefix("red/") for x1, *_ in texts]
            assert texts == [[f"{f}/{name}" for f in FOLDERS] for name in parts[part]]
        assert sorted(one for part in parts.values() for one in part) == names, "nothing is in two"
        held += parts["val"]
        tuned += parts["tune"]
    assert held == sorted(tuned) == names, "each once, neighbours together"
    made = [settings_of(*command) for command in commands.values()]
    assert {one.seed for one in (teacher, *made)} == {4}
    students, b2 = made[:2], made[2:]
    assert {(s.teacher, s.objective.name) for s in students} == {(teacher.run, "w_inc_kd")}
    assert {(s.start, s.domain) for s in b2} == {(teacher.run, "d2")}
    rates = [[one.schedule.lr for one in method] for method in (students, b2)]
    assert rates == [[0.05, 0.015]] * 2, "as many candidates"


def test_rates_are_chosen_on_the_tuning_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student's by agreement, B2's by labels; what is held out says the opposite."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(SCRIPT))
    better = {"w_inc_kd": ("agreement", 0.015), "B2": ("truth", 0.05)}
    for name, (key, best) in better.items():
        for rate in (0.05, 0.015):
            for part in ("tune", "val"):
                good = (rate == best) == (part == "tune")
                scored = {"agreement": {"miou": 20.0}, "truth": {"miou": 20.0}}
                scored[key] = {"miou": 30.0 if good else 10.0}
                path = tmp_path / f"{name}_lr_{rate}/metrics_pairs_d2__{part}.json"
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps(scored))
    assert script["chosen"](tmp_path) == {"w_inc_kd": 0.015, "B2": 0.05}
