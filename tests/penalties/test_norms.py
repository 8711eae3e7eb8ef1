"""The group threshold under Fisher information against bisection in double precision."""

import pytest
import torch

from adapt.penalties.norms import weighted_length


@pytest.mark.parametrize("size", [1, 9, 576, 5000])
@pytest.mark.parametrize("decades", [0, 2, 6])
@pytest.mark.parametrize("thresholds", [0.03, 1.0, 30.0])
def test_the_length_is_the_root(size: int, decades: int, thresholds: float) -> None:
    """Groups small and large (whose root is guessed from a sample), at rest and far away."""
    torch.manual_seed(0)
    t = 1e-5 * size**0.5
    f = 10 ** (-decades * torch.rand(30, size)) * (torch.rand(30, size) > 0.1)
    d = thresholds * 1e-5 * torch.randn(30, size) * 10 ** torch.rand(30, 1)
    found = weighted_length(d, f, t, (1,)).double()
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
