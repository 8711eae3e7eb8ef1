"""Mixup of pairs: one partner and one share for both images, exact where it must be, refused where
it would be wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import Interrupted, adapting, crash_at, curve, refused, same

from adapt.settings.groups import DataConfig
from adapt.settings.objective import SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.mixing import mixup
from adapt.training.train import train


def test_both_images_are_mixed_with_one_partner_by_one_share() -> None:
    rng = torch.Generator().manual_seed(0)
    x1, x2 = torch.randn(2, 6, 3, 5, 4, generator=rng, dtype=torch.float64)
    valid = torch.randint(2, (6, 5, 4), generator=rng, dtype=torch.uint8)
    found = mixup({"x1": x1, "x2": x2, "valid": valid}, 0.8, [1, 2])
    shares = []
    for i in range(6):
        for j in {*range(6)} - {i}:  # the share that fits x1 fits x2, for one partner
            way = x1[i] - x1[j]
            share = float(((found["x1"][i] - x1[j]) * way).sum() / way.square().sum())
            if torch.allclose(found["x1"][i], x1[j] + share * way):
                assert 0 <= share <= 1
                assert torch.allclose(found["x2"][i], x2[j] + share * (x2[i] - x2[j]))
                assert torch.equal(found["valid"][i], valid[i] & valid[j])
                shares.append(share)
                break
        else:
            pytest.fail(f"image {i} is no mixture of two")
    assert len({*shares}) > 3
    again, other = (mixup({"x1": x1, "x2": x2}, 0.8, [1, step])["x2"] for step in (2, 3))
    assert torch.equal(again, found["x2"]) and not torch.equal(other, again)


def test_equal_images_and_weights_give_exactly_0(world: Path, tmp_path: Path) -> None:
    data = DataConfig(target=str(world / "d1"))
    how = {"data": data, "mixup": 0.4, "bn": "eval", "steps": 2}
    train(adapting(world, tmp_path / "run", **how))
    assert [line["loss"] for line in curve(tmp_path / "run")] == [0, 0]


def test_a_resumed_run_is_the_straight_one(world: Path, tmp_path: Path) -> None:
    config = adapting(world, tmp_path / "straight", mixup=1.0, steps=5, batch=4, checkpoint_every=2)
    train(config)
    cut = replace(config, run=str(tmp_path / "cut"))
    with pytest.raises(Interrupted):
        train(cut, crash_at(3))
    train(cut)
    assert same(tmp_path / "straight", tmp_path / "cut")
    train(replace(config, run=str(tmp_path / "off"), mixup=0.0))
    assert not same(tmp_path / "straight", tmp_path / "off")


def labelled(config: TrainConfig) -> TrainConfig:
    return replace(config, objective=replace(config.objective, supervised=SupervisedConfig(1.0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (labelled, r"mixup is 0\.3; labels are not mixed: give objective\.supervised\.weight=0"),
        (lambda c: replace(c, batch=1), r"mixup is 0\.3; batch=1 has one pair for each process"),
        (lambda c: replace(c, cache_teacher="ram"), r"cache_teacher=ram: mixup=0\.3 shows"),
    ],
)
def test_what_mixup_does_not_go_with_is_refused(
    world: Path, tmp_path: Path, change: Callable[[TrainConfig], TrainConfig], message: str
) -> None:
    refused(change(adapting(world, tmp_path / "run", mixup=0.3)), message)
