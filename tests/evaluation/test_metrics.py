"""Scores against a few lines of plain counting."""

import math

import numpy as np
import pytest

from adapt.data.images import IGNORE
from adapt.evaluation.metrics import Scores, confusion, distortion, scores

CLASSES = 4


def example(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Non-square truth with void, and a prediction that is right about half of the time."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([*range(CLASSES), IGNORE], np.uint8), (7, 11))
    guess = rng.integers(0, CLASSES, truth.shape, dtype=np.uint8)
    prediction = np.where((rng.random(truth.shape) < 0.5) & (truth != IGNORE), truth, guess)
    return truth, prediction.astype(np.uint8)


def slow_scores(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float, float]:
    """mIoU, mean class accuracy and pixel accuracy in percent, as sets of pixels."""
    pixels = [(t, p) for t, p in zip(truth.flat, prediction.flat, strict=True) if t != IGNORE]
    ious, accuracies = [], []
    for c in range(CLASSES):
        true = {i for i, (t, _) in enumerate(pixels) if t == c}
        predicted = {i for i, (_, p) in enumerate(pixels) if p == c}
        if true | predicted:
            ious.append(len(true & predicted) / len(true | predicted))
        if true:
            accuracies.append(len(true & predicted) / len(true))
    right = sum(t == p for t, p in pixels)
    return (
        100 * sum(ious) / len(ious),
        100 * sum(accuracies) / len(accuracies),
        100 * right / len(pixels),
    )


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_plain_counting(seed: int) -> None:
    truth, prediction = example(seed)
    found = scores(confusion(truth, prediction, CLASSES))
    wanted = slow_scores(truth, prediction)
    assert (found.miou, found.class_accuracy, found.pixel_accuracy) == pytest.approx(wanted)
    assert found.miou == pytest.approx(np.mean(found.iou))


def test_rows_are_true_classes_and_columns_predictions() -> None:
    matrix = confusion(np.array([[0, 1, 1, 2]]), np.array([[2, 1, 0, 2]]), 3)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 1]]


def test_void_never_counts_whatever_is_predicted_there() -> None:
    truth, prediction = example(0)
    wanted = confusion(truth, prediction, CLASSES)
    assert wanted.sum() == (truth != IGNORE).sum()
    prediction[truth == IGNORE] = 3
    assert np.array_equal(confusion(truth, prediction, CLASSES), wanted)


def test_indices_of_8_bits_do_not_overflow() -> None:
    """20 x 21 + 20 does not fit into a byte."""
    truth = np.full((3, 5), 20, np.uint8)
    matrix = confusion(truth, truth, 21)
    assert matrix[20, 20] == 15 and matrix.sum() == 15


def test_a_data_sets_matrix_is_the_sum_and_its_score_not_the_mean_of_its_images() -> None:
    examples = [example(seed) for seed in range(3)]
    total = sum(confusion(t, p, CLASSES) for t, p in examples)
    joined = [np.concatenate([e[i] for e in examples]) for i in (0, 1)]
    assert np.array_equal(total, confusion(joined[0], joined[1], CLASSES))
    assert scores(np.asarray(total)).miou == pytest.approx(slow_scores(joined[0], joined[1])[0])


def test_a_class_in_neither_is_left_out() -> None:
    found = scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert math.isnan(found.iou[2]) and math.isnan(found.accuracy[2])
    assert found.miou == pytest.approx(100 * (3 / 4 + 4 / 5) / 2)
    assert found.class_accuracy == pytest.approx(100 * (3 / 4 + 1) / 2)


def test_a_class_that_is_predicted_and_absent_has_iou_0_and_no_accuracy() -> None:
    found = scores(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]]))
    assert found.iou[2] == 0 and math.isnan(found.accuracy[2])
    assert found.miou == pytest.approx(100 * (3 / 4 + 1 + 0) / 3)
    assert found.class_accuracy == pytest.approx(100 * (3 / 4 + 1) / 2)
    assert found.pixel_accuracy == pytest.approx(100 * 7 / 8)


def test_a_perfect_prediction_has_100_and_none_has_nan() -> None:
    perfect = scores(np.diag([5, 2, 9]))
    assert (perfect.miou, perfect.class_accuracy, perfect.pixel_accuracy) == (100, 100, 100)
    nothing = scores(np.zeros((3, 3), np.int64))
    values = (nothing.miou, nothing.class_accuracy, nothing.pixel_accuracy)
    assert all(math.isnan(v) for v in values)


def of(accuracy: float, miou: float) -> Scores:
    """Pixel accuracy is set apart, so that a formula that took it would show."""
    return Scores(miou, accuracy, 97.0, (), ())


PAPER = of(79.92, 69.22)


@pytest.mark.parametrize(
    ("shifted", "percent"),
    [
        (PAPER, 0.0),
        (of(0, 0), 100.0),
        (of(39.96, 69.22), 25.0),  # half of the accuracy gone
        (of(79.92, 34.61), 25.0),  # half of the mIoU gone
        (of(19.98, 51.915), 50.0),  # three quarters and one quarter
        (of(159.84, 69.22), 50.0),  # the formula has absolute values
        (of(53.946, 46.7235), 32.5),  # both lose photocopy's 32.5 %
    ],
)
def test_distortion_is_the_papers_formula_at_the_papers_teacher(
    shifted: Scores, percent: float
) -> None:
    assert distortion(PAPER, shifted) == pytest.approx(percent, abs=1e-9)
