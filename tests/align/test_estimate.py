"""One pair: known moves are found again, with the right sign; what cannot be told is refused."""

import cv2
import numpy as np
import pytest
from textures import of_other_sensor, pair, texture

from adapt.align.estimate import Estimate, estimate, paired
from adapt.align.gradients import correlation, features, rivals
from adapt.align.models import (
    FARTHEST,
    TOLERANCE,
    apply,
    choose,
    consensus,
    errors,
    moved_by,
)
from adapt.align.planted import apart
from adapt.data.warp import resizing
from adapt.errors import InputError

SIZE = (192, 256)


def turned(degrees: float, scale: float, x: float, y: float, tilt: float = 0.0) -> np.ndarray:
    c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [tilt, -tilt, 1]])
    return moved_by(128 + x, 96 + y) @ turn @ moved_by(-128, -96)


def alone(x1: np.ndarray, x2: np.ndarray) -> Estimate:
    return estimate(x1, x2, np.eye(3))


@pytest.mark.parametrize(
    ("matrix", "kind", "within"),
    [
        (np.eye(3), "none", 0.0),
        (moved_by(13, -22), "shift", 0.3),
        (turned(2.5, 1.03, 6, -4), "similarity", 0.5),
        (turned(1, 1, -8, 5, 3e-4), "homography", 0.8),
    ],
    ids=["as they are", "shift", "similarity", "homography"],
)
def test_known_moves_are_found_again(matrix: np.ndarray, kind: str, within: float) -> None:
    """Across reversed contrast, blur and noise."""
    found = alone(*pair(1, matrix))
    assert (found.accepted, found.kind, found.why) == (True, kind, "")
    assert apart(found.matrix, matrix, SIZE) <= within
    np.testing.assert_allclose(
        apply(found.matrix, found.matches[:, :2]), found.matches[:, 2:], atol=3
    )


def test_x2_lies_where_the_matrix_takes_pixels_of_x1() -> None:
    """The sign: what np.roll moves right and down lies right and down in x2."""
    x1 = texture(3, SIZE)
    found = alone(x1, np.roll(x1, (5, 9), axis=(0, 1)))
    np.testing.assert_allclose(found.matrix, [[1, 0, 9], [0, 1, 5], [0, 0, 1]], atol=0.1)


def test_unrelated_images_are_refused() -> None:
    for seed in range(6):
        x1, x2 = texture(seed, SIZE), of_other_sensor(texture(seed + 100, SIZE))
        found = alone(x1, x2)
        assert not found.accepted and "agree" in found.why
        np.testing.assert_array_equal(found.matrix, np.eye(3))


def test_no_homography_is_given_for_what_none_describes() -> None:
    """Content that is bent, and content in two depths."""
    x1 = texture(5, (288, 384))
    y, x = np.indices((288, 384), np.float32)
    bent = cv2.remap(x1, x + 25 * np.sin(y / 20, dtype=np.float32), y, cv2.INTER_LINEAR)
    near, far = (np.roll(x1, shift, axis=1) for shift in (14, -14))
    for x2 in (bent, np.hstack([near[:, :192], far[:, 192:]])):
        found = alone(x1, x2)
        assert not found.accepted and found.why


def test_a_prior_is_kept_where_nothing_is_found_and_refined_where_something_is() -> None:
    prior = moved_by(40, 30)  # beyond what whole images are searched for at this size
    x1, x2 = pair(2, moved_by(43, 28))
    assert apart(estimate(x1, x2, prior).matrix, moved_by(43, 28), SIZE) < 0.3
    noise = of_other_sensor(texture(77, SIZE))
    np.testing.assert_array_equal(estimate(x1, noise, prior).matrix, prior)


def test_files_of_other_sizes_are_told_apart_in_their_own_pixels() -> None:
    """x1 above the size at which pairs are compared, x2 half as wide and less high."""
    size, shift = (240, 800), moved_by(30, 12)
    x1, x2 = pair(4, shift, size)
    smaller = cv2.resize(x2, (400, 180), interpolation=cv2.INTER_AREA)
    images = paired(x1, smaller)
    assert images.old.shape == images.new.shape == (192, 640, 3)
    found = estimate(images.old, images.new, np.eye(3))
    expected = resizing(size, (180, 400)) @ shift
    assert found.accepted and apart(images.frame.of_files(found.matrix), expected, size) < 0.3
    whole = images.frame.of_x1(found.matrix)
    assert apart(whole, shift, size) < 0.5
    np.testing.assert_allclose(images.frame.here(whole), found.matrix, atol=1e-9)


