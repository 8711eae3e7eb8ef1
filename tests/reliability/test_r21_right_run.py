"""R21: a run goes on from its own checkpoints only; what was removed, emptied or put into its
folder from another run is said and, where the rest suffices, repaired."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from campaigns.kills import files_result
from tiny import edit_record, interrupted, same, teaching
from warm import TRAINED, Warm

from adapt.analysis.analyse import analyse
from adapt.disk.checkpoint import committed
from adapt.disk.files import digest, read_mapping, read_yaml
from adapt.disk.runs import AGAIN, SUMMARY, other_config, unfinished
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.export import export
from adapt.settings.commands import AnalyseConfig, EvaluateConfig, ExportConfig, PredictConfig
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.settings.training import TrainConfig
from adapt.settings.viz import InvertConfig, ReportConfig
from adapt.study.cells import Cell
from adapt.training.train import train
from viz.inversion.command import invert
from viz.report.page import report

OTHERS = {
    "seed: 1 -> 0": {"seed": 1},
    "schedule.lr: 0.01 -> 0.02": {"schedule": ScheduleConfig(lr=0.01)},
    "penalty.alpha: 0.001 -> 0.0005": {"penalty": PenaltyConfig("l2", 1e-3, 5e-4)},
}


def settings(world: Path, run: Path, **changes: object) -> TrainConfig:
    return teaching(world, run=str(run), checkpoint_every=2, **changes)


def cut(world: Path, run: Path, **changes: object) -> Path:
    """A run that crashed in step 4, with a checkpoint of step 2."""
    interrupted(settings(world, run, **changes), 3)
    return run


@pytest.fixture(scope="module")
def runs(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run `own` and one of another seed, `other`."""
    found = tmp_path_factory.mktemp("r21")
    for name, seed in (("own", 0), ("other", 1)):
        train(settings(world, found / name, seed=seed))
    yield found


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(runs / "own", tmp_path / "run")


@pytest.mark.parametrize("field", OTHERS)
def test_r21_checkpoints_of_another_run_are_refused(
    world: Path, tmp_path: Path, field: str
) -> None:
    own, other = cut(world, tmp_path / "own"), cut(world, tmp_path / "other", **OTHERS[field])
    shutil.rmtree(own / "checkpoints")
    shutil.copytree(other / "checkpoints", own / "checkpoints")
    before = files_result(own)
    with pytest.raises(InputError, match=f"is a checkpoint of another run .*: {field}. Bring"):
        train(settings(world, own))
    assert files_result(own) == before


