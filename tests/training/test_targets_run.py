"""One student of several new domains: what it learns, what is said of each, and resuming."""

from dataclasses import replace
from pathlib import Path

import pytest
from commands import warm
from tiny import adapting, curve, interrupted, refused, same

from adapt.disk.files import read_json
from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import DistortConfig, EvaluateConfig
from adapt.settings.groups import AlsoConfig, DataConfig, ShiftConfig
from adapt.shift.distort import make_distorted
from adapt.training.train import train
from adapt.training.verdict import read_verdict


@pytest.fixture(scope="module")
def targets(world: Path) -> dict[str, str]:
    data, out = DataConfig(name="camvid", root=str(world / "d1")), world / "rippled"
    make_distorted(DistortConfig(data=data, shift=ShiftConfig("ripple"), out=str(out), workers=1))
    return {"photocopy": str(world / "d2"), "ripple": str(out)}


@pytest.mark.system
def test_the_command_tells_each_apart_and_evaluate_takes_each_as_usual(
    world: Path, tmp_path: Path, targets: dict[str, str]
) -> None:
    given = ",".join(f"{name}: {where}" for name, where in targets.items())
    command = (
        f"+data.targets={{{given}}}", f"teacher={world / 'teacher'}", "objective=pool5",
        "data.crop=[32,40]", "steps=4", "batch=4", "eval_every=4",
        "device=cpu", "precision=fp32",
    )  # fmt: skip
    run = tmp_path / "run"
    said = warm().run("adapt.py", *command, f"run={run}").stdout
    assert "new domains, evenly in batches: photocopy (6), ripple (6)" in said
    verdict = read_verdict(run)
    assert verdict is not None
    scores = next(line["evaluation"] for line in curve(run) if "evaluation" in line)
    evaluate(EvaluateConfig(run=str(run), domain="d2", device="cpu", precision="fp32"))
    for name, where in targets.items():
        own = verdict.targets[name]
        assert f"\n{name}: agreement with the teacher on 3 held-out pairs" in said
        recorded = read_json(run / f"metrics_camvid_d2_{Path(where).name}_val.json")
        assert own.pairs == recorded["images"] == 3 and verdict.pairs == 6
        assert own.after == pytest.approx(recorded["agreement"]["miou"], abs=1e-9)
        assert scores[f"{name}/agreement_miou"] == pytest.approx(own.after, abs=1e-9)
    assert verdict.targets["photocopy"].before != verdict.targets["ripple"].before


@pytest.mark.parametrize("fitted", ["ridge", "adabn"])
def test_what_is_fitted_to_one_is_not_kept_for_the_next(
    world: Path, tmp_path: Path, targets: dict[str, str], fitted: str
) -> None:

    def scored(out: str, data: DataConfig) -> Path:
        how = {"domain": "d2", "device": "cpu", "precision": "fp32", fitted: True}
        place = str(tmp_path / out)
        teacher = str(world / "teacher")
        return evaluate(EvaluateConfig(teacher=teacher, data=data, out=place, **how))  # type: ignore

    both = scored("both", DataConfig(targets=targets)).parent
    for where in targets.values():
        alone = scored("alone", DataConfig(target=where))
        assert read_json(both / alone.name) == read_json(alone)


def test_one_alone_is_what_data_target_names_and_a_cache_changes_nothing(
    world: Path, tmp_path: Path, targets: dict[str, str]
) -> None:
    plain = adapting(world, tmp_path / "plain")
    train(plain)
    one = DataConfig(targets={"photocopy": targets["photocopy"]})
    train(replace(plain, run=str(tmp_path / "one"), data=one))
    assert same(tmp_path / "plain", tmp_path / "one")
    both = DataConfig(targets=targets, explicit=["crop"])
    config = adapting(world, tmp_path / "both", data=both, steps=8)
    train(config)
    train(replace(config, run=str(tmp_path / "kept"), cache_teacher="ram"))
    assert same(tmp_path / "both", tmp_path / "kept")
    again = replace(config, run=str(tmp_path / "again"), checkpoint_every=3)
    interrupted(again, 5)
    train(again)
    assert same(tmp_path / "both", tmp_path / "again")


def test_a_second_data_set_beside_them_is_refused(
    world: Path, tmp_path: Path, targets: dict[str, str]
) -> None:
    config = adapting(world, tmp_path / "run", data=DataConfig(targets=targets))
    refused(
        replace(config, also=AlsoConfig(name="camvid")), r"data\.targets goes with one data set"
    )
