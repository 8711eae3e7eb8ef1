"""How much two maps resemble each other: linear CKA over their cells, without bias."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SMALL = 2048
"""Cells up to which kernel matrices are kept: with many channels they save most of the work."""


@dataclass(frozen=True)
class Cells:
    """Values of n samples and what every comparison with them needs."""

    values: Tensor
    """(n, C), centred."""
    own: Tensor
    """(n,): diagonal of the kernel matrix."""
    others: Tensor
    """(n,): sums of its rows without the diagonal."""
    kernel: Tensor | None
    """(n, n), where it is small."""


def cells_of(values: Tensor) -> Cells:
    """(n, C) of any scale and mean."""
    values = values.double()
    values = values - values.mean(0)
    own = values.square().sum(1)
    kernel = values @ values.T if len(values) <= SMALL else None
    return Cells(values, own, values @ values.sum(0) - own, kernel)


def hsic(x: Cells, y: Cells) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion with linear kernels, times
    n (n - 3), n > 3: Song et al. 2012, equation 5."""
    n = len(x.values)
    if x.kernel is not None and y.kernel is not None:
        product = (x.kernel * y.kernel).sum()
    else:
        product = (x.values.T @ y.values).square().sum()
    product = product - (x.own * y.own).sum()
    both = x.others.sum() * y.others.sum() / ((n - 1) * (n - 2))
    return float(product + both - 2 / (n - 2) * (x.others @ y.others))


def cka(x: Cells, y: Cells) -> float:
    """Linear CKA (Kornblith et al. 2019): 1 = equal but for rotation and scale of the channels,
    about 0 = unrelated; NaN where one of them is constant or there are fewer than 4 cells.

    The usual biased estimate grows towards 1 with the number of channels (2,048 of them in 1,681
    cells look alike whatever they hold); this one does not.
    """
    scale = hsic(x, x) * hsic(y, y) if len(x.values) > 3 else 0.0
    return hsic(x, y) / math.sqrt(scale) if scale > 0 else math.nan


def similarities(maps: Sequence[Tensor]) -> np.ndarray:
    """CKA of every two maps (1, C, h, w) of one image, with its cells as samples: (L, L).

    Of two sizes the larger map is averaged down to the smaller, so that a loss of resolution does
    not count. A difference of values would not do: channel k of one convolution has nothing to do
    with channel k of the next, and their numbers differ.
    """
    sides = [(m.shape[2], m.shape[3]) for m in maps]
    values = np.eye(len(maps))
    for size in sorted({(min(a[0], b[0]), min(a[1], b[1])) for a in sides for b in sides}):
        seen = {
            i: cells_of(adaptive_avg_pool2d(feature_map, size)[0].flatten(1).T)
            for i, feature_map in enumerate(maps)
            if sides[i][0] >= size[0] and sides[i][1] >= size[1]
        }
        for a, b in combinations(seen, 2):
            if (min(sides[a][0], sides[b][0]), min(sides[a][1], sides[b][1])) == size:
                values[a, b] = values[b, a] = cka(seen[a], seen[b])
    return values
