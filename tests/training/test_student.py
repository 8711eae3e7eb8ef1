"""A student of another network than its teacher: what is trained, kept, compared and refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import Interrupted, adapting, crash_at, curve, same, teaching, weights

from adapt.disk import checkpoint
from adapt.disk.files import read_json
from adapt.disk.runs import read_config, read_metrics
from adapt.evaluation.evaluate import evaluate
from adapt.networks import build_network
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    TeacherNetworkConfig,
)
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.training.adapt import adapt
from adapt.training.train import train
from adapt.training.verdict import read_verdict

HALF = NetworkConfig(width=1 / 64)
NO_PULL = PenaltyConfig("none")
BOTH = ObjectiveConfig(
    "both", RegressionConfig(1.0, {"pool3": 1.0, "pool4": 0.5}, student={"pool4": "pool5"}),
    kd=KDConfig(1.0),
)  # fmt: skip
"""pool4 of the teacher has a partner of another name, and all three have other channels."""


def smaller(world: Path, run: Path, **changes: Any) -> Any:
    """A student of half the teacher's width, from new weights."""
    new = {"network": HALF, "start": "none", "penalty": NO_PULL, "objective": BOTH}
    return adapting(world, run, **(new | changes))


def test_a_student_of_half_width_learns_and_only_it_is_kept(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = ScheduleConfig(lr=0.05, new_multiplier=1.0)
    run = train(smaller(world, tmp_path / "run", steps=30, batch=4, schedule=schedule))
    said = capsys.readouterr().out
    assert "pool3 4 -> pool3 8, pool5 8 -> pool4 16" in said and "not part of it" in said
    losses = [line["loss"] for line in read_metrics(run)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    assert losses_of(run).keys() == {"regression/pool3", "regression/pool4", "kd/divergence"}
    plain = build_network(replace(HALF, batch_norm=True), 11).state_dict()
    assert {k: v.shape for k, v in weights(run).items()} == {k: v.shape for k, v in plain.items()}
    assert read_config(run)["teacher_network"]["width"] == 1 / 32


def losses_of(run: Path) -> dict[str, Any]:
    return read_metrics(run)[-1]["parts"]


def test_a_resumed_run_has_its_projectors_again(world: Path, tmp_path: Path) -> None:
    schedule = ScheduleConfig(optimizer="adamw", lr=0.01, new_multiplier=2.0)
    how = {"steps": 5, "checkpoint_every": 2, "schedule": schedule}
    straight = train(smaller(world, tmp_path / "straight", **how))
    config = smaller(world, tmp_path / "stopped", **how)
    with pytest.raises(Interrupted):
        train(config, crash_at(4))
    found, _ = checkpoint.newest(tmp_path / "stopped/checkpoints")
    assert found and len(found.state["projectors"]) == 4
    train(config)
    assert same(tmp_path / "stopped", straight) and curve(tmp_path / "stopped") == curve(straight)


def test_two_networks_of_one_shape_train_as_one(world: Path, tmp_path: Path) -> None:
    """No projector, no interpolation: a further alias of the teacher, which makes it another
    network, changes no bit; and the verdict has the teacher and the start apart."""
    one = adapt(adapting(world, tmp_path / "one"))
    aliases = TeacherNetworkConfig(aliases={"third": "pool3"})
    config = adapting(
        world, tmp_path / "two", teacher=str(world / "teacher/model.safetensors"),
        start=str(world / "teacher"), teacher_network=aliases, taps={"third": "pool3"},
    )  # fmt: skip
    two = adapt(config)
    assert same(one, two)
    assert [line["loss"] for line in curve(one)] == [line["loss"] for line in curve(two)]
    found, wanted = read_verdict(two), read_verdict(one)
    assert found and wanted and wanted.teacher is None
    assert found.start == "start" and found.before == found.teacher == wanted.before
    assert (found.adabn, found.after) == (wanted.adabn, wanted.after)


def test_each_network_sees_its_own_normalisation(world: Path, tmp_path: Path) -> None:
    """A teacher that is a file with `teacher_network.std` is the run of that network, in training
    and in every comparison; the student keeps its own."""
    file, std = str(world / "teacher/model.safetensors"), [0.1, 0.4, 0.2]
    own = NetworkConfig(width=1 / 32, batch_norm=True, std=std)
    made = train(teaching(world, run=str(tmp_path / "made"), start=file, network=own, steps=0))
    evaluated = {"eval_every": 2, "steps": 4}
    by_run = smaller(
        world,
        tmp_path / "by_run",
        teacher=str(made),
        network=replace(HALF, std=[0.3] * 3),
        **evaluated,
    )
    given = TeacherNetworkConfig(width=1 / 32, std=std)
    network = NetworkConfig(width=1 / 64, batch_norm=True, std=[0.3] * 3)
    by_file = replace(
        by_run,
        run=str(tmp_path / "by_file"),
        teacher=file,
        network=network,
        teacher_network=given,
        data=replace(by_run.data, name="camvid", root=str(world / "d1"), crop=[32, 40]),
    )
    a, b = adapt(by_run), adapt(by_file)
    assert same(a, b) and curve(a) == curve(b)
    found = read_verdict(a)
    assert found == read_verdict(b) and found and found.start == "untrained"
    common = {"domain": "d2", "device": "cpu", "precision": "fp32"}
    for run in (a, b):
        scores = evaluate(EvaluateConfig(run=str(run), **common))
        assert read_json(scores)["agreement"]["miou"] == pytest.approx(found.after, abs=1e-9)
    scores = evaluate(
        EvaluateConfig(teacher=str(made), data=DataConfig(target=str(world / "d2")), **common)
    )
    assert read_json(scores)["agreement"]["miou"] == pytest.approx(found.teacher, abs=1e-9)