def test_sixteen_bits_that_are_mostly_empty_are_seen() -> None:
    """Of a thermal camera, one channel of 20,000 and a few hundred."""
    x1, x2 = pair(7, moved_by(-9, 6))
    images = paired(x1, 20_000 + 2 * x2[..., :1].astype(np.uint16))
    assert images.new.shape == x1.shape and np.ptp(images.new) > 250
    assert apart(alone(images.old, images.new).matrix, moved_by(-9, 6), SIZE) < 0.3


def test_correlation_is_that_of_a_slow_sum() -> None:
    """Without the window's and the filter's part: which shift is best, by trying each."""
    x1 = texture(8, (48, 48))
    a, b = features(x1), features(np.roll(x1, (3, -5), axis=(0, 1)))
    surface = correlation(a, b)
    y, x = np.unravel_index(surface.argmax(), surface.shape)
    tried = {
        (dx, dy): (a[8:-8, 8:-8].conj() * b[8 + dy : 40 + dy, 8 + dx : 40 + dx]).real.sum()
        for dx in range(-8, 9)
        for dy in range(-8, 9)
    }
    assert (x - 24, y - 24) == max(tried, key=lambda shift: tried[shift]) == (-5, 3)


def test_the_simplest_model_that_held_out_matches_ask_for() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, [256, 192], (80, 2))
    for kind, matrix in {
        "none": np.eye(3),
        "shift": moved_by(4, 1),
        "affine": np.array([[1.05, 0, 3], [0.04, 0.97, -6], [0, 0, 1]]),
    }.items():
        matches = np.hstack([places, apply(matrix, places) + rng.normal(0, 0.3, (80, 2))])
        wrong = rng.choice(80, 20, replace=False)
        matches[wrong, 2:] = rng.uniform(0, [256, 192], (20, 2))
        found = choose(matches, SIZE)
        assert found.kind == kind and 0.7 < found.share < 0.85
        assert apart(found.matrix, matrix, SIZE) < 0.5
        together = places[:, None] < [64, 48]  # a corner alone tells no affine map of all
        corner = matches[together[:, 0].all(axis=1)]
        assert choose(corner, SIZE).kind != "affine"


def test_the_consensus_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    matches = np.hstack([np.zeros((60, 2)), rng.uniform(-12, 12, (60, 2))])
    shifts = matches[:, 2:]
    near = [[s for s in shifts if np.hypot(*(s - other)) < TOLERANCE] for other in shifts]
    best = np.mean(max(near, key=len), axis=0)
    np.testing.assert_allclose(consensus(matches)[:2, 2], best)
    expected = [min(np.hypot(*shift), FARTHEST) for shift in shifts]
    np.testing.assert_allclose(errors(np.eye(3), matches), expected)


def test_a_matcher_of_ones_own_is_judged_alike_and_checked() -> None:
    x1, x2 = pair(6, moved_by(20, 0))
    places = np.random.default_rng(0).uniform(0, [256, 192], (50, 2))

    def told(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """What x2's place is, but for how far it was brought nearer already."""
        shift = 20 if np.abs(new.astype(int) - x2).max() == 0 else 0
        return np.hstack([places, places + np.array([shift, 0])])

    assert estimate(x1, x2, np.eye(3), told).matrix[0, 2] == pytest.approx(20)
    guess = estimate(x1, x2, np.eye(3), lambda a, b: np.hstack([places, places[::-1]]))
    assert not guess.accepted
    with pytest.raises(InputError, match=r"it returned an array \(50, 2\); it must return finite"):
        estimate(x1, x2, np.eye(3), lambda a, b: places)


@pytest.mark.parametrize("side", [24, 31, 40])
def test_the_own_peak_of_a_small_image_is_no_rival(side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    here, elsewhere = rivals(image, image)
    assert here > 5 and elsewhere < here / 3
