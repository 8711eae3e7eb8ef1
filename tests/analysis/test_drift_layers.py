"""How far maps of two domains are apart: against numpy, closed forms, and a shift at one layer."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from test_similarity import slow_cka
from torch import Tensor, nn

from adapt.analysis.drift import CELLS, MapDrift, drift_of_pairs, drift_of_sets, frechet
from adapt.errors import InputError


class Tokens(nn.Module):
    """Images (B, 3, h, w) as they are in `whole`; in `tokens` 11 tokens (B, 11, 5) on no grid."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.tokens = nn.Identity(), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(self.whole(x).flatten(2)[..., :11].mT)


def images(count: int, seed: int, size: tuple[int, int] = (6, 7)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed)) + 1


def cells(maps: Tensor, keep: Tensor) -> list[np.ndarray]:
    """(n, C) of each image (C, h, w) or (C, N), of the cells that `keep` (h, w) says."""
    return [
        m.flatten(1).T[k.flatten()[: m.flatten(1).shape[1]]].double().numpy()
        for m, k in zip(maps.detach(), keep, strict=True)
    ]


@pytest.mark.parametrize(("layer", "masked"), [("whole", False), ("whole", True), ("tokens", True)])
def test_pairs_by_numpy(layer: str, masked: bool) -> None:
    """Statistics, distance, what its parts leave to the correlation, and CKA. Tokens on no grid
    know nothing of masks."""
    torch.manual_seed(0)
    net, x1 = Tokens(), images(4, 0)
    x2 = 0.6 * x1 + 0.5 * images(4, 1) + torch.tensor([0.0, 2.0, -1.0]).view(3, 1, 1)
    valid = torch.rand(4, 6, 7) > 0.4
    batches = [(x1[i : i + 2], x2[i : i + 2], valid[i : i + 2] if masked else None) for i in (0, 2)]
    (found,) = drift_of_pairs(net, [layer], batches)
    maps = [x if layer == "whole" else net(x).mT for x in (x1, x2)]
    counts = valid if masked and layer == "whole" else torch.ones_like(valid)
    old, new = (cells(x, counts) for x in maps)
    a, b = np.concatenate(old), np.concatenate(new)
    np.testing.assert_allclose(found.mean, [a.mean(0), b.mean(0)], rtol=1e-6)
    np.testing.assert_allclose(found.std, [a.std(0), b.std(0)], rtol=1e-6)
    assert found.distance == pytest.approx(((a - b) ** 2).sum() / (a**2).sum())
    together = np.array([np.corrcoef(p, q)[0, 1] for p, q in zip(a.T, b.T, strict=True)])
    pattern = (2 * a.std(0) * b.std(0) * (1 - together)).sum() / (a**2).sum(1).mean()
    assert found.statistics + pattern == pytest.approx(found.distance)
    each = [slow_cka(p, q) for p, q in zip(old, new, strict=True)]
    assert found.cka == pytest.approx(np.array(each))


def test_frechet_is_that_of_full_covariances_where_these_are_diagonal() -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.normal(0, 1, (2, 5)), rng.uniform(0.1, 2, (2, 5))
    one, two = (np.diag(s**2) for s in std)
    wanted = ((mean[1] - mean[0]) ** 2).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)
    size = (mean[0] ** 2 + std[0] ** 2).sum()
    assert sum(frechet(mean, std)) == pytest.approx(wanted / size)
    assert np.isnan(frechet(mean * 0, std * 0)).all()


def test_sets_by_numpy_whatever_their_sizes() -> None:
    """Of images that are no pairs, are not as many, and not as large; the halves of the old ones
    are one image and two."""
    net, first, second = Tokens(), images(1, 0), 2 * images(2, 1)
    new = [images(2, 2, (4, 4)), images(3, 3, (5, 9))]
    cut = torch.zeros(2, 4, 4)
    cut[:, :3] = 1  # the last row does not count
    halves = [(first, None)], [(x, None) for x in second.split(1)]
    (found,) = drift_of_sets(net, ["whole"], halves, [(new[0], cut), (new[1], None)])

    def values(*batches: Tensor) -> np.ndarray:
        return torch.cat([x.transpose(0, 1).flatten(1) for x in batches], 1).double().numpy()

    a, b = values(first, second), values(new[0][:, :, :3], new[1])
    np.testing.assert_allclose(found.mean, [a.mean(1), b.mean(1)], rtol=1e-6)
    np.testing.assert_allclose(found.std, [a.std(1), b.std(1)], rtol=1e-6)
    both = [values(first), values(second)]
    own = MapDrift("", *(np.stack([f(x, 1) for x in both]) for f in (np.mean, np.std)))
    assert found.halves == pytest.approx(own.statistics) and found.halves > 0.1
    assert np.isnan(found.distance) and found.cka is None


def test_a_shift_at_one_layer_is_seen_there_and_nowhere_else() -> None:
    """The first layer sees all channels, the second one only those that do not change."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[..., None, None])
        net[0].bias.zero_()
        net[1].weight[:, 0] = 0
    x1 = images(3, 0, (40, 40))
    x2 = x1 + torch.tensor([2.0, 0.0, 0.0]).view(3, 1, 1)
    assert x1[0, 0].numel() > CELLS
    first, second = drift_of_pairs(net, ["0", "1"], [(x1, x2, None)])
    size = float(x1.double().square().sum(1).mean())
    assert first.parts == pytest.approx((4 / size, 0), abs=1e-6)
    assert first.distance == pytest.approx(4 / size)
    assert second.distance == second.statistics == 0
    assert second.cka == pytest.approx(np.ones(3)) and first.cka == pytest.approx(np.ones(3))


def test_images_without_a_valid_cell_are_refused() -> None:
    x, nothing = images(1, 0), torch.zeros(1, 6, 7)
    for measure in (
        lambda: drift_of_pairs(Tokens(), ["whole"], [(x, x, nothing)]),
        lambda: drift_of_sets(Tokens(), ["whole"], ([(x, None)], [(x, None)]), [(x, nothing)]),
    ):
        with pytest.raises(InputError, match="layer whole: no image has a cell"):
            measure()
