"""The cubism filter against plain Python loops with a Mersenne Twister of their own."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pytest

from transforms import cubism, cubism_sources
from transforms.painting import cover, fade_in, paint
from transforms.tiles import Tiles, shuffled


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (21, 26, 3), dtype=np.uint8)


def mersenne_twister(seed: int) -> Iterator[int]:
    """The 32-bit words of MT19937 (Matsumoto & Nishimura 1998, initialisation of 2002)."""
    state = [seed]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    while True:
        for i in range(624):
            y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7FFFFFFF)
            state[i] = state[(i + 397) % 624] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
        for word in state:
            word ^= word >> 11
            word ^= (word << 7) & 0x9D2C5680
            word ^= (word << 15) & 0xEFC60000
            yield word ^ (word >> 18)


def linear(value: int) -> float:
    v = value / 255
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def srgb(value: float) -> int:
    return round(
        255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055)
    )


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
    words = mersenne_twister(seed)

    def uniform(low: float, high: float) -> float:
        first, second = next(words), next(words)
        return low + (high - low) * (first / 2**32 + second) / 2**32

    order = list(range(count))
    for _ in range(5 * count):
        i, j = next(words) % count, next(words) % count
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


def slow_cubism(
    image: np.ndarray, t: float, q: float, background: Sequence[int], seed: int
) -> np.ndarray:
    height, width = image.shape[:2]
    canvas = np.full(image.shape, [linear(c) for c in background])
    for source, opacity in slow_tiles(height, width, t, q, seed):
        colour = np.array([linear(int(c)) for c in image[source]])
        canvas += opacity[..., None] * (colour - canvas)
    return np.array([[[srgb(c) for c in pixel] for pixel in row] for row in canvas])


@pytest.mark.parametrize(("t", "q"), [(10.0, 2.5), (5.5, 0.7), (4.0, 1.3), (40.0, 1.0)])
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


def test_the_twister_itself() -> None:
    assert next(mersenne_twister(5489)) == 3499211612
    assert next(islice(mersenne_twister(5489), 9999, None)) == 4123659995


@pytest.mark.parametrize(
    ("tile_size", "saturation", "background", "seed"),
    [
        (10.0, 2.5, (0, 0, 0), 0),
        (6.0, 1.2, (255, 128, 3), 4294967295),
        (7.3, 0.8, (20, 200, 90), 17),
        (40.0, 1.5, (255, 255, 255), 2),  # tiles larger than the image
        (9.0, 0.45, (9, 9, 9), 5),  # tiles hardly larger than a pixel
    ],
)
def test_equals_the_slow_loops(
    image: np.ndarray, tile_size: float, saturation: float, background: tuple[int, ...], seed: int
) -> None:
    fast = cubism(
        image, tile_size=tile_size, tile_saturation=saturation, bg_color=background, seed=seed
    )
    slow = slow_cubism(image, tile_size, saturation, background, seed)
    assert len(np.unique(slow)) > 5  # not a comparison of two blank sheets
    assert np.abs(fast - slow).max() <= 1
    assert (fast != slow).mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 2)])
@pytest.mark.parametrize("tile_size", [1.0, 12.0])
def test_tiny_images(shape: tuple[int, int], tile_size: float) -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    fast = cubism(tiny, tile_size=tile_size, tile_saturation=4.0, seed=1)
    assert np.abs(fast - slow_cubism(tiny, tile_size, 4.0, (0, 0, 0), 1)).max() <= 1


def test_extremes_run(image: np.ndarray) -> None:
    for tile_size in (1, 256):
        for saturation in (0, 10):
            result = cubism(image, tile_size=tile_size, tile_saturation=saturation)
            assert result.any() == (saturation > 0)


def test_seed_decides() -> None:
    grid = np.indices((60, 80)).sum(axis=0) // 8 % 2 * 200
    image = np.repeat(grid.astype(np.uint8)[..., None], 3, axis=2)
    first = cubism(image, seed=7)
    np.testing.assert_array_equal(cubism(image, seed=7), first)
    assert np.abs(first.astype(int) - cubism(image, seed=8)).mean() > 10


def test_tile_without_a_first_edge_does_not_fade() -> None:
    corners = [(4, 1), (4, 1), (9, 7), (1, 7)]
    tile = Tiles(np.array([corners]), np.zeros((1, 2)))
    opacity = np.zeros((3, 10, 12), np.float32)
    paint(opacity, cover(tile, 10, 12), fade_in(tile.corners), np.ones((1, 3), np.float32))
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


def test_background_shows_only_between_the_tiles() -> None:
    image = np.full((50, 50, 3), 128, np.uint8)
    result = cubism(image, tile_size=10, tile_saturation=0.8, bg_color=(255, 0, 128), seed=3)
    np.testing.assert_array_equal(np.unique(result[..., 2]), [128])
    assert 0.05 < (result == (255, 0, 128)).all(axis=2).mean() < 0.7
    empty = cubism(image, tile_saturation=0, bg_color=np.array([255, 0, 128]))
    assert (empty == (255, 0, 128)).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tile_size", 0.5, r"tile_size .*\[1, 256\], got 0.5"),
        ("tile_size", math.nan, r"tile_size .*\[1, 256\], got nan"),
        ("tile_saturation", 11, r"tile_saturation .*\[0, 10\], got 11"),
        ("tile_saturation", None, r"tile_saturation .*\[0, 10\], got None"),
        ("bg_color", (0, 0), r"bg_color .*\[0, 255\], got \(0, 0\)"),
        ("bg_color", (0, 256, 0), r"bg_color\[1\] .*\[0, 255\], got 256"),
        ("bg_color", (0, 0, 0.5), r"bg_color\[2\] .*\[0, 255\], got 0.5"),
        ("bg_color", "red", r"bg_color\[0\] .*\[0, 255\], got 'r'"),
        ("bg_color", 0, r"bg_color .*\[0, 255\], got 0"),
        ("seed", -1, r"seed .*\[0, 4294967295\], got -1"),
        ("seed", 1.0, r"seed .*\[0, 4294967295\], got 1.0"),
        ("seed", True, r"seed .*\[0, 4294967295\], got True"),
    ],
)
def test_bad_parameters(image: np.ndarray, name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        cubism(image, **{name: value})  # type: ignore[arg-type]
