"""Linear regression, where the -SP family has closed forms (Li et al. 2020, section 5.5).

The estimates are made by training: gradient steps on 1/2 |Xw - y|^2 with the penalty, no formula of
theirs in it. The rows of one linear layer are as many regressions on the same X.
"""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from adapt.penalties import Penalty
from adapt.settings.groups import PenaltyConfig

SAMPLES, PREDICTORS = 12, 5
ALPHA, SIGMA = 0.7, 0.5
APPLY = ["gradient", "decoupled", "proximal"]


def design(orthonormal: bool) -> Tensor:
    """X (n, p), fixed; with X^T X = I where the paper assumes so."""
    x = torch.randn(SAMPLES, PREDICTORS, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(x).Q if orthonormal else x


def responses(x: Tensor, truth: Tensor, count: int) -> Tensor:
    """Draws of Y (count, n) with mean Xw* and variance sigma^2 I."""
    noise = torch.randn(count, SAMPLES, generator=torch.Generator().manual_seed(1))
    return x @ truth + SIGMA * noise


TRUTH = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0])
EPS = torch.tensor([0.2, -0.1, 0.3, 0.0, -0.2])
W0 = TRUTH + EPS


def trained(
    x: Tensor, y: Tensor, config: PenaltyConfig, steps: int, rate: float, w0: Tensor = W0
) -> Tensor:
    """Weights (count, p) after plain gradient descent from w0."""
    net = nn.Linear(PREDICTORS, len(y), bias=False)
    with torch.no_grad():
        net.weight.copy_(w0.expand_as(net.weight))
    penalty = Penalty(net, {"weight": net.weight.detach().clone()}, config)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (net(x) - y.T).square().sum()).backward()
        penalty.before_step(optimizer)
        optimizer.step()
        penalty.after_step(optimizer)
    return net.weight.detach()


@pytest.mark.parametrize("apply", APPLY)
@pytest.mark.parametrize("name", ["none", "l2", "l2_sp"])
def test_estimators_of_equation_9(name: str, apply: str) -> None:
    x = design(orthonormal=True)
    y = responses(x, TRUTH, 20)
    found = trained(x, y, PenaltyConfig(name, ALPHA, apply=apply), steps=100, rate=0.5)
    wanted = {
        "none": y @ x,
        "l2": y @ x / (1 + ALPHA),
        "l2_sp": y @ x / (1 + ALPHA) + ALPHA / (1 + ALPHA) * W0,
    }[name]
    assert torch.allclose(found, wanted, atol=1e-5)  # float32


@pytest.mark.parametrize("apply", APPLY)
def test_the_convex_combination_of_equation_8(apply: str) -> None:
    """In the eigenbasis of the Hessian, between the free optimum and w0; the loss is quadratic, so
    that the paper's approximation is exact."""
    x = design(orthonormal=False)
    y = responses(x, TRUTH, 8)
    values, basis = torch.linalg.eigh(x.T @ x)  # Hessian = P diag(values) P^T
    free = torch.linalg.lstsq(x, y.T).solution  # (p, count)
    rate = 1.0 / float(values[-1] + ALPHA)
    found = trained(x, y, PenaltyConfig("l2_sp", ALPHA, apply=apply), 500, rate)
    shares = (values / (values + ALPHA))[:, None]
    assert 0 < shares.min() < 0.9 < shares.max() < 1
    wanted = shares * (basis.T @ free) + (1 - shares) * (basis.T @ W0)[:, None]
    assert torch.allclose(basis.T @ found.T, wanted, atol=1e-4)  # float32


@pytest.mark.parametrize(
    ("name", "alpha", "size"), [("l1_sp", 0.4, 1), ("gl_sp", 0.55, PREDICTORS)]
)
def test_the_optimum_is_the_soft_threshold_towards_the_start(
    name: str, alpha: float, size: int
) -> None:
    """Orthonormal design: d = X^T y - w0 is shortened by alpha s_g, group by group, to the very w0
    within it; a group of GL-SP is a row, one output's fan-in."""
    x = design(orthonormal=True)
    y = responses(x, TRUTH, 200)
    found = trained(x, y, PenaltyConfig(name, alpha, apply="proximal"), 100, 0.5)
    away, t = (y @ x - W0).reshape(200, -1, size), alpha * sqrt(size)
    length = away.norm(dim=2, keepdim=True)
    wanted = W0 + (away * (1 - t / length).clamp(min=0)).reshape(200, -1)
    assert torch.allclose(found, wanted, atol=1e-4)  # float32
    still = (found == W0).reshape(200, -1, size).all(2, keepdim=True)
    clear = (length - t).abs() > 1e-3
    assert torch.equal(still[clear], (length <= t)[clear])
    assert 0.2 < still.float().mean() < 0.8
