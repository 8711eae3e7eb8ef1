"""CKA of maps against its definition."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from adapt.analysis.similarity import cells_of, cka, similarities


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, with kernel matrices."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        k, m = k.copy(), m.copy()
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        ones = np.ones(n)
        both = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return np.trace(k @ m) + both - 2 / (n - 2) * (ones @ k @ m @ ones)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("small", [0, 2048])
def test_cka_by_a_slow_loop(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapt.analysis.similarity.SMALL", small)
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40, 7))
    y = x @ rng.normal(0, 1, (7, 11)) + rng.normal(-5, 1, (40, 11))
    found = cka(cells_of(torch.from_numpy(x)), cells_of(torch.from_numpy(y)))
    assert found == pytest.approx(slow_cka(x, y), rel=1e-9) and 0.3 < found < 1
    assert math.isnan(cka(cells_of(torch.from_numpy(x)), cells_of(torch.ones(40, 3))))


def test_maps_of_two_sizes_meet_on_the_coarser() -> None:
    rng = torch.Generator().manual_seed(0)
    fine = torch.randn(1, 4, 12, 16, generator=rng)
    coarse = nn.functional.avg_pool2d(fine, 2)
    found = similarities([fine, coarse, torch.randn(1, 4, 12, 16, generator=rng)])
    assert found[0, 1] == pytest.approx(1) and np.array_equal(found, found.T)
    assert abs(found[0, 2]) < 0.2