def test_r21_a_curve_without_its_beginning_is_a_warning(
    world: Path, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = cut(world, tmp_path / "own")
    lines = (own / "metrics.jsonl").read_text().splitlines(keepends=True)
    (own / "metrics.jsonl").write_text("".join(lines[1:]))
    train(settings(world, own))
    assert "metrics.jsonl is not what this training wrote: lines were lost" in (
        said := capfd.readouterr().out
    )
    assert "(1 of 2 are there); the weights do not depend on it" in said
    assert same(own, runs / "own")


def test_r21_a_checkpoint_of_an_earlier_version_is_known_by_its_digest(
    world: Path, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = cut(world, tmp_path / "own")
    (saved,) = committed(own / "checkpoints")
    record = saved / "meta.json"
    inputs = read_mapping(record)["inputs"]
    edit_record(record, settings=None, curve=None, inputs=inputs | {"configuration": "other"})
    with pytest.raises(InputError, match="its inputs changed: configuration: 'other' -> '"):
        train(settings(world, own))
    known = {"configuration": digest(read_yaml(own / "config.yaml"))}
    edit_record(record, inputs=inputs | known)
    train(settings(world, own))
    said = capfd.readouterr().out
    assert "step_00000002 is of an earlier version" in said and "resuming" in said
    assert same(own, runs / "own")


def removed(path: Path, other: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def emptied(path: Path, other: Path) -> None:
    for part in path.rglob("*") if path.is_dir() else [path]:
        if part.is_file():
            part.write_bytes(b"")


def swapped(path: Path, other: Path) -> None:
    removed(path, other)
    (shutil.copytree if other.is_dir() else shutil.copy)(other, path)


REPAIRED, KEPT = "it is finished again", "nothing to do"
FINISHED: dict[tuple[str, Callable[[Path, Path], None]], tuple[str, ...]] = {
    ("summary.json", removed): ("at step 4",),
    ("summary.json", emptied): ("summary.json: broken JSON", REPAIRED),
    ("summary.json", swapped): ("model.safetensors: altered, damaged or of another", REPAIRED),
    ("model.safetensors", removed): ("has no model.safetensors", REPAIRED),
    ("model.safetensors", emptied): ("model.safetensors: altered, damaged", REPAIRED),
    ("model.safetensors", swapped): ("model.safetensors: altered, damaged", REPAIRED),
    ("model.json", removed): ("has no model.json", REPAIRED),
    ("model.json", emptied): ("model.json: broken JSON", REPAIRED),
    ("model.json", swapped): ("altered, damaged or of another run", REPAIRED),
    ("model.*", swapped): ("summary.json has", REPAIRED),
    ("config.yaml", removed): ("has lost its config.yaml", KEPT),
    ("config.yaml", emptied): ("has lost its config.yaml", KEPT),
    ("config.yaml", swapped): ("seed: 1 -> 0",),
    ("env.json", removed): ("env.json: no such file; it is written anew", KEPT),
    ("env.json", emptied): ("env.json: broken JSON", "it is written anew", KEPT),
    ("metrics.jsonl", removed): ("(0 of 4 are there)", KEPT),
    ("metrics.jsonl", emptied): ("(0 of 4 are there)", KEPT),
    ("metrics.jsonl", swapped): ("(4 of 4 are there)", KEPT),
    ("checkpoints", removed): (KEPT,),
    ("checkpoints", emptied): (KEPT,),
    ("checkpoints", swapped): (KEPT,),
}


@pytest.mark.parametrize(("name", "damage"), FINISHED)
def test_r21_each_file_of_a_finished_run(
    world: Path, runs: Path, run: Path, capfd: pytest.CaptureFixture[str],
    name: str, damage: Callable[[Path, Path], None],
) -> None:  # fmt: skip
    """The same command says what happened and repairs it; another run's settings are refused."""
    for path in list(run.glob(name)):
        damage(path, runs / "other" / path.name)
    try:
        train(settings(world, run))
    except InputError as error:
        assert (name, damage) == ("config.yaml", swapped) and "seed: 1 -> 0" in str(error)
        return
    said = capfd.readouterr().out
    assert all(words in said for words in FINISHED[name, damage]), said
    assert same(run, runs / "own") and not unfinished(run) and not other_config(run)
    train(settings(world, run))
    assert KEPT in capfd.readouterr().out


def test_r21_weights_without_a_checkpoint_begin_again_aloud(
    world: Path, run: Path, runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("checkpoints", "model.safetensors", "metrics.jsonl"):
        removed(run / name, run)
    train(settings(world, run))
    assert f"{run} has no checkpoint: it begins again at step 0" in capfd.readouterr().out
    assert same(run, runs / "own")


READERS: dict[str, Callable[[Path, Path], object]] = {
    "evaluate": lambda run, out: evaluate(EvaluateConfig(run=str(run), device="cpu")),
    "predict": lambda run, out: predictions(
        PredictConfig(run=str(run), out=str(out), device="cpu")
    ),
    "export": lambda run, out: export(ExportConfig(run=str(run), out=str(out))),
    "analyse": lambda run, out: analyse(AnalyseConfig(run=str(run), teacher=str(run))),
    "invert": lambda run, out: invert(
        InvertConfig(run=str(run), image=str(next(Path(run.parent).glob("*.png"))), device="cpu")
    ),
    "start": lambda run, out: train(TrainConfig(run=str(out), start=str(run), device="cpu")),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "summary.json"])
def test_r21_every_reader_says_the_same_line(
    world: Path, run: Path, reader: str, name: str
) -> None:
    shutil.copy(next((world / "d1/train").iterdir()), run.parent / "image.png")
    emptied(run / name, run)
    before = files_result(run.parent)
    what = {"start": "start", "invert": "network"}.get(reader, "run")
    with pytest.raises(InputError, match=f"{what}: {run}.*; {AGAIN}"):
        READERS[reader](run, run.parent / "out")
    assert files_result(run.parent) == before


def test_r21_reports_and_studies(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cell = Cell("train run", run / SUMMARY, lambda: None, TrainConfig())
    assert cell.done
    emptied(run / "metrics.jsonl", run)
    removed(run / "model.safetensors", run)
    assert not cell.done
    report(ReportConfig(runs=str(run), out=str(run.parent / "r.html")))
    said = capfd.readouterr().out
    assert f"warning: {run} has no model.safetensors" in said and AGAIN in said
    assert "metrics.jsonl is not what this training wrote" in said
    emptied(run / SUMMARY, run)
    with pytest.raises(InputError, match=AGAIN):
        report(ReportConfig(runs=str(run), out=str(run.parent / "r.html")))


def test_r21_a_changed_configuration_is_a_warning(
    run: Path, runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    swapped(run / "config.yaml", runs / "other/config.yaml")
    evaluate(EvaluateConfig(run=str(run), device="cpu"))
    words = f"warning: {run}/config.yaml is not what this training wrote"
    assert words in capfd.readouterr().out
    report(ReportConfig(runs=str(run), out=str(run.parent / "r.html")))
    assert words in capfd.readouterr().out
    removed(run / SUMMARY, run)
    with pytest.raises(InputError, match=f"runs: {run} has no summary.json"):
        report(ReportConfig(runs=str(run), out=str(run.parent / "r.html")))


def test_r21_an_empty_evaluation_is_made_again(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = evaluate(EvaluateConfig(run=str(run), device="cpu"))
    whole = path.read_bytes()
    path.write_text("")
    assert evaluate(EvaluateConfig(run=str(run), device="cpu")) == path
    assert path.read_bytes() == whole and "it is written anew" in capfd.readouterr().out


@pytest.mark.system
def test_r21_nobody_is_sent_in_a_circle(warm: Warm, world: Path) -> None:
    given = ("train.py", *TRAINED, "steps=4", "run=r21")
    warm.run(*given)
    weights = world / "r21" / "model.safetensors"
    whole = torch.tensor(list(weights.read_bytes()))
    weights.unlink()
    said = warm.run("evaluate.py", "run=r21", "device=cpu", status=2).stderr
    assert said.count("\n") == 1 and AGAIN in said
    assert REPAIRED in warm.run(*given).stdout
    assert torch.equal(torch.tensor(list(weights.read_bytes())), whole)
    warm.run("evaluate.py", "run=r21", "device=cpu")
