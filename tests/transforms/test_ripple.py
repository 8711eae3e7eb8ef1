"""The ripple filter against a per-pixel loop, and cases with a known answer."""

import math
from itertools import product

import numpy as np
import pytest

from transforms import ripple


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (9, 12, 3), dtype=np.uint8)


# A wave of period 1 is the same at every pixel: all are moved by the whole amplitude, forwards
# (phi = 0.25) or backwards (-0.25).
CONSTANT_SHIFT = {"period": 1.0, "sampler_type": "nearest"}


def to_linear(image: np.ndarray) -> np.ndarray:
    v = image / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    v = np.clip(linear, 0, 1)
    return np.rint(255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055))


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
    sampler: str,
    wave: str,
    abyss: str,
) -> np.ndarray:
    height, width = image.shape[:2]
    light = to_linear(image)
    a = math.radians(angle)

    def pixel(x: int, y: int) -> np.ndarray:
        if abyss == "loop":
            return light[y % height, x % width]
        if 0 <= x < width and 0 <= y < height:
            return light[y, x]
        if abyss == "clamp":
            return light[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
        return np.full(3, 1.0 if abyss == "white" else 0.0)

    out = np.zeros(image.shape)
    for y, x in product(range(height), range(width)):
        n = x * math.cos(a) - y * math.sin(a)
        s = amplitude * displacement(wave, n, period, phi)
        px, py = x + s * math.sin(a), y + s * math.cos(a)
        if sampler == "nearest":
            out[y, x] = pixel(math.floor(px), math.floor(py))
            continue
        for j, i in product(range(-3, 4), repeat=2):
            cx, cy = math.floor(px) + i, math.floor(py) + j
            weight = kernel(sampler, px - cx - 0.5) * kernel(sampler, py - cy - 0.5)
            out[y, x] += weight * pixel(cx, cy)
    return to_srgb(out)


@pytest.mark.parametrize("abyss", ["clamp", "loop", "black", "white", "none"])
@pytest.mark.parametrize(
    ("sampler", "wave"),
    [("nearest", "sine"), ("linear", "triangle"), ("cubic", "sawtooth"), ("cubic", "sine")],
)
@pytest.mark.parametrize("angle", [33.3, -141.7])
def test_equals_the_slow_loop(
    image: np.ndarray, abyss: str, sampler: str, wave: str, angle: float
) -> None:
    fast = ripple(
        image,
        amplitude=4.3,
        period=7.9,
        phi=0.13,
        angle=angle,
        sampler_type=sampler,
        wave_type=wave,
        abyss_policy=abyss,
    )
    slow = slow_ripple(image, 4.3, 7.9, 0.13, angle, sampler, wave, abyss)
    assert np.abs(fast - slow).max() <= (0 if sampler == "nearest" else 1)
    assert (fast != slow).mean() < 0.02


def test_without_a_period_only_the_half_pixel_shift_is_left(image: np.ndarray) -> None:
    np.testing.assert_array_equal(ripple(image, period=0, sampler_type="nearest"), image)
    before = np.pad(to_linear(image), ((1, 0), (1, 0), (0, 0)), mode="edge")
    mean = (before[1:, 1:] + before[:-1, 1:] + before[1:, :-1] + before[:-1, :-1]) / 4
    linear = ripple(image, period=0, sampler_type="linear")
    assert np.abs(linear - to_srgb(mean)).max() <= 1
    for sampler in ("nearest", "linear", "cubic"):
        still = ripple(image, amplitude=0, sampler_type=sampler)
        np.testing.assert_array_equal(ripple(image, period=0, sampler_type=sampler), still)


@pytest.mark.parametrize("phi", [0.25, -0.25])
@pytest.mark.parametrize("shift", [1, 5, 40])
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


def test_what_lies_outside(image: np.ndarray) -> None:
    def beyond(abyss: str, amplitude: float = 1000) -> np.ndarray:
        return ripple(image, amplitude=amplitude, phi=0.25, abyss_policy=abyss, **CONSTANT_SHIFT)

    np.testing.assert_array_equal(beyond("black"), np.zeros_like(image))
    np.testing.assert_array_equal(beyond("none"), np.zeros_like(image))
    np.testing.assert_array_equal(beyond("white"), np.full_like(image, 255))
    np.testing.assert_array_equal(beyond("clamp"), np.broadcast_to(image[-1], image.shape))
    partly = beyond("white", amplitude=3)
    np.testing.assert_array_equal(partly[:-3], image[3:])
    assert (partly[-3:] == 255).all()


def test_half_a_period_turns_the_wave_round(image: np.ndarray) -> None:
    # These waves are odd: the opposite angle turns round both n and s and so changes nothing.
    for wave in ("sine", "triangle"):
        settings = {"amplitude": 3.0, "period": 10.3, "wave_type": wave}
        there = ripple(image, angle=20.0, phi=0.0, **settings)
        back = ripple(image, angle=-160.0, phi=0.0, **settings)
        assert np.abs(there.astype(int) - back).max() <= 1
        assert (ripple(image, angle=20.0, phi=0.5, **settings) != there).any()


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


def test_tileable_rounds_half_a_wave_up(image: np.ndarray) -> None:
    assert image.shape[1] / 4.8 == 2.5
    fitted = ripple(image, amplitude=3, period=4.8, tileable=True)
    np.testing.assert_array_equal(fitted, ripple(image, amplitude=3, period=4))


def test_tileable_without_a_fitting_wave_moves_nothing(image: np.ndarray) -> None:
    still = ripple(image, amplitude=0)
    np.testing.assert_array_equal(ripple(image, period=1000, tileable=True), still)
    assert (ripple(image, period=1000, phi=0.25) != still).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 2)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for abyss, sampler in product(["clamp", "loop", "white"], ["nearest", "linear", "cubic"]):
        fast = ripple(
            tiny,
            amplitude=1000,
            period=3.7,
            angle=12.3,
            phi=-1.0,
            sampler_type=sampler,
            abyss_policy=abyss,
        )
        slow = slow_ripple(tiny, 1000, 3.7, -1.0, 12.3, sampler, "sine", abyss)
        assert np.abs(fast - slow).max() <= 1


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("amplitude", 1000.5, r"\[0, 1000\]"),
        ("period", -1, r"\[0, 1000\]"),
        ("period", math.inf, r"\[0, 1000\]"),
        ("phi", -1.5, r"\[-1, 1\]"),
        ("angle", math.nan, r"\[-180, 180\]"),
        ("sampler_type", "lanczos", "nearest, linear, cubic"),
        ("wave_type", 1, "sine, triangle, sawtooth"),
        ("abyss_policy", "Clamp", "clamp, loop, black, white, none"),
        ("tileable", 1, "True or False"),
    ],
)
def test_bad_parameters(image: np.ndarray, name: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} .*{allowed}, got {value!r}$"):
        ripple(image, **{name: value})  # type: ignore[arg-type]
