"""GEGL-like image filters as pure functions on uint8 RGB arrays."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from transforms.gegl_cubism import cubism
from transforms.gegl_photocopy import photocopy
from transforms.gegl_ripple import ripple

__all__ = ["FILTERS", "cubism", "photocopy", "ripple"]

FILTERS: dict[str, Callable[..., npt.NDArray[np.uint8]]] = {
    "photocopy": photocopy,
    "ripple": ripple,
    "cubism": cubism,
}
