"""The filters as albumentations transforms, on uint8 RGB images.

`Photocopy`, `Ripple`, `Cubism` and `Camera` take the parameters of the filters of these names. Each
number can be a range (from, to) out of which one is drawn at each call; Cubism draws new tiles and
Camera new noise each time.
`p` is the probability that an image is filtered. Masks, boxes and keypoints stay as they are, but
for masks with `Ripple(move_mask=True)`. Transforms can be saved with `albumentations.to_dict` and
repeated by `ReplayCompose`. A parameter of wrong type, unknown or out of range is a ValueError, and
so is an image that is not uint8 RGB.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from albumentations.core.transforms_interface import (
    BasicTransform,
    DualTransform,
    ImageOnlyTransform,
)
from albumentations.core.type_definitions import Targets

from transforms.camera import camera
from transforms.gegl_cubism import cubism
from transforms.gegl_photocopy import photocopy
from transforms.gegl_ripple import ripple, ripple_sources
from transforms.labels import moved_labels
from transforms.parameters import RANGES, check_integer, initialiser, keywords


class Filter(BasicTransform):
    """A filter whose numbers are drawn anew at each call; the base of those below."""

    filter: ClassVar[Callable[..., np.ndarray]]

    def set_up(self, p: float, **parameters: Any) -> None:
        """Keep the checked parameters; those of numbers are their ranges."""
        BasicTransform.__init__(self, p=p)
        if "fill_mask" in parameters:
            check_integer("fill_mask", parameters["fill_mask"], -(2**31), 2**31 - 1)
        self.__dict__.update(parameters)

    def get_params(self) -> dict[str, Any]:
        """Draw from the transform's own random generator."""
        names = [p.name for p in keywords(self.filter)]
        drawn = {n: self.py_random.uniform(*getattr(self, n)) for n in names if n in RANGES}
        return drawn | ({"seed": self.py_random.getrandbits(32)} if "seed" in names else {})

    def parameters(self, function: Callable[..., Any], drawn: dict[str, Any]) -> dict[str, Any]:
        """The function's own out of what was drawn and what is fixed."""
        names = [p.name for p in keywords(function)]
        return {n: drawn[n] if n in drawn else getattr(self, n) for n in names}

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return self.filter(img, **self.parameters(self.filter, params))


class Photocopy(Filter, ImageOnlyTransform):
    """`transforms.photocopy` with fixed or random parameters."""

    filter = staticmethod(photocopy)
    __init__ = initialiser(photocopy, Filter.set_up, p=0.5)


class Ripple(Filter, DualTransform):
    """`transforms.ripple` with fixed or random parameters.

    With `move_mask` masks move with the image, by nearest neighbour, else they stay; `fill_mask` is
    the value of moved masks where black, white or nothing is shown.
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES, Targets.KEYPOINTS)
    filter = staticmethod(ripple)
    __init__ = initialiser(ripple, Filter.set_up, move_mask=False, fill_mask=0, p=0.5)

    def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
        if not self.move_mask:
            return mask
        wave = self.parameters(ripple_sources, params)
        return moved_labels(mask, ripple_sources(mask.shape[:2], **wave), self.fill_mask)

    def apply_to_bboxes(self, bboxes: np.ndarray, **params: Any) -> np.ndarray:
        return bboxes

    def apply_to_keypoints(self, keypoints: np.ndarray, **params: Any) -> np.ndarray:
        return keypoints


class Cubism(Filter, ImageOnlyTransform):
    """`transforms.cubism` with fixed or random parameters and other tiles at each call."""

    filter = staticmethod(cubism)
    __init__ = initialiser(cubism, Filter.set_up, p=0.5)


class Camera(Filter, ImageOnlyTransform):
    """`transforms.camera` with fixed or random parameters and other noise at each call."""

    filter = staticmethod(camera)
    __init__ = initialiser(camera, Filter.set_up, p=0.5)
