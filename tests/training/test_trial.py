"""What only training does is found before a run is made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import adapt
from adapt.disk.runs import CONFIG
from adapt.errors import InputError
from adapt.training.trial import unchanged

RNG = np.random.default_rng(0)
PAIRS = [tuple(RNG.integers(0, 256, (2, 16, 24, 3), np.uint8)) for _ in range(4)]


class Pooled(nn.Module):
    """With batch norm of one value an image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 3, 1)
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.a(x)
        return self.head(maps + self.whole(maps))


class Exact(Pooled):
    """With an operator that there is in float32 only."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.a(x)
        return self.head(maps * torch.linalg.det(maps[..., :4, :4])[..., None, None])


class Other(Pooled):
    """Another map comes first in training."""

    def forward(self, x: Tensor) -> object:
        maps = self.a(x)
        return (maps, self.head(maps)) if self.training else self.head(maps)


@pytest.mark.parametrize(
    ("net", "batch", "precision", "message"),
    [
        (Pooled(), 1, "fp32", r"1 image\(s\) of 16x24, fp32.*more than 1 value.*or bn=eval"),
        (Exact(), 2, "bf16", "BFloat16.*give precision=fp32"),
        (Other(), 2, "fp32", "4 channels in training and 3 in evaluation"),
    ],
    ids=["batch", "precision", "output"],
)
def test_what_fails_in_training_only_names_the_setting(
    net: nn.Module, batch: int, precision: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        adapt.fit(
            net, PAIRS[:3], held_out=PAIRS[3:], objective="kd", taps="", steps=2, batch=batch,
            device="cpu", run=tmp_path, settings={"precision": precision},
        )  # fmt: skip
    assert not (tmp_path / CONFIG).exists()


def test_a_trial_leaves_statistics_and_random_numbers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()).train()
    state, drawn = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    with unchanged(net):
        net(torch.rand(2, 3, 4, 4)).sum().backward()
        assert not torch.equal(net[1].running_mean, state["1.running_mean"])
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
