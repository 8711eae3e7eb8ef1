"""Segmentation scores from integer counts over a whole data set: a confusion matrix, or what of
it the scores need."""

from dataclasses import dataclass

import numpy as np

from adapt.data.images import void_of

MATRIX = 256
"""Classes of which a whole confusion matrix is counted and written; 1,000 would have 10^6 cells."""


def confusion(
    truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int | None = None
) -> np.ndarray:
    """int64 (C, C + 1): rows are true classes, columns predictions, the last of which are no class
    but void. `ignore` (None = void) and other values that are no class do not count as true."""
    ignore = void_of(classes) if ignore is None else ignore
    if truth.dtype == prediction.dtype == np.uint8 and ignore >= classes:
        joint = np.left_shift(truth, 8, dtype=np.uint16)  # void is counted, then cut off
        joint |= prediction
        counts = np.bincount(joint.ravel(), minlength=256 * 256).reshape(256, 256)[:classes]
        return np.column_stack([counts[:, :classes], counts[:, classes:].sum(axis=1)])
    counted, columns = (truth != ignore) & (truth < classes), classes + 1
    joint = truth[counted].astype(np.int64) * columns + np.minimum(prediction[counted], classes)
    return np.bincount(joint, minlength=classes * columns).reshape(classes, columns)


def per_class(matrix: np.ndarray) -> np.ndarray:
    """A confusion matrix (C, C + 1) -> int64 (3, C): the pixels of each class that are found, that
    are true and that are predicted."""
    return np.stack([matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)[: len(matrix)]])


def tally(
    truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int | None = None
) -> np.ndarray:
    """As `per_class` of `confusion`, of any number of classes."""
    if classes <= MATRIX:
        return per_class(confusion(truth, prediction, classes, ignore))
    counted = truth != (void_of(classes) if ignore is None else ignore)
    true, predicted = truth[counted], prediction[counted]
    found, predicted = true[true == predicted], predicted[predicted < classes]
    return np.stack([np.bincount(x, minlength=classes) for x in (found, true, predicted)])


@dataclass(frozen=True)
class Scores:
    """All in percent; a class that is in neither truth nor prediction has NaN and is left out."""

    miou: float
    class_accuracy: float
    """Mean over classes of the share of a class's pixels that is found: the paper's "accuracy"."""
    pixel_accuracy: float
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]


def ious(counts: np.ndarray) -> np.ndarray:
    """Counts (..., 3, C) as `tally` gives them -> IoU (..., C) in percent; NaN for a class that is
    in neither truth nor prediction."""
    hits, true, predicted = np.moveaxis(counts.astype(np.float64), -2, 0)
    with np.errstate(invalid="ignore"):
        return 100 * hits / (true + predicted - hits)


def scores_of(counts: np.ndarray) -> Scores:
    """Scores of counts (3, C) as `tally` gives them.

    A class that is predicted but absent has IoU 0 and counts; it has no accuracy.
    """
    hits, true, _ = counts.astype(np.float64)
    iou = ious(counts)
    with np.errstate(invalid="ignore"):
        accuracy = 100 * hits / true
    nothing = float("nan")
    return Scores(
        miou=float(np.nanmean(iou)) if np.isfinite(iou).any() else nothing,
        class_accuracy=float(np.nanmean(accuracy)) if np.isfinite(accuracy).any() else nothing,
        pixel_accuracy=float(100 * hits.sum() / true.sum()) if true.any() else nothing,
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


def image_scores(counts: np.ndarray) -> ImageScores:
    """Scores of counts (3, C) of images."""
    found = scores_of(counts)
    return ImageScores(found.pixel_accuracy, found.class_accuracy, found.accuracy)


def distortion(clean: Scores, shifted: Scores) -> float:
    """How far a shift degrades the teacher, in percent (003, section 4.1):

    1/2 (|acc - acc'| / acc + |mIoU - mIoU'| / mIoU), acc being mean class accuracy.
    """
    accuracy = abs(clean.class_accuracy - shifted.class_accuracy) / clean.class_accuracy
    miou = abs(clean.miou - shifted.miou) / clean.miou
    return 100 * (accuracy + miou) / 2
