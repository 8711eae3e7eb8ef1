"""Mixup of pairs, and crops that are moved against each other: exact where they must be, refused
where they would be wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import adapting, curve, interrupted, refused, same
from torch import Tensor, nn

from adapt.api.run import fit
from adapt.errors import InputError
from adapt.settings.groups import DataConfig
from adapt.settings.objective import SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.mixing import crops, mixup
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
    how = {"mixup": 1.0, "crop_shift": 1, "batch": 4}
    config = adapting(world, tmp_path / "straight", steps=5, checkpoint_every=2, **how)
    train(config)
    cut = replace(config, run=str(tmp_path / "cut"))
    interrupted(cut, 3)
    train(cut)
    assert same(tmp_path / "straight", tmp_path / "cut")
    for what in ("mixup", "crop_shift"):
        train(replace(config, run=str(tmp_path / what), **{what: 0}))
        assert not same(tmp_path / "straight", tmp_path / what)


class Pointwise(nn.Module):
    """Strides 2, 4 and 8 without any padding: a cell depends on its own pixels alone."""

    def __init__(self) -> None:
        super().__init__()
        for number, inputs in enumerate((3, 6, 6)):
            conv = nn.Sequential(nn.Conv2d(inputs, 6, 1), nn.ReLU(), nn.MaxPool2d(2))
            self.add_module(f"pool{number}", conv)
        self.classifier = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(3):
            x = self.get_submodule(f"pool{number}")(x)
        return self.classifier(x)


def test_crops_show_the_same_pixels_in_their_common_cells() -> None:
    """Images whose pixels say where they are."""
    row, column = torch.meshgrid(torch.arange(56.0), torch.arange(40.0), indexing="ij")
    image, shifts = torch.stack([row, column])[None], set()
    for step in range(40):
        moved = crops((56, 40), 2, 8, [0, step])
        shifts.add(moved.shift)
        own = {side: moved.crop(image, side) for side in ("x1", "x2")}
        assert all(crop.shape[-2:] == (40, 24) for crop in own.values())
        corners = own["x2"][0, :, 0, 0] - own["x1"][0, :, 0, 0]
        assert tuple(corners.tolist()) == moved.shift
        for stride in (1, 2, 4, 8):
            pooled = {k: nn.functional.avg_pool2d(crop, stride) for k, crop in own.items()}
            cut = [moved.cells({"a": pooled[k]}, k)["a"] for k in pooled]
            assert torch.equal(*cut)
            assert torch.equal(cut[0], nn.functional.avg_pool2d(moved.common(image), stride))
    assert len(shifts) > 15 and {d for shift in shifts for d in shift} == {-16, -8, 0, 8, 16}


def test_equal_images_and_weights_give_0_where_nothing_is_padded() -> None:
    """At every tap, through the teacher's later layers and in a second pass of the student."""
    images = np.random.default_rng(0).integers(0, 256, (12, 48, 56, 3), dtype=np.uint8)
    how = {"objective": "kd", "taps": ["pool0", "pool2"], "steps": 6, "batch": 2, "device": "cpu"}
    settings = {
        "crop_shift": 2, "log_every": 1, "precision": "fp32", "objective.stitch.weight": 1.0,
        "objective.stitch.taps": ["pool1"], "objective.regression.weighting": "famo",
    }  # fmt: skip
    found = fit(Pointwise(), [(x, x) for x in images], **how, settings=settings)
    assert max(line["loss"] for line in found.history) < 1e-8, "of rounding"
    lost = fit(Pointwise(), [(x, 255 - x) for x in images], **how, settings=settings)
    assert min(line["loss"] for line in lost.history) > 1e-3


class Fixed(nn.Module):
    """A network of images of one size alone, as with an embedding of places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Conv2d(4, 2, 1)
        self.places = nn.Parameter(torch.zeros(4, 48, 56))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.stem(x) + self.places
        return self.head(maps + self.pool(maps))


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (["stem"], "The size of tensor"),
        (["stem", "pool"], "layer pool has no map of rows and columns that moves"),
    ],
)
def test_networks_and_layers_that_a_moved_crop_does_not_suit(
    tmp_path: Path, taps: list[str], message: str
) -> None:
    """Before there is a run: the crops are smaller than the images."""
    images = np.random.default_rng(0).integers(0, 256, (12, 48, 56, 3), dtype=np.uint8)
    how = {"objective": "kd", "device": "cpu", "run": tmp_path / "run"}
    settings = {"crop_shift": 2, "precision": "fp32"}
    with pytest.raises(InputError, match=message):
        fit(Fixed(), [(x, x) for x in images], taps=taps, **how, settings=settings)
    assert not (tmp_path / "run").exists()


def labelled(config: TrainConfig) -> TrainConfig:
    return replace(config, objective=replace(config.objective, supervised=SupervisedConfig(1.0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (labelled, r"mixup is 0\.3; labels are not mixed: give objective\.supervised\.weight=0"),
        (lambda c: replace(c, batch=1), r"mixup is 0\.3; batch=1 has one pair for each process"),
        (lambda c: replace(c, cache_teacher="ram"), r"cache_teacher=ram: mixup=0\.3 shows"),
        (lambda c: replace(c, crop_shift=2), r"crop_shift is 2 cells of 8 px.* 32x40 .* up to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(
    world: Path, tmp_path: Path, change: Callable[[TrainConfig], TrainConfig], message: str
) -> None:
    refused(change(adapting(world, tmp_path / "run", mixup=0.3)), message)
