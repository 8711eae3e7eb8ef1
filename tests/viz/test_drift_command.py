"""fra drift: from two folders to tables, sentences and a page, with pairs and without."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commands import run

from adapt.errors import InputError
from adapt.settings.commands import DriftConfig
from adapt.settings.groups import DataConfig
from adapt.training.training_free import AS_IT_IS, Score, TrainingFree
from viz.report.drift import drift
from viz.report.drift_page import said_of_help

PAIRS = DataConfig("pairs", parts={"train": 0.5, "val": 0.5}, part="train")


@pytest.fixture(scope="module")
def folders(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: `old`, `new` with the same six scenes, `other` with two of them under other
    names, `some` with three of old's names."""
    home = tmp_path_factory.mktemp("drift")
    for name, source in (("old", "d1"), ("new", "d2")):
        shutil.copytree(world / source / "train", home / name)
    for number, file in enumerate(sorted((home / "new").iterdir())[:3]):
        for name, new in (("some", file.name), ("other", f"photo{number}.png")):
            (home / name).mkdir(exist_ok=True)
            if number < 2 or name == "some":
                shutil.copy(file, home / name / new)
    return home


def config(world: Path, folders: Path, new: str, **changes: object) -> DriftConfig:
    data = replace(PAIRS, root=str(folders / "old"), target=str(folders / new))
    where = {"teacher": str(world / "teacher"), "out": str(folders / "out"), "device": "cpu"}
    return replace(DriftConfig(data=data, **where), **changes)  # type: ignore[arg-type]


@pytest.mark.system
def test_the_command_on_a_weights_file(world: Path, folders: Path) -> None:
    """Its files say what it prints; the page needs nothing from elsewhere."""
    weights = ("network.width=0.03125", "network.batch_norm=true")
    data = ("data=pairs", "data.root=old", "data.target=new", "data.parts={train: 0.5, val: 0.5}")
    given = (f"teacher={world / 'teacher/model.safetensors'}", *weights, *data, "out=report")
    done = run("drift.py", *given, "device=cpu", cwd=folders)
    assert done.stderr == "" and not (folders / "runs").exists()
    record = json.loads((folders / "report/drift.json").read_text())
    assert all(sentence in done.stdout for sentence in record["findings"])
    assert record["made"]["pairs"] == 3
    with (folders / "report/drift.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["layer"] for row in rows][::20] == ["conv1.2", "classifier"]
    for row, kept in zip(rows, record["layers"], strict=True):
        parts = sum(float(row[part]) for part in ("means", "deviations", "pattern"))
        assert float(row["distance"]) == pytest.approx(parts) == pytest.approx(kept["distance"])
    with (folders / "report/channels.csv").open() as stream:
        count = sum(int(row["map"].split("x")[0]) for row in rows)
        assert len(list(csv.DictReader(stream))) == count
    page = (folders / "report/drift.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:image/png)', page) and "<script" not in page
    assert page.count("<img") == 2 * 9 + 1
    assert ">AdaBN</th>" in page and "Nothing can be concluded" in page


def test_folders_with_the_same_images_have_no_drift(world: Path, folders: Path) -> None:
    path = drift(config(world, folders, "old", images=0))
    record = json.loads((path.parent / "drift.json").read_text())
    assert {row["distance"] for row in record["layers"]} == {0.0}
    assert all(row["cka"] in (None, pytest.approx(1)) for row in record["layers"])
    assert record["agreement"][0]["agreement"] == 100
    assert record["findings"][-1] == "Old and new maps are equal in every layer."


def test_without_pairs_there_are_statistics_only(
    world: Path, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By other names, or because it is said; all images count, and not those held out."""
    for new, count, changes in (
        ("other", 2, {}),
        ("new", 6, {"pairs": False, "layers": ["pool1"]}),
    ):
        path = drift(config(world, folders, new, **changes))
        record = json.loads((path.parent / "drift.json").read_text())
        made = record["made"]
        assert (made["pairs"], made["old_images"], made["new_images"]) == (0, 6, count)
        assert record["findings"][0].startswith("There are no pairs") and not record["agreement"]
        for row in record["layers"]:
            assert row["distance"] == pytest.approx(row["means"] + row["deviations"])
            assert "cka" not in row and row["halves"] >= 0
        said = capsys.readouterr().out
        assert ("no name is in both" in said) == (new == "other")
    assert [row["layer"] for row in record["layers"]] == ["pool1"]


def test_wrong_input_is_named_and_nothing_written(world: Path, folders: Path) -> None:
    out = str(folders / "nothing")
    for new, changes, message in (
        ("some", {}, "3 in both; 3 only in .*pairs=false compares them without pairs"),
        ("other", {"images": 1}, "at least two old images are needed"),
        ("new", {"layers": ["pol1"]}, "Did you mean 'pool1'"),
        ("new", {"split": "tset"}, "'tset'.*Choices: train, val"),
        ("new", {"teacher": str(folders)}, "teacher: .* has no model.json, model.safetensors"),
        ("new", {"data": replace(PAIRS, root=str(folders / "old"))}, r"data\.target is empty"),
        ("new", {"data": replace(PAIRS, root=str(folders / "old"), target=str(folders / "new"),
                                 classes=["a", "b"])}, "teacher has 11 .*has 2 classes: a, b"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            drift(config(world, folders, new, out=out, **changes))
    with pytest.raises(InputError, match="drift needs teacher=RUN or FILE and out=DIR"):
        DriftConfig(out="o")
    assert not Path(out).exists()


def test_what_follows_is_said() -> None:
    """What helps most, what does harm, and what cannot be had; or that nothing is left to gain."""
    before, fda = Score(AS_IT_IS, 40.0, (38.0, 42.0)), Score("fda", 30.0, (28, 32), (-12.0, -8.0))
    both = Score("histogram + AdaBN", 47.0, (45.0, 49.0), (5.0, 9.0))
    little = Score("histogram", 40.2, (39.0, 42.0), (0.1, 0.4))

    def said(*scores: Score, no_adabn: str = "") -> str:
        return " ".join(said_of_help(TrainingFree(20, list(scores), [], no_adabn, {})))

    helped = said(before, both, little, fda)
    assert "at most 60.0 are to be gained" in helped
    assert "Without a training histogram + AdaBN makes it 47.0 (gain +5.0 to +9.0)" in helped
    assert "(fra evaluate adabn=true restyle=histogram)" in helped
    assert "fda does harm: it makes it 30.0 (-12.0 to -8.0)" in helped
    none = said(before, little, fda, no_adabn="no norm")
    assert "nothing helps for certain (histogram, fda): train" in none
    assert "There is no AdaBN: no norm" in none
    assert "nothing to adapt to" in said(Score(AS_IT_IS, 99.5, (99.0, 99.9)), both)
