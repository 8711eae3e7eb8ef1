"""The camera filter: each parameter does what it says, and nothing else does."""

import cv2
import numpy as np
import pytest

from transforms import camera

PERFECT = {"blur": 0.0, "saturation": 1.0, "brightness": 1.0, "noise": 0.0, "quality": 100.0}


@pytest.fixture
def image() -> np.ndarray:
    """Smooth colours (60, 80, 3), which chroma of half the resolution holds, and waves of grey."""
    y, x = np.mgrid[:60, :80]
    ramps = np.stack([60 + x, 180 - y, 60 + (x + y) / 2], axis=2)
    return (ramps + 20 * np.sin(x)[..., None]).astype(np.uint8)


def test_a_perfect_camera_changes_nothing(image: np.ndarray) -> None:
    """But for the rounding of a JPEG of the highest quality."""
    assert np.abs(camera(image, **PERFECT).astype(int) - image).max() <= 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"blur": 3.0}, lambda x: cv2.GaussianBlur(x.astype(float), (0, 0), 3.0)),
        ({"saturation": 0.0}, lambda x: np.repeat(x @ [[0.299], [0.587], [0.114]], 3, axis=2)),
        ({"brightness": 0.25}, lambda x: x / 4),
    ],
)
def test_each_step_is_what_it_says(image: np.ndarray, changes: dict, expected: object) -> None:
    found = camera(image, **PERFECT | changes)
    assert np.abs(found - expected(image)).max() <= 4
    assert np.abs(found.astype(int) - image).max() > 8


def test_noise_has_its_deviation_and_follows_the_seed() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    found = camera(grey, **PERFECT | {"noise": 12.0}, seed=1)
    luma = found @ [0.299, 0.587, 0.114]  # of three independent channels
    assert luma.std() == pytest.approx(12 * np.linalg.norm([0.299, 0.587, 0.114]), rel=0.05)
    assert luma.mean() == pytest.approx(128, abs=1)
    assert (camera(grey, noise=12.0, seed=1) == camera(grey, noise=12.0, seed=1)).all()
    assert (camera(grey, noise=12.0, seed=1) != camera(grey, noise=12.0, seed=2)).any()


def test_a_lower_quality_is_a_worse_picture() -> None:
    scene = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    errors = [
        np.abs(camera(scene, **PERFECT | {"quality": q}).astype(int) - scene).mean()
        for q in (95.0, 50.0, 10.0)
    ]
    assert errors == sorted(errors) and errors[0] < errors[2] - 5
