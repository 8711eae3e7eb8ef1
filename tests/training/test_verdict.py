"""The verdict after an adaptation: what evaluate says of teacher and student, without labels."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import adapting, teaching
from trees import images

from adapt.disk.files import read_json
from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.training.adapt import adapt
from adapt.training.train import train
from adapt.training.verdict import VERDICT, Verdict, read_verdict


def agreement(path: Path) -> float:
    return read_json(path)["agreement"]["miou"]


def test_before_and_after_are_evaluates_agreement_of_b0_and_of_the_run(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = adapt(adapting(world, tmp_path / "run", steps=3))
    found = Verdict(**read_json(run / VERDICT))
    data = DataConfig(target=str(world / "d2"))
    teacher = str(world / "teacher")
    common = {"domain": "d2", "device": "cpu", "precision": "fp32", "data": data}
    b0 = evaluate(EvaluateConfig(teacher=teacher, **common))  # type: ignore[arg-type]
    mine = evaluate(EvaluateConfig(run=str(run), **common))  # type: ignore[arg-type]
    adabn = evaluate(EvaluateConfig(teacher=teacher, adabn=True, batch=2, **common))  # type: ignore[arg-type]
    assert found.before == pytest.approx(agreement(b0), abs=1e-9)
    assert found.adabn == pytest.approx(agreement(adabn), abs=1e-9) and found.adabn_images == 6
    assert found.after == pytest.approx(agreement(mine), abs=1e-9)
    assert found.pairs == 3 and found.better + found.worse <= 3
    assert str(found) in capsys.readouterr().out


def test_an_unchanged_student_changes_nothing(world: Path, tmp_path: Path) -> None:
    run = adapt(adapting(world, tmp_path / "run", steps=0))
    found = Verdict(**read_json(run / VERDICT))
    assert found.before == found.after and found.better == found.worse == 0
    assert found.conclusion == "unclear" and "0 steps" in str(found)


def test_a_teacher_that_was_evaluated_gives_the_gain_to_expect(world: Path, tmp_path: Path) -> None:
    """Its mIoU by labels is that of its val split; without it nothing is said of labels."""
    unscored = shutil.ignore_patterns("metrics_*.json")
    teacher, other = (
        shutil.copytree(world / "teacher", tmp_path / name, ignore=unscored)
        for name in ("teacher", "other")
    )
    how = {"domain": "d1", "device": "cpu", "precision": "fp32"}
    elsewhere = DataConfig(root=str(shutil.copytree(world / "d2", tmp_path / "d2")))
    for own in (teacher, other):  # labelled images of another folder are not its own
        evaluate(EvaluateConfig(run=str(own), split="val", data=elsewhere, **how))  # type: ignore[arg-type]
    scored = evaluate(EvaluateConfig(run=str(teacher), split="val", **how))  # type: ignore[arg-type]
    evaluate(EvaluateConfig(run=str(teacher), split="train", **how))  # type: ignore[arg-type]
    for name, own in (("known", teacher), ("unknown", other)):
        run = adapt(adapting(world, tmp_path / name, steps=1, teacher=str(own)))
        found = Verdict(**read_json(run / VERDICT))
        assert found.clean == (read_json(scored)["truth"]["miou"] if name == "known" else None)
        clear = replace(found, reasons=[], before=20.0, after=40.0)
        assert ("by labels" in str(clear)) == (name == "known")
        assert "by labels" not in str(found), "three pairs are too few to expect anything"


def test_a_finished_run_says_its_verdict_again(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = adapting(world, tmp_path / "run", steps=1)
    first = (adapt(config) / VERDICT).read_bytes()
    capsys.readouterr()
    again = adapt(config)
    said = capsys.readouterr().out
    assert "finished already" in said and "held-out pairs" in said
    assert (again / VERDICT).read_bytes() == first


def test_a_run_that_is_made_anew_from_another_teacher_is_judged_anew(
    world: Path, tmp_path: Path
) -> None:
    """In the folder that still has the old verdict, which nobody takes for the new run's."""
    teacher = shutil.copytree(world / "teacher", tmp_path / "teacher")
    config = adapting(world, tmp_path / "run", steps=1, teacher=str(teacher))
    first = read_verdict(run := adapt(config))
    shutil.rmtree(teacher)
    train(teaching(world, run=str(teacher), steps=9))
    shutil.rmtree(run / "checkpoints")
    for name in ("model.safetensors", "model.json", "summary.json"):
        (run / name).unlink()
    train(config)
    assert first and read_verdict(run) is None
    assert (found := read_verdict(adapt(config))) and found.of["teacher"] != first.of["teacher"]


def test_masked_pixels_do_not_count(world: Path, tmp_path: Path) -> None:
    """With every pixel of a pair masked, that pair can be neither better nor worse."""
    root = tmp_path / "pairs"
    names = sorted(p.name for p in (world / "d1/train").iterdir())
    images(root / "valid", *names, size=(56, 40))
    for domain in ("d1", "d2"):
        shutil.copytree(world / domain / "train", root / domain)
    rows = ["x1,x2,valid", *(f"d1/{n},d2/{n},valid/{n}" for n in names)]
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    data = DataConfig(
        name="pairs", pairs=str(root / "pairs.csv"), crop=[32, 40], part="train",
        parts={"train": 0.5, "val": 0.5}, explicit=["pairs", "target", "root"],
    )  # fmt: skip
    run = adapt(adapting(world, tmp_path / "run", steps=1, data=data))
    found = Verdict(**read_json(run / VERDICT))
    assert found.pairs == 3 and found.better == found.worse == 0 and found.after is None
    assert "no held-out pair has a valid pixel" in str(found) and "nan" not in str(found)
    assert read_verdict(run) == found


def test_without_held_out_pairs_or_teacher_it_says_so(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = DataConfig(
        name="pairs", root=str(world / "d1/train"), target=str(world / "d2/train"), part="all",
        explicit=["name", "root", "part"],
    )  # fmt: skip
    run = adapt(adapting(world, tmp_path / "bare", steps=1, data=bare))
    assert (
        "no verdict: the data has no split or part of held-out pairs (named val)"
        in capsys.readouterr().out
    )
    assert not (run / VERDICT).exists()
    adapt(teaching(world, run=str(tmp_path / "supervised"), steps=1))
    assert "no teacher, so no verdict" in capsys.readouterr().out
