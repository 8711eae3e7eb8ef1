"""The five folds of CWFID: what is held out, and that every command of a fold can be composed."""

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
    for fold in range(5):
        home, parts = tmp_path / f"fold{fold}", dict[str, list[str]]()
        data = script["data_of"](fold, samples, home / "data")
        commands = script["trainings"](fold, data, home, 1)
        teacher = settings_of(*commands.pop("teacher"))
        for part in ("train", "val"):
            found = load(teacher.data, part).samples
            texts = [[Path(file).read_text() for file in (s.x1, s.x2, s.y1)] for s in found]
            parts[part] = [x1.removeprefix("red/") for x1, *_ in texts]
            assert texts == [[f"{f}/{name}" for f in FOLDERS] for name in parts[part]]
        assert sorted(parts["train"] + parts["val"]) == names, "nothing is in both"
        held += parts["val"]
    assert held == names, "each once, neighbours together"
    student, *tuned = (settings_of(*command) for command in commands.values())
    assert {one.seed for one in (teacher, student, *tuned)} == {4}
    assert student.teacher == teacher.run and student.objective.name == "w_inc_kd"
    assert [(b2.start, b2.domain, b2.schedule.lr) for b2 in tuned] == [
        (teacher.run, "d2", 0.05), (teacher.run, "d2", 0.015),
    ]  # fmt: skip
