"""The ripple filter against a per-pixel loop, cases with a known answer, and what it moves."""

import math
from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
from light import linear, srgb

from transforms import moved_labels, ripple, ripple_displacement, ripple_sources


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (9, 12, 3), dtype=np.uint8)


# A wave of period 1 is the same at every pixel: all are moved by the whole amplitude, forwards
# (phi = 0.25) or backwards (-0.25).
CONSTANT_SHIFT = {"period": 1.0, "sampler_type": "nearest"}


def kernel(sampler: str, d: float) -> float:
    """Weight of a pixel whose centre is `d` pixels away."""
    d = abs(d)
    if sampler == "linear":
        return max(0.0, 1 - d)
    if d < 1:
        spline = 2 / 3 - d**2 + d**3 / 2
        catmull_rom = 1 - 2.5 * d**2 + 1.5 * d**3
    elif d < 2:
        spline = (2 - d) ** 3 / 6
        catmull_rom = 2 - 4 * d + 2.5 * d**2 - 0.5 * d**3
    else:
        spline = catmull_rom = 0.0
    return (spline + catmull_rom) / 2


def displacement(wave: str, n: float, period: float, phi: float) -> float:
    if wave == "sine":
        return math.sin(2 * math.pi * n / period + 2 * math.pi * phi)
    if wave == "triangle":
        return abs(4 * ((n + 0.75 * period - phi * period) % period) / period - 2) - 1
    return 2 * ((n + 0.5 * period - phi * period) % period) / period - 1


def slow_ripple(
    image: np.ndarray,
    amplitude: float,
    period: float,
    phi: float,
    angle: float,
    sampler_type: str = "cubic",
    wave_type: str = "sine",
    abyss_policy: str = "clamp",
) -> np.ndarray:
    height, width = image.shape[:2]
    light = linear(image)
    a = math.radians(angle)

    def pixel(x: int, y: int) -> np.ndarray:
        if abyss_policy == "loop":
            return light[y % height, x % width]
        if 0 <= x < width and 0 <= y < height:
            return light[y, x]
        if abyss_policy == "clamp":
            return light[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
        return np.full(3, 1.0 if abyss_policy == "white" else 0.0)

    out = np.zeros(image.shape)
    for y, x in product(range(height), range(width)):
        n = x * math.cos(a) - y * math.sin(a)
        s = amplitude * displacement(wave_type, n, period, phi)
        px, py = x + s * math.sin(a), y + s * math.cos(a)
        if sampler_type == "nearest":
            out[y, x] = pixel(math.floor(px), math.floor(py))
            continue
        for j, i in product(range(-3, 4), repeat=2):
            cx, cy = math.floor(px) + i, math.floor(py) + j
            weight = kernel(sampler_type, px - cx - 0.5) * kernel(sampler_type, py - cy - 0.5)
            out[y, x] += weight * pixel(cx, cy)
    return srgb(out)


@pytest.mark.parametrize("abyss", ["clamp", "loop", "black", "white", "none"])
@pytest.mark.parametrize(
    ("sampler", "wave"),
    [("nearest", "sine"), ("linear", "triangle"), ("cubic", "sawtooth"), ("cubic", "sine")],
)
@pytest.mark.parametrize("angle", [33.3, -141.7])
def test_equals_the_slow_loop(
    image: np.ndarray, abyss: str, sampler: str, wave: str, angle: float
) -> None:
    settings: dict[str, Any] = {
        "amplitude": 4.3, "period": 7.9, "phi": 0.13, "angle": angle, "sampler_type": sampler,
        "wave_type": wave, "abyss_policy": abyss,
    }  # fmt: skip
    fast, slow = ripple(image, **settings), slow_ripple(image, **settings)
    assert np.abs(fast - slow).max() <= (0 if sampler == "nearest" else 1)
    assert (fast != slow).mean() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 2)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    wave: dict[str, Any] = {"amplitude": 1000.0, "period": 3.7, "phi": -1.0, "angle": 12.3}
    for abyss, sampler in product(["clamp", "loop", "white"], ["nearest", "linear", "cubic"]):
        settings = wave | {"sampler_type": sampler, "abyss_policy": abyss}
        assert np.abs(ripple(tiny, **settings) - slow_ripple(tiny, **settings)).max() <= 1


def test_without_a_period_only_the_half_pixel_shift_is_left(image: np.ndarray) -> None:
    np.testing.assert_array_equal(ripple(image, period=0, sampler_type="nearest"), image)
    before = np.pad(linear(image), ((1, 0), (1, 0), (0, 0)), mode="edge")
    mean = (before[1:, 1:] + before[:-1, 1:] + before[1:, :-1] + before[:-1, :-1]) / 4
    assert np.abs(ripple(image, period=0, sampler_type="linear") - srgb(mean)).max() <= 1
    for sampler in ("nearest", "linear", "cubic"):
        still = ripple(image, amplitude=0, sampler_type=sampler)
        np.testing.assert_array_equal(ripple(image, period=0, sampler_type=sampler), still)


