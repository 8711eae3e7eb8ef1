"""The group threshold under Fisher information against bisection in double precision."""

import pytest
import torch

from adapt.penalties import Penalty, pieces
from adapt.penalties.threshold import guess, weighted_length
from adapt.settings.groups import PenaltyConfig


@pytest.mark.parametrize("size", [1, 9, 576, 5000])
@pytest.mark.parametrize("decades", [0, 2, 6])
@pytest.mark.parametrize("thresholds", [0.03, 1.0, 30.0])
def test_the_length_is_the_root(size: int, decades: int, thresholds: float) -> None:
    """Groups small and large (whose root is guessed from a sample), at rest and far away."""
    torch.manual_seed(0)
    t = 1e-5 * size**0.5
    f = 10 ** (-decades * torch.rand(30, size)) * (torch.rand(30, size) > 0.1)
    w0 = torch.zeros(30, size)
    d = thresholds * 1e-5 * torch.randn(30, size) * 10 ** torch.rand(30, 1)
    found = weighted_length(d, f, t, guess(d, w0, f, t)).double()
    d, f = d.double(), f.double()
    moving = torch.where(f > 0, d.square() / f, 0.0).sum(1, keepdim=True) > t * t
    low, high = torch.zeros_like(found), (f * d.square()).sum(1, keepdim=True).sqrt()
    for _ in range(100):
        middle = (low + high) / 2
        above = (f * (d / (middle + t * f)).square()).sum(1, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    assert torch.equal(found > 0, moving)
    moved, wanted = (d * x / (x + t * f).clamp(min=1e-300) for x in (found, low * moving))
    worst = (moved - wanted).norm(dim=1) / d.norm(dim=1).clamp(min=1e-300)
    assert worst.max() < 1e-6  # float32


@pytest.mark.parametrize("apply", ["gradient", "decoupled", "proximal"])
@pytest.mark.parametrize("name", ["l2", "l2_sp", "l2_sp_fisher", "l1_sp", "gl_sp", "gl_sp_fisher"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pieces_change_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, apply: str, layout: torch.memory_format
) -> None:
    """A last piece that is smaller than the others included."""
    found = []
    for size in (2**20, 100):
        monkeypatch.setattr(pieces, "PIECE", size)
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 3), torch.nn.ConvTranspose2d(7, 5, 3))
        start = {n: p.detach().clone() for n, p in net.named_parameters()}
        fisher = {n: torch.rand_like(p) for n, p in start.items()}
        net.to(memory_format=layout)
        for p in net.parameters():
            p.data += 0.01 * torch.randn(p.shape)
            p.grad = torch.randn(p.shape)
        config = PenaltyConfig(name, 1.0, 1.0, "all", apply)
        penalty = Penalty(net, start, config, fisher if name.endswith("fisher") else None)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        penalty.before_step(optimizer)
        penalty.after_step(optimizer)
        found.append([x for p in net.parameters() for x in (p.detach(), p.grad)])
    same = torch.equal if name.startswith("l") else torch.allclose  # sums in another order
    assert all(same(a, b) for a, b in zip(*found, strict=True))
