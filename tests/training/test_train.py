"""The loop as a whole: resuming, freezing, what may change, and what is refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import adapting, curve, same, teaching, weights

from adapt.data import load
from adapt.data.sampling import Stream
from adapt.disk.runs import read_metrics
from adapt.errors import InputError, Stopped
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
)
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.training.train import train


class Interrupted(Exception):
    """Stands for a crash between two steps."""


def crash_at(step: int) -> Callable[[int], None]:
    def on_step(done: int) -> None:
        if done == step:
            raise Interrupted

    return on_step


@pytest.mark.parametrize("interrupted_at", [1, 4, 5])
def test_resumed_run_is_bit_identical(world: Path, tmp_path: Path, interrupted_at: int) -> None:
    """Mid-epoch, with augmentation, dropout, momentum, evaluation, and a checkpoint that is older
    than the crash."""
    straight = teaching(world, run=str(tmp_path / "a"), steps=7, checkpoint_every=2, eval_every=2)
    broken = replace(straight, run=str(tmp_path / "b"))
    train(straight)
    with pytest.raises(Interrupted):
        train(broken, crash_at(interrupted_at))
    train(broken)
    assert same(tmp_path / "a", tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


def test_seed_decides_the_result(world: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(teaching(world, run=str(tmp_path / name), seed=seed, steps=2))
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_evaluating_while_training_changes_nothing(world: Path, tmp_path: Path) -> None:
    train(teaching(world, run=str(tmp_path / "never")))
    train(teaching(world, run=str(tmp_path / "often"), eval_every=1))
    assert same(tmp_path / "never", tmp_path / "often")
    assert sum("evaluation" in r for r in read_metrics(tmp_path / "often")) == 4


def test_workers_do_not_change_the_result(world: Path, tmp_path: Path) -> None:
    train(teaching(world, run=str(tmp_path / "a")))
    train(teaching(world, run=str(tmp_path / "b"), workers=2))
    assert same(tmp_path / "a", tmp_path / "b")


def test_finished_run_is_left_alone(world: Path) -> None:
    before = (world / "teacher" / "model.safetensors").stat().st_mtime_ns
    assert train(teaching(world, steps=6)) == world / "teacher"
    assert (world / "teacher" / "model.safetensors").stat().st_mtime_ns == before


def test_other_configuration_is_refused_with_both_values(world: Path) -> None:
    with pytest.raises(InputError, match=r"schedule\.lr: 0\.02 -> 0\.5"):
        train(teaching(world, steps=6, schedule=ScheduleConfig(lr=0.5)))


@pytest.mark.parametrize("penalty", ["none", "l2", "l2_sp"])
def test_adaptation_moves_only_what_the_objective_reaches(
    world: Path, tmp_path: Path, penalty: str
) -> None:
    teacher = weights(world / "teacher")
    digest = (world / "teacher" / "model.safetensors").read_bytes()
    train(adapting(world, tmp_path / "s", penalty=PenaltyConfig(penalty, 1e-2, 1e-2)))
    student = weights(tmp_path / "s")
    reached = {k for k in student if k.startswith(("conv1.", "conv2.", "conv3."))}
    moved = {k for k in student if not torch.equal(student[k], teacher[k])}
    assert moved == reached
    assert (world / "teacher" / "model.safetensors").read_bytes() == digest


@pytest.mark.parametrize(
    ("bn", "kept"),
    [
        ("eval", ("running_mean", "running_var", "bn_affine", "num_batches_tracked")),
        ("affine", ("running_mean", "running_var", "num_batches_tracked")),
        ("train", ()),
    ],
)
def test_batch_norm_policies(world: Path, tmp_path: Path, bn: str, kept: tuple[str, ...]) -> None:
    """`eval`: nothing of batch norm moves; `affine`: statistics stay; `train`: all of it moves."""
    teacher = weights(world / "teacher")
    train(adapting(world, tmp_path / "s", bn=bn))
    student = weights(tmp_path / "s")
    for mean in (k for k in student if k.startswith("conv1.") and k.endswith("running_mean")):
        module = mean.removesuffix("running_mean")
        for name in ("running_mean", "running_var", "num_batches_tracked", "weight", "bias"):
            rule = "bn_affine" if name in ("weight", "bias") else name
            unchanged = torch.equal(student[module + name], teacher[module + name])
            assert unchanged == (rule in kept), (module + name, bn)


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


def test_strong_l2_sp_keeps_the_student_nearer_to_its_start(world: Path, tmp_path: Path) -> None:
    start = weights(world / "teacher")

    def moved(alpha: float) -> float:
        run = tmp_path / f"alpha{alpha}"
        train(adapting(world, run, steps=20, penalty=PenaltyConfig("l2_sp", alpha, alpha)))
        after = weights(run)
        kernels = [k for k in start if k.endswith("0.weight") and k.startswith("conv")]
        return sum(float((after[k] - start[k]).square().sum()) for k in kernels)

    assert moved(5.0) < 0.5 * moved(0.0)


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


def test_diverging_run_stops_before_the_update(world: Path, tmp_path: Path) -> None:
    run = teaching(
        world, run=str(tmp_path / "r"), schedule=ScheduleConfig(lr=1e30), penalty=PenaltyConfig(),
        steps=50,
    )  # fmt: skip
    with pytest.raises(Stopped, match=r"not finite .samples") as stop:
        train(run)
    assert stop.value.status == 3
    assert not (tmp_path / "r" / "model.safetensors").exists()


def test_changed_teacher_is_refused_on_resume(world: Path, tmp_path: Path) -> None:
    for name, seed in (("t", 1), ("other", 2)):
        train(teaching(world, run=str(tmp_path / name), seed=seed, steps=1))
    config = adapting(world, tmp_path / "s", teacher=str(tmp_path / "t"), checkpoint_every=1)
    with pytest.raises(Interrupted):
        train(config, crash_at(2))
    for name in ("model.safetensors", "model.json"):
        (tmp_path / "t" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(InputError, match=r"teacher: .* -> "):
        train(config)


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
        ({"objective": ObjectiveConfig()}, "no term of regression, kd, pseudo, supervised is on"),
    ],
)
def test_wrong_settings_are_named_and_leave_no_run(
    world: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(adapting(world, tmp_path / "s", **changes))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_image_is_named_and_what_was_reached_is_kept(
    world: Path, tmp_path: Path, workers: int
) -> None:
    """Its header is whole, so only decoding finds it; mended, the run goes on and ends as if."""
    d1 = tmp_path / "d1"
    shutil.copytree(world / "d1", d1)
    data = DataConfig(name="camvid", root=str(d1))
    config = teaching(world, run=str(tmp_path / "r"), data=data, steps=6, batch=1, workers=workers)
    names = [s.name for s in load(data, "train").samples]
    stream = Stream(load(data, "train"), data, ["x1"], config.seed)
    victim = d1 / "train" / f"{names[int(stream.order(0)[3])]}.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as refused:
        train(config)
    assert str(refused.value).startswith(f"{victim}: ") and "\n" not in str(refused.value)
    victim.write_bytes(whole)
    train(config)
    assert [r["step"] for r in read_metrics(tmp_path / "r")] == [1, 2, 3, 4, 5, 6]
    train(replace(config, run=str(tmp_path / "straight")))
    assert same(tmp_path / "r", tmp_path / "straight")


def test_wrong_size_is_named_before_anything_is_made(world: Path, tmp_path: Path) -> None:
    d2 = tmp_path / "d2"
    shutil.copytree(world / "d2", d2)
    victim = sorted((d2 / "train").iterdir())[4]
    Image.new("RGB", (56, 41)).save(victim)
    with pytest.raises(InputError, match=rf"{victim.name} \(41, 56\)"):
        train(adapting(world, tmp_path / "s", data=DataConfig(target=str(d2))))
    assert not (tmp_path / "s").exists()


def test_missing_partner_is_named(world: Path, tmp_path: Path) -> None:
    d2 = tmp_path / "d2"
    shutil.copytree(world / "d2", d2)
    gone = sorted((d2 / "train").iterdir())[0]
    gone.unlink()
    with pytest.raises(InputError, match=gone.stem):
        train(adapting(world, tmp_path / "s", data=DataConfig(target=str(d2))))


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
