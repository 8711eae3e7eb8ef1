"""Scores against a few lines of plain counting."""

import math

import numpy as np
import pytest

from adapt.data.images import IGNORE
from adapt.evaluation.metrics import Scores, confusion, distortion, per_class, scores_of

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
    right = sum(t == p for t, p in pixels) / len(pixels)
    return 100 * float(np.mean(ious)), 100 * float(np.mean(accuracies)), 100 * right


def test_scores_of_images_and_of_their_sum_are_those_of_plain_counting() -> None:
    """The score of a data set comes from its summed matrix and is no mean over its images."""
    examples = [example(seed) for seed in range(5)]
    examples.append(tuple(np.concatenate([e[i] for e in examples]) for i in (0, 1)))  # type: ignore
    matrices = [confusion(*pair, CLASSES) for pair in examples]
    assert np.array_equal(sum(matrices[:-1]), matrices[-1])
    for matrix, pair in zip(matrices, examples, strict=True):
        found = scores_of(per_class(matrix))
        wanted = pytest.approx(slow_scores(*pair))
        assert (found.miou, found.class_accuracy, found.pixel_accuracy) == wanted


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_rows_are_true_classes_and_void_never_counts(dtype: type) -> None:
    """Whatever is predicted there; and 20 x 21 + 20 does not fit into a byte."""
    truth = np.array([[0, 20, 20, 2, IGNORE, IGNORE]], dtype)
    found = confusion(truth, np.array([[2, 20, 0, 2, 20, 0]], dtype), 21)
    assert found.dtype == np.int64 and found.sum() == 4
    assert found[0, 2] == found[20, 20] == found[20, 0] == found[2, 2] == 1


def test_absent_classes_have_no_accuracy_and_no_iou_unless_they_are_predicted() -> None:
    found = scores_of(per_class(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])))
    assert math.isnan(found.iou[2]) and math.isnan(found.accuracy[2])
    assert found.miou == pytest.approx(100 * (3 / 4 + 4 / 5) / 2)
    found = scores_of(per_class(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]])))
    assert found.iou[2] == 0 and math.isnan(found.accuracy[2])
    assert found.miou == pytest.approx(100 * (3 / 4 + 1 + 0) / 3)
    assert found.class_accuracy == pytest.approx(100 * (3 / 4 + 1) / 2)
    nothing = scores_of(per_class(np.zeros((3, 3), np.int64)))
    values = (nothing.miou, nothing.class_accuracy, nothing.pixel_accuracy)
    assert all(math.isnan(v) for v in values)


@pytest.mark.parametrize(
    ("accuracy", "miou", "percent"),
    [
        (79.92, 69.22, 0.0),
        (39.96, 69.22, 25.0),  # half of the accuracy is gone
        (79.92, 34.61, 25.0),  # half of the mIoU is gone
        (159.84, 69.22, 50.0),  # the formula has absolute values
        (53.946, 46.7235, 32.5),  # both lose photocopy's 32.5 %
    ],
)
def test_distortion_is_the_papers_formula_at_the_papers_teacher(
    accuracy: float, miou: float, percent: float
) -> None:
    paper, shifted = Scores(69.22, 79.92, 97.0, (), ()), Scores(miou, accuracy, 97.0, (), ())
    assert distortion(paper, shifted) == pytest.approx(percent, abs=1e-9)
