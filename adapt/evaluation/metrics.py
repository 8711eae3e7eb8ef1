"""Segmentation scores from one integer confusion matrix over a whole data set."""

from dataclasses import dataclass

import numpy as np

from adapt.data.images import IGNORE


def confusion(
    truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int = IGNORE
) -> np.ndarray:
    """int64 (C, C): rows are true classes, columns predictions; `ignore` among the true ones does
    not count. Every other label and prediction must be below C."""
    if truth.dtype == prediction.dtype == np.uint8 and ignore >= classes:
        joint = np.left_shift(truth, 8, dtype=np.uint16)  # void is counted, then cut off
        joint |= prediction
        counts = np.bincount(joint.ravel(), minlength=256 * 256).reshape(256, 256)
        return counts[:classes, :classes].copy()
    counted = truth != ignore
    joint = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(joint, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    """All in percent; a class that is in neither truth nor prediction has NaN and is left out."""

    miou: float
    class_accuracy: float
    """Mean over classes of the share of a class's pixels that is found: the paper's "accuracy"."""
    pixel_accuracy: float
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]


def scores(matrix: np.ndarray) -> Scores:
    """Scores of a confusion matrix (C, C).

    A class that is predicted but absent has IoU 0 and counts; it has no accuracy.
    """
    matrix = matrix.astype(np.float64)
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = 100 * hits / (true + predicted - hits)
        accuracy = 100 * hits / true
    nothing = float("nan")
    return Scores(
        miou=float(np.nanmean(iou)) if np.isfinite(iou).any() else nothing,
        class_accuracy=float(np.nanmean(accuracy)) if np.isfinite(accuracy).any() else nothing,
        pixel_accuracy=float(100 * hits.sum() / matrix.sum()) if matrix.sum() else nothing,
        iou=tuple(iou),
        accuracy=tuple(accuracy),
    )


@dataclass(frozen=True)
class ImageScores:
    """Of one label an image, in percent; a class without an image has NaN and is left out."""

    top1: float
    """Share of the images whose label is found."""
    class_accuracy: float
    """Mean of `accuracy` over classes."""
    accuracy: tuple[float, ...]
    """Share of each class's images that are found."""


def image_scores(matrix: np.ndarray) -> ImageScores:
    """Scores of a confusion matrix (C, C) of images."""
    found = scores(matrix)
    return ImageScores(found.pixel_accuracy, found.class_accuracy, found.accuracy)


def distortion(clean: Scores, shifted: Scores) -> float:
    """How far a shift degrades the teacher, in percent (003, section 4.1):

    1/2 (|acc - acc'| / acc + |mIoU - mIoU'| / mIoU), acc being mean class accuracy.
    """
    accuracy = abs(clean.class_accuracy - shifted.class_accuracy) / clean.class_accuracy
    miou = abs(clean.miou - shifted.miou) / clean.miou
    return 100 * (accuracy + miou) / 2
