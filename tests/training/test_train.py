"""The loop as a whole: resuming, freezing, what may change, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import SUPERVISED, adapting, curve, interrupted, refused, same, teaching, weights

from adapt.disk.files import read_json
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.training.train import train


@pytest.mark.parametrize(
    ("optimizer", "interrupted_at", "ema"), [("sgd", 1, 0.0), ("adamw", 5, 0.0), ("sgd", 5, 0.99)]
)
def test_resumed_run_is_bit_identical(
    world: Path, tmp_path: Path, optimizer: str, interrupted_at: int, ema: float
) -> None:
    """Mid-epoch, with augmentation, dropout, momentum, evaluation, an average of the weights, and a
    checkpoint that is older than the crash; or none yet."""
    straight = teaching(
        world, run=str(tmp_path / "a"), steps=7, checkpoint_every=2, eval_every=2, eval_train=2,
        ema=ema,
        schedule=ScheduleConfig(lr=0.01, optimizer=optimizer),
    )  # fmt: skip
    broken = replace(straight, run=str(tmp_path / "b"))
    train(straight)
    interrupted(broken, interrupted_at)
    train(broken)
    assert same(tmp_path / "a", tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


def test_what_is_scored_while_training_is_what_evaluate_says(world: Path, tmp_path: Path) -> None:
    """Of held-out and of training images, their loss with them."""
    run = train(teaching(world, run=str(tmp_path / "run"), eval_every=4, eval_train=1000))
    last = read_metrics(run)[-1]
    for split, name in (("val", "evaluation"), ("train", "training")):
        how = {"device": "cpu", "precision": "fp32", "batch": 2}
        made = read_json(evaluate(EvaluateConfig(run=str(run), split=split, loss=True, **how)))
        wanted = {k: v for k, v in made["truth"].items() if k not in ("iou", "accuracy")}
        assert last[name] == pytest.approx(wanted | {"loss": made["loss"]})
    few = train(teaching(world, run=str(tmp_path / "few"), eval_every=4, eval_train=2))
    assert read_metrics(few)[-1]["training"] != last["training"]
    with pytest.raises(InputError, match="eval_train is 3, but eval_every is 0"):
        teaching(world, eval_train=3)


def test_seed_decides_the_result(world: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(teaching(world, run=str(tmp_path / name), seed=seed, steps=2))
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize(("penalty", "ema"), [("none", 0.0), ("l2", 0.9)])
def test_adaptation_moves_only_what_the_objective_reaches(
    world: Path, tmp_path: Path, penalty: str, ema: float
) -> None:
    teacher = weights(world / "teacher")
    pull = PenaltyConfig(penalty, *((1e-2, 1e-2) if penalty == "l2" else ()))
    student = weights(train(adapting(world, tmp_path / "s", penalty=pull, ema=ema)))
    moved = {k for k in student if not torch.equal(student[k], teacher[k])}
    assert moved == {k for k in student if k.startswith(("conv1.", "conv2.", "conv3."))}


def test_same_images_and_weights_give_zero_loss_and_stay(world: Path, tmp_path: Path) -> None:
    """x1 = x2, student = teacher, frozen statistics: the method's fixed point."""
    twin = DataConfig(target=str(world / "d1"))
    train(adapting(world, tmp_path / "s", data=twin, bn="eval", steps=2))
    assert [r["loss"] for r in read_metrics(tmp_path / "s")] == [0.0, 0.0]
    assert same(tmp_path / "s", world / "teacher")


def test_adaptation_brings_the_maps_nearer(world: Path, tmp_path: Path) -> None:
    train(adapting(world, tmp_path / "s", steps=30, batch=4, schedule=ScheduleConfig(lr=0.05)))
    losses = [r["loss"] for r in read_metrics(tmp_path / "s")]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_a_clipped_gradient_is_as_long_as_it_may_be(world: Path, tmp_path: Path) -> None:
    """By the way of one step without momentum or penalty; a norm that is never reached does
    nothing, bit for bit, and what is logged is the norm before."""
    plain = ScheduleConfig("constant", lr=0.1, momentum=0.0)
    teacher = weights(world / "teacher")

    def stepped(name: str, clip: float) -> tuple[Path, float, float]:
        own = {"penalty": PenaltyConfig(), "bn": "eval", "schedule": replace(plain, clip=clip)}
        run = train(adapting(world, tmp_path / name, steps=1, **own))
        way = sum((w - teacher[k]).double().square().sum() for k, w in weights(run).items())
        return run, float(way) ** 0.5 / 0.1, float(read_metrics(run)[0]["grad_norm"])

    free, way, norm = stepped("free", 0.0)
    assert way == pytest.approx(norm, rel=1e-4)
    _, way, logged = stepped("clipped", norm / 3)
    assert way == pytest.approx(norm / 3, rel=1e-3) and logged == norm
    assert same(stepped("long", 2 * norm)[0], free)


