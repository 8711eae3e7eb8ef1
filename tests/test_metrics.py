"""Scores against plain counting."""

import math

import numpy as np
import pytest

from adapt.metrics import Scores, confusion, distortion, scores


def test_confusion_counts_pixels_and_skips_void() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, (2, 9, 7)).astype(np.uint8)
    truth[0, :3] = 255
    expected = np.zeros((4, 4), int)
    for t, f in zip(truth.ravel(), found.ravel(), strict=True):
        if t != 255:
            expected[t, f] += 1
    matrix = confusion(truth, found, 4)
    assert matrix.dtype == np.int64 and np.array_equal(matrix, expected)


def test_scores_by_hand() -> None:
    """Class 0: 3 of 4 found, 1 wrongly added; class 1: 4 of 5."""
    found = scores(np.array([[3, 1], [1, 4]]))
    assert found.iou == pytest.approx((100 * 3 / 5, 100 * 4 / 6))
    assert found.accuracy == pytest.approx((75, 80))
    assert found.miou == pytest.approx((60 + 400 / 6) / 2)
    assert found.class_accuracy == pytest.approx(77.5)
    assert found.pixel_accuracy == pytest.approx(100 * 7 / 9)
    assert isinstance(found.pixel_accuracy, float)


def test_absent_class_is_left_out_and_a_wrongly_predicted_one_counts() -> None:
    absent = scores(np.array([[4, 0, 0], [0, 6, 0], [0, 0, 0]]))
    assert absent.miou == 100 and math.isnan(absent.iou[2])
    invented = scores(np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]]))
    assert invented.iou[2] == 0
    assert invented.miou == pytest.approx((80 + 100 + 0) / 3)
    assert invented.class_accuracy == pytest.approx((80 + 100) / 2)


def test_empty_matrix_has_no_scores() -> None:
    found = scores(np.zeros((2, 2), np.int64))
    assert math.isnan(found.miou) and math.isnan(found.pixel_accuracy)


def test_one_matrix_is_not_a_mean_over_images() -> None:
    a, b = np.array([[9, 1], [0, 0]]), np.array([[0, 0], [1, 1]])
    assert scores(a + b).miou != pytest.approx((scores(a).miou + scores(b).miou) / 2)


def test_distortion_of_the_paper() -> None:
    """acc 79.92 and mIoU 69.22 on D1; half of each lost is 50 %, nothing lost 0 %."""
    clean = Scores(69.22, 79.92, 0, (), ())
    assert distortion(clean, Scores(34.61, 39.96, 0, (), ())) == pytest.approx(50)
    assert distortion(clean, clean) == 0
    photocopy = Scores(40.0, 60.0, 0, (), ())
    expected = 100 * ((79.92 - 60) / 79.92 + (69.22 - 40) / 69.22) / 2
    assert distortion(clean, photocopy) == pytest.approx(expected)