@pytest.mark.parametrize("phi", [0.25, -0.25])
@pytest.mark.parametrize("shift", [1, 40])
@pytest.mark.parametrize(("angle", "axis", "sign"), [(0, 0, 1), (90, 1, 1), (180, 0, -1)])
def test_whole_pixel_shifts_wrap(
    image: np.ndarray, phi: float, shift: int, angle: int, axis: int, sign: int
) -> None:
    moved = ripple(
        image, amplitude=shift, phi=phi, angle=angle, abyss_policy="loop", **CONSTANT_SHIFT
    )
    expected = np.roll(image, -sign * shift * (1 if phi > 0 else -1), axis)
    # The sine of 180 degrees is not quite 0: the first line may lie below 0 and wrap, as in GEGL.
    np.testing.assert_array_equal(moved[1:, 1:], expected[1:, 1:])


def test_tileable_results_fit_together() -> None:
    tile = np.random.default_rng(8).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    settings = {"amplitude": 4.0, "period": 11.0, "angle": 25.0, "abyss_policy": "loop"}
    four = np.tile(tile, (2, 2, 1))

    def misfit(tileable: bool) -> int:
        one = ripple(tile, tileable=tileable, **settings)
        expected = np.tile(one, (2, 2, 1)).astype(int)
        return int(np.abs(ripple(four, tileable=tileable, **settings) - expected).max())

    assert misfit(True) <= 1
    assert misfit(False) > 20


def test_tileable_rounds_half_a_wave_up_and_moves_nothing_where_none_fits(
    image: np.ndarray,
) -> None:
    assert image.shape[1] / 4.8 == 2.5
    fitted = ripple(image, amplitude=3, period=4.8, tileable=True)
    np.testing.assert_array_equal(fitted, ripple(image, amplitude=3, period=4))
    still = ripple(image, amplitude=0)
    np.testing.assert_array_equal(ripple(image, period=1000, tileable=True), still)
    assert (ripple(image, period=1000, phi=0.25) != still).any()


# What it moves: displacement field, source pixels, and the labels that follow them.

WAVES: list[dict[str, Any]] = [
    {},
    {"amplitude": 6.0, "period": 17.0, "angle": 90.0, "wave_type": "triangle"},
    {"amplitude": 4.5, "period": 23.0, "phi": 0.3, "angle": -33.0, "wave_type": "sawtooth"},
    {"amplitude": 5.0, "period": 11.0, "angle": 60.0, "tileable": True},
]


def numbered(height: int, width: int) -> np.ndarray:
    """An image whose colours tell x and y."""
    y, x = np.indices((height, width))
    return np.stack([x, y, np.full_like(x, 7)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("abyss", ["clamp", "loop", "black", "none"])
@pytest.mark.parametrize("wave", WAVES)
def test_nearest_shows_the_sources(wave: dict[str, Any], abyss: str) -> None:
    shown = ripple(numbered(31, 40), sampler_type="nearest", abyss_policy=abyss, **wave)
    sources = ripple_sources((31, 40), abyss_policy=abyss, **wave)
    inside = shown[..., 2] == 7  # black elsewhere
    np.testing.assert_array_equal(sources[inside], shown[..., :2][inside])
    assert (sources[~inside] == -1).all()
    assert inside.all() == (abyss in ("clamp", "loop"))


@pytest.mark.parametrize("wave", WAVES)
def test_the_field_is_where_cubic_samples(wave: dict[str, Any]) -> None:
    """On a smooth image, OpenCV's bilinear remap along the field gives nearly the same picture."""
    y, x = np.indices((60, 80), np.float32)
    smooth = np.stack([2 * x + y, 40 + x + y, 230 - x - y], axis=2)
    u, v = np.moveaxis(ripple_displacement((60, 80), **wave).astype(np.float32), 2, 0) - 0.5
    moved = cv2.remap(smooth, x + u, y + v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(moved - ripple(np.rint(smooth).astype(np.uint8), **wave)).max() < 2.5
    assert np.abs(moved - smooth).max() > 5


def test_the_field_has_the_amplitude_and_none_without_a_wave() -> None:
    field = ripple_displacement((50, 60), amplitude=9.0, period=16.0, angle=30.0)
    length = np.hypot(field[..., 0], field[..., 1])
    assert 8.9 < length.max() <= 9 + 1e-12
    np.testing.assert_allclose(field[..., 0], field[..., 1] * np.tan(np.pi / 6), atol=1e-12)
    for still in ({"amplitude": 0.0}, {"period": 0.0}):
        assert not ripple_displacement((5, 6), **still).any()


def test_labels_follow() -> None:
    labels = np.arange(30 * 44).reshape(30, 44) % 11
    image = np.repeat((20 * labels)[..., None], 3, axis=2).astype(np.uint8)
    settings = {"amplitude": 5.0, "period": 20.0, "angle": 40.0, "abyss_policy": "black"}
    moved = moved_labels(labels, ripple_sources((30, 44), **settings), fill=255)
    rippled = ripple(image, sampler_type="nearest", **settings)[..., 0]
    outside = moved == 255
    assert 0 < outside.sum() < 400
    np.testing.assert_array_equal(20 * moved[~outside], rippled[~outside])
    assert not rippled[outside].any()
    assert moved.dtype == labels.dtype
    with pytest.raises(ValueError, match=r"size \(30, 44\), got \(30, 43, 2\)"):
        moved_labels(labels, ripple_sources((30, 43)), fill=255)