def test_b2_starts_from_the_teacher_and_b1_does_not(world: Path, tmp_path: Path) -> None:
    data = DataConfig(name="camvid", root=str(world / "d1"), target=str(world / "d2"))
    tiny = ScheduleConfig(lr=1e-12)
    b2 = teaching(
        world, run=str(tmp_path / "b2"), start=str(world / "teacher"), network=NetworkConfig(),
        data=data, domain="d2", steps=1, schedule=tiny,
    )  # fmt: skip
    b1 = teaching(world, run=str(tmp_path / "b1"), data=data, domain="d2", steps=1, schedule=tiny)
    train(b2)
    train(b1)
    key = "classifier.weight"
    teacher = weights(world / "teacher")[key]
    assert torch.allclose(weights(tmp_path / "b2")[key], teacher, atol=1e-6)  # one step of 1e-12
    assert not torch.allclose(weights(tmp_path / "b1")[key], teacher, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "nowhere"}, "teacher: no such run folder: nowhere"),
        ({"teacher": ""}, "needs teacher=RUN|data .data set's name"),
        ({"objective": ObjectiveConfig("x", RegressionConfig(1.0, {"pool9": 1.0}))}, "pool5"),
        ({"network": NetworkConfig(width=0.5)}, r"width: 0\.03125 -> 0\.5"),
        ({"network": NetworkConfig(explicit=["width"])}, r"width: 0\.03125 -> 1\.0"),
        ({"schedule": ScheduleConfig(weight_decay=0.1)}, "weight_decay=0.1 and penalty=l2_sp"),
        (
            {"penalty": PenaltyConfig("l2_sp", 500)},
            "strength is 10 on conv1.0.weight, and the w.* 3.8",
        ),
        ({"objective": SUPERVISED}, "objective 'supervised' needs none; .* give start="),
        ({"penalty": PenaltyConfig("none", 0.5)}, r"alpha is 0\.5, but penalty=none does not"),
        (
            {"penalty": PenaltyConfig("l2_sp", 0.5, epsilon=0.1)},
            "epsilon is 0.1, but penalty=l2_sp",
        ),
        (
            {"schedule": ScheduleConfig("cosine", power=2)},
            "power is 2, .* belongs to schedule=poly",
        ),
        ({"objective": ObjectiveConfig()}, "regression, kd, pseudo, supervised, stitch is on"),
    ],
)
def test_wrong_settings_are_named_and_leave_no_run(
    world: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    refused(adapting(world, tmp_path / "s", **changes), message)


def test_wrong_size_is_named_before_anything_is_made(world: Path, tmp_path: Path) -> None:
    d2 = tmp_path / "d2"
    shutil.copytree(world / "d2", d2)
    victim = sorted((d2 / "train").iterdir())[4]
    Image.new("RGB", (56, 41)).save(victim)
    refused(
        adapting(world, tmp_path / "s", data=DataConfig(target=str(d2))),
        rf"{victim.name} \(41, 56\)",
    )


def test_a_record_of_before_a_setting_existed_is_still_the_same_run(
    world: Path, tmp_path: Path
) -> None:
    run = train(adapting(world, tmp_path / "run", steps=2))
    recorded = yaml.safe_load((run / "config.yaml").read_text())
    del recorded["ema"], recorded["data"]["rotate"]
    (run / "config.yaml").write_text(yaml.safe_dump(recorded))
    assert train(adapting(world, tmp_path / "run", steps=2)) == run
    with pytest.raises(InputError, match=r"ema: 0\.0 -> 0\.9"):
        train(adapting(world, tmp_path / "run", steps=2, ema=0.9))


def test_a_checkpoint_of_another_configuration_is_refused(world: Path, tmp_path: Path) -> None:
    """Also where the record in the run's folder has been edited to be the one that is given."""
    config = adapting(world, tmp_path / "run", steps=4, checkpoint_every=2)
    interrupted(config, 3)
    record = tmp_path / "run/config.yaml"
    record.write_text(record.read_text().replace("momentum: 0.9", "momentum: 0.8"))
    changed = replace(config, schedule=replace(config.schedule, momentum=0.8))
    with pytest.raises(InputError, match=r"of another run .*schedule\.momentum: 0\.9 -> 0\.8\."):
        train(changed)
