"""GIMP's filters photocopy, ripple and cubism, and a bad camera, as pure functions on uint8 RGB
arrays.

`transforms.torch` has GIMP's for batches of tensors, `transforms.kornia` as augmentations of that
library, and `transforms.albumentations` has all four.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from transforms.camera import camera
from transforms.gegl_cubism import cubism, cubism_sources
from transforms.gegl_photocopy import photocopy
from transforms.gegl_ripple import ripple, ripple_displacement, ripple_sources
from transforms.labels import moved_labels

__all__ = [
    "FILTERS",
    "SOURCES",
    "camera",
    "cubism",
    "cubism_sources",
    "moved_labels",
    "photocopy",
    "ripple",
    "ripple_displacement",
    "ripple_sources",
]

FILTERS: dict[str, Callable[..., npt.NDArray[np.uint8]]] = {
    "photocopy": photocopy,
    "ripple": ripple,
    "cubism": cubism,
    "camera": camera,
}

SOURCES: dict[str, Callable[..., npt.NDArray[np.int64]]] = {
    "ripple": ripple_sources,
    "cubism": cubism_sources,
}
"""Of the filters that move content: which pixel of the image each pixel shows."""
