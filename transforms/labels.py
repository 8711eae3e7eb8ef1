"""Labels that follow what a filter moved."""

import numpy as np
import numpy.typing as npt


def moved_labels(
    labels: npt.NDArray[np.generic], sources: npt.NDArray[np.int64], fill: int
) -> npt.NDArray[np.generic]:
    """Return the label map that belongs to a filtered image.

    Args:
        labels: labels of the image before the filter, (H, W) or (H, W, ...).
        sources: x and y of the pixel that each pixel shows, -1 where it shows none, (H, W, 2): from
            `ripple_sources` or `cubism_sources`.
        fill: label of pixels that show none, usually the void label.

    Returns:
        New array of the shape and type of `labels`.

    Raises:
        ValueError: sizes that differ.
    """
    if labels.shape[:2] != sources.shape[:2] or sources.shape[2:] != (2,):
        raise ValueError(
            f"sources must be (H, W, 2) of the labels' size {labels.shape[:2]}, got {sources.shape}"
        )
    x, y = sources[..., 0], sources[..., 1]
    moved = labels[y, x]
    moved[x < 0] = fill
    return moved
