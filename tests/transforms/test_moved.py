"""What the filters moved: displacement fields, sources and the labels that follow them."""

from typing import Any

import cv2
import numpy as np
import pytest

from transforms import (
    cubism_sources,
    moved_labels,
    ripple,
    ripple_displacement,
    ripple_sources,
)

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
def test_nearest_shows_the_sources_of_ripple(wave: dict[str, Any], abyss: str) -> None:
    shown = ripple(numbered(31, 40), sampler_type="nearest", abyss_policy=abyss, **wave)
    sources = ripple_sources((31, 40), abyss_policy=abyss, **wave)
    inside = shown[..., 2] == 7  # black elsewhere
    np.testing.assert_array_equal(sources[inside], shown[..., :2][inside])
    assert (sources[~inside] == -1).all()
    assert inside.all() == (abyss in ("clamp", "loop"))


@pytest.mark.parametrize("wave", WAVES)
def test_field_is_where_cubic_samples(wave: dict[str, Any]) -> None:
    """On a smooth image, OpenCV's bilinear remap along the field gives nearly the same picture."""
    y, x = np.indices((60, 80), np.float32)
    smooth = np.stack([2 * x + y, 40 + x + y, 230 - x - y], axis=2)
    field = ripple_displacement((60, 80), **wave).astype(np.float32)
    moved = cv2.remap(
        smooth,
        x + field[..., 0] - 0.5,
        y + field[..., 1] - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    rippled = ripple(np.rint(smooth).astype(np.uint8), **wave)
    assert np.abs(moved - rippled).max() < 2.5
    assert np.abs(moved - smooth).max() > 5


def test_field_has_the_amplitude_and_none_without_a_wave() -> None:
    field = ripple_displacement((50, 60), amplitude=9.0, period=16.0, angle=30.0)
    length = np.hypot(field[..., 0], field[..., 1])
    assert 8.9 < length.max() <= 9 + 1e-12
    np.testing.assert_allclose(field[..., 0], field[..., 1] * np.tan(np.pi / 6), atol=1e-12)
    for still in ({"amplitude": 0.0}, {"period": 0.0}):
        assert not ripple_displacement((5, 6), **still).any()
        np.testing.assert_array_equal(
            ripple_sources((5, 6), **still), numbered(5, 6)[..., :2].astype(int)
        )


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


@pytest.mark.parametrize("wrong", [(0, 3), (3,), 5, (2.0, 3)])
@pytest.mark.parametrize("made", [ripple_displacement, ripple_sources, cubism_sources])
def test_wrong_sizes(made: Any, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^size"):
        made(wrong)
