"""Where cubism's tiles lie, against plain loops; its pixels against GEGL's in test_gegl.py."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from transforms import cubism_sources
from transforms.gegl_cubism import shuffled
from transforms.painting import cover, fade_in, paint


def coverage(corners: list[tuple[int, int]], x: int, y: int) -> float:
    """Share of pixel (x, y) inside the quadrangle, from 16 quarter cells."""
    covered = 0
    for sub_row in range(4 * y, 4 * y + 4):
        crossings = []
        for (xa, ya), (xb, yb) in zip(corners, corners[1:] + corners[:1], strict=True):
            (top, x_top), (end, x_end) = sorted([(4 * ya, 4 * xa), (4 * yb, 4 * xb)])
            if top <= sub_row < end:
                step = (x_end - x_top) / (end - top)
                crossing = x_top + 0.5 * step
                for _ in range(sub_row - top):
                    crossing += step
                crossings.append(math.trunc(crossing))
        if crossings:
            cells = range(min(crossings), max(crossings))
            covered += sum(cell in cells for cell in range(4 * x, 4 * x + 4))
    return covered / 16


def slow_tiles(
    height: int, width: int, t: float, q: float, seed: int
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """In painting order: the pixel (y, x) that gives a tile its colour, and its opacities."""
    columns = math.floor((width + t - 1) / t) + 1
    count = columns * (math.floor((height + t - 1) / t) + 1)
    random = np.random.RandomState(seed)

    def word() -> int:
        return int(random.randint(0, 2**32, dtype=np.uint32))

    def uniform(low: float, high: float) -> float:
        first, second = word(), word()
        return low + (high - low) * (first / 2**32 + second) / 2**32

    order = list(range(count))
    for _ in range(5 * count):
        i, j = word() % count, word() % count
        order[i], order[j] = order[j], order[i]

    for tile in order:
        i, j = divmod(tile, columns)
        cx = j * t + t / 4 - uniform(0, t / 2)
        cy = i * t + t / 4 - uniform(0, t / 2)
        w = q * (t + uniform(-t / 8, t / 8))
        h = q * (t + uniform(-t / 8, t / 8))
        theta = uniform(0, 2 * math.pi)
        corners = []
        for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            x, y = math.trunc(sx * w / 2), math.trunc(sy * h / 2)
            rx = math.trunc(math.cos(theta) * x - math.sin(theta) * y)
            ry = math.trunc(math.sin(theta) * x + math.cos(theta) * y)
            corners.append((math.trunc(rx + cx), math.trunc(ry + cy)))
        (x0, y0), (x1, y1) = corners[:2]
        ex, ey = x1 - x0, y1 - y0
        opacity = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                fade = 1.0
                if ex or ey:
                    fade = ((x - x0) * ex + (y + 0.75 - y0) * ey) / (ex * ex + ey * ey)
                opacity[y, x] = coverage(corners, x, y) * min(max(fade, 0.2), 1.0)
        source = int(min(max(cy, 0), height - 1)), int(min(max(cx, 0), width - 1))
        yield source, opacity


@pytest.mark.parametrize(("t", "q"), [(10.0, 2.5), (5.5, 0.7), (40.0, 1.0)])
def test_the_source_is_that_of_the_tile_with_the_largest_share(t: float, q: float) -> None:
    pixels, shares = [(-1, -1)], np.ones((1, 21, 26))
    for source, opacity in slow_tiles(21, 26, t, q, 8):
        pixels.append(source)
        shares = np.concatenate([shares * (1 - opacity), opacity[None]])
    found = cubism_sources((21, 26), tile_size=t, tile_saturation=q, seed=8)
    second, first = np.sort(shares, axis=0)[-2:]
    clear = first > second + 1e-5  # not decided by rounding
    assert clear.mean() > 0.95
    expected = np.array(pixels)[shares.argmax(axis=0)][..., ::-1]
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert len(np.unique(found.reshape(-1, 2), axis=0)) > 1


def test_tile_without_a_first_edge_does_not_fade() -> None:
    corners = [(4, 1), (4, 1), (9, 7), (1, 7)]
    tile, opacity = np.array([corners]), np.zeros((3, 10, 12), np.float32)
    paint(opacity, cover(tile, 10, 12), fade_in(tile), np.ones((1, 3), np.float32))
    expected = [[coverage(corners, x, y) for x in range(12)] for y in range(10)]
    np.testing.assert_array_equal(opacity, np.float32([expected] * 3))


def test_words_that_would_favour_small_indices_are_skipped() -> None:
    class Words:
        def __init__(self) -> None:
            self.left = [2**32 - 1, *range(40)]

        def randint(self, low: int, high: int, size: int, dtype: type) -> np.ndarray:
            taken, self.left = self.left[:size], self.left[size:]
            return np.array(taken, dtype)

    words = Words()
    order = [0, 1, 2]
    for i in range(0, 30, 2):
        a, b = i % 3, (i + 1) % 3
        order[a], order[b] = order[b], order[a]
    assert shuffled(3, words).tolist() == order  # type: ignore[arg-type]
    assert words.left == list(range(30, 40))
