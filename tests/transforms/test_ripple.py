"""What ripple moves, and waves that fit an image; its pixels against GEGL's in test_gegl.py."""

from typing import Any

import cv2
import numpy as np
import pytest

from transforms import moved_labels, ripple, ripple_displacement, ripple_sources


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


def test_tileable_rounds_half_a_wave_up_and_moves_nothing_where_none_fits() -> None:
    image = np.random.default_rng(3).integers(0, 256, (9, 12, 3), dtype=np.uint8)
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
