"""The photocopy filter against plain Python loops."""

import math

import numpy as np
import pytest
from light import linear, srgb

from transforms import photocopy


@pytest.fixture
def image() -> np.ndarray:
    """Dark and bright blocks with noise, (13, 17, 3): pixels on both sides of the threshold."""
    rng = np.random.default_rng(5)
    blocks = np.kron(rng.integers(0, 200, (4, 5, 3)), np.ones((4, 4, 1), int))[:13, :17]
    return (blocks + rng.integers(0, 56, blocks.shape)).astype(np.uint8)


# A slow photocopy: floats and lists only.


def slow_line(x: list[float], sigma: float) -> list[float]:
    n = len(x)
    if sigma < 1:
        length = math.ceil(6.5 * sigma)
        half = (length if length % 2 else length + 1) // 2
        weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(-half, half + 1)]
        return [
            sum(w * x[min(max(i + k - half, 0), n - 1)] for k, w in enumerate(weights))
            / sum(weights)
            for i in range(n)
        ]
    if sigma >= 2.5:
        q = 0.98711 * sigma - 0.96330
    else:
        q = 3.97156 - 4.14554 * math.sqrt(1 - 0.26891 * sigma)
    b0 = 1.57825 + 2.44413 * q + 1.4281 * q * q + 0.422205 * q * q * q
    a1 = (2.44413 * q + 2.8562 * q * q + 1.266615 * q * q * q) / b0
    a2 = -(1.4281 * q * q + 1.266615 * q * q * q) / b0
    a3 = 0.422205 * q * q * q / b0
    gain = 1 - a1 - a2 - a3
    # No formula for the far edge here: the line really goes on until the filter has settled.
    far = x + [x[-1]] * 600
    u = [x[0]] * 3
    for value in far:
        u.append(gain * value + a1 * u[-1] + a2 * u[-2] + a3 * u[-3])
    v = [x[-1]] * (len(far) + 3)
    for i in reversed(range(len(far))):
        v[i] = gain * u[i + 3] + a1 * v[i + 1] + a2 * v[i + 2] + a3 * v[i + 3]
    # The quirk: the states of samples n-1, n, n+1 stand one sample too far.
    w = [0.0] * n + v[n - 1 : n + 2]
    for i in reversed(range(n)):
        w[i] = gain * u[i + 3] + a1 * w[i + 1] + a2 * w[i + 2] + a3 * w[i + 3]
    return w[:n]


def slow_blur(plane: list[list[float]], radius: float) -> list[list[float]]:
    sigma = (radius + 1) / 3.3290428
    rows = [slow_line(row, sigma) for row in plane]
    columns = [slow_line(list(column), sigma) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def slow_photocopy(
    image: np.ndarray, mask_radius: float, sharpness: float, black: float, white: float
) -> np.ndarray:
    weights = (0.22248840, 0.71690369, 0.06060791)
    y = (linear(image) * weights).sum(axis=2).tolist()
    v = slow_blur(y, max(1, 10 * (1 - sharpness)))
    m = slow_blur(y, mask_radius)
    height, width = len(y), len(y[0])
    d = [[v[i][j] / m[i][j] for j in range(width)] for i in range(height)]
    dark = sorted(math.floor(1000 * r) for row in d for r in row if 0 <= r < 0.75)
    up = 1.0
    if dark and white > 0:
        # The first bin with more than this share of values at or below it.
        shares = [(b, sum(c <= b for c in dark) / len(dark)) for b in dark]
        up = next((0.75 - b / 1000 for b, share in shares if share > white), 0.0)
    out = np.empty((height, width, 3), np.uint8)
    for i in range(height):
        for j in range(width):
            light, r = v[i][j], d[i][j]
            if r < 0.75:
                grey = light * (0.25 + r) if black > 0 and dark else 0.0
            else:
                s = min(up, r - 0.75) / up if up else 1.0
                grey = s + light - s * light
            out[i, j] = srgb(grey)
    return out


@pytest.mark.parametrize(
    ("mask_radius", "sharpness", "black", "white"),
    [
        (10.0, 0.5, 0.2, 0.2),
        (50.0, 0.0, 0.2, 0.6),  # sigmas far larger than the image
        (6.0, 0.7, 0.0, 0.3),  # sigmas below 2.5
        (1.0, 1.0, 0.2, 0.2),  # sampled Gaussians
        (2.4, 1.0, 0.2, 0.9),  # one of each kind
        (25.0, 0.9, 1.0, 0.0),
    ],
)
def test_equals_the_slow_loops(
    image: np.ndarray, mask_radius: float, sharpness: float, black: float, white: float
) -> None:
    fast = photocopy(
        image, mask_radius=mask_radius, sharpness=sharpness, black=black, white=white
    ).astype(int)
    slow = slow_photocopy(image, mask_radius, sharpness, black, white)
    assert len(np.unique(slow)) > 10  # not a comparison of two blank sheets
    assert np.abs(fast - slow).max() <= 1
    assert (fast != slow).mean() < 0.02


@pytest.mark.parametrize("level", [1, 40, 128, 255])
def test_flat_image_gets_a_quarter_of_the_way_to_white(level: int) -> None:
    expected = srgb(0.25 + 0.75 * linear(level))
    flat = photocopy(np.full((9, 30, 3), level, np.uint8))
    assert np.abs(flat.astype(int) - expected).max() <= 1


def test_black_surroundings_give_black_or_white() -> None:
    dot = np.zeros((41, 41, 3), np.uint8)
    np.testing.assert_array_equal(photocopy(dot), dot)
    dot[20, 20] = 255
    # The mask reaches two pixels, the detail far more: there it is divided by zero.
    result = photocopy(dot, mask_radius=1.0, sharpness=0.5)
    assert result[20, 25, 0] == 255


def test_black_area_does_not_count_as_dark_detail(image: np.ndarray) -> None:
    def beside_black(columns: int) -> np.ndarray:
        wide = np.pad(image, ((0, 0), (0, columns), (0, 0)))
        return photocopy(wide, mask_radius=2.0, sharpness=1.0, white=0.5)[:, : image.shape[1]]

    np.testing.assert_array_equal(beside_black(5), beside_black(200))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize(("mask_radius", "sharpness"), [(0, 1), (50, 0)])
def test_tiny_images(shape: tuple[int, int], mask_radius: float, sharpness: float) -> None:
    tiny = np.random.default_rng(0).integers(1, 256, (*shape, 3), dtype=np.uint8)
    fast = photocopy(tiny, mask_radius=mask_radius, sharpness=sharpness)
    slow = slow_photocopy(tiny, mask_radius, sharpness, 0.2, 0.2)
    assert np.abs(fast.astype(int) - slow).max() <= 1
