"""The filters as kornia augmentations, usable inside its AugmentationSequential.

`Photocopy`, `Ripple` and `Cubism` take the parameters of the filters of these names. Each number
can be a range (from, to) out of which one is drawn for each image; Cubism draws other tiles for
each. `p` is the probability that an image is filtered; `same_on_batch` draws once for a batch.
Masks, boxes and keypoints stay as they are, but for masks with `Ripple(move_mask=True)`. A wrong
type, an unknown choice or a value out of range is a ValueError.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from transforms.gegl_ripple import ripple_sources
from transforms.parameters import RANGES, initialiser, keywords, parameters_of
from transforms.torch import cubism, photocopy, ripple

Parameters = dict[str, Tensor]


class Filter(IntensityAugmentationBase2D):
    """A filter whose numbers are drawn anew for each image; the base of the three below."""

    filter: ClassVar[Callable[..., Tensor]]

    def set_up(self, p: float, same_on_batch: bool, **parameters: Any) -> None:
        """Keep the checked parameters: `spans` are the ranges of the numbers."""
        IntensityAugmentationBase2D.__init__(self, p=p, same_on_batch=same_on_batch)
        self.spans = {name: span for name, span in parameters.items() if name in RANGES}
        for name in parameters.keys() - RANGES:
            setattr(self, name, parameters[name])

    def generate_parameters(self, shape: tuple[int, ...]) -> Parameters:
        """Draw each number, float64, and the seed if the filter has one: (B,) on the CPU.

        `shape` is that of the images, (B, 3, H, W).
        """
        drawn = {}
        if any(p.name == "seed" for p in keywords(self.filter)):
            drawn["seed"] = self._shared(torch.randint(2**32, (shape[0],)))
        for name, (first, last) in self.spans.items():
            share = self._shared(torch.rand(shape[0], dtype=torch.float64))
            drawn[name] = first + (last - first) * share
        return drawn

    def _shared(self, values: Tensor) -> Tensor:
        """The values (B,), or with `same_on_batch` the first of them for all images."""
        return values[:1].expand(len(values)) if self.same_on_batch else values

    def apply_transform(
        self, input: Tensor, params: Parameters, flags: Any, transform: Tensor | None = None
    ) -> Tensor:
        return self.filtered(input, params, self.filter)

    def filtered(self, images: Tensor, params: Parameters, apply: Callable[..., Tensor]) -> Tensor:
        """Apply to (B, C, H, W), all at once where all have the same parameters (but the seed)."""
        names = [p.name for p in keywords(apply)]
        fixed = {name: getattr(self, name) for name in names if name not in params}
        drawn = {name: params[name].tolist() for name in names if name in params}
        rows = [dict(zip(drawn, row, strict=True)) for row in zip(*drawn.values(), strict=True)]
        if not rows:
            return images
        if all(row | {"seed": 0} == rows[0] | {"seed": 0} for row in rows):
            seeds = {"seed": drawn["seed"]} if "seed" in drawn else {}
            return apply(images, **rows[0] | seeds, **fixed)
        parts = zip(images.split(1), rows, strict=True)
        return torch.cat([apply(image, **row, **fixed) for image, row in parts])


class Photocopy(Filter):
    """`transforms.torch.photocopy` with fixed or random parameters."""

    filter = staticmethod(photocopy)
    __init__ = initialiser(photocopy, Filter.set_up, p=0.5, same_on_batch=False)


class Ripple(Filter):
    """`transforms.torch.ripple` with fixed or random parameters.

    With `move_mask` masks move with the images, by nearest neighbour, else they stay; `fill_mask`
    is the value of moved masks where black, white or nothing is shown.
    """

    filter = staticmethod(ripple)
    fill_mask: float
    __init__ = initialiser(
        ripple, Filter.set_up, move_mask=False, fill_mask=0.0, p=0.5, same_on_batch=False
    )

    def apply_transform_mask(
        self, input: Tensor, params: Parameters, flags: Any, transform: Tensor | None = None
    ) -> Tensor:
        @parameters_of(ripple_sources)
        def moved(masks: Tensor, **wave: Any) -> Tensor:
            height, width = masks.shape[2:]
            sources = torch.from_numpy(ripple_sources((height, width), **wave)).to(masks.device)
            x, y = sources.unbind(2)
            return masks[:, :, y, x].masked_fill(x < 0, self.fill_mask)

        return self.filtered(input, params, moved) if self.move_mask else input


class Cubism(Filter):
    """`transforms.torch.cubism` with fixed or random parameters and other tiles for each image."""

    filter = staticmethod(cubism)
    __init__ = initialiser(cubism, Filter.set_up, p=0.5, same_on_batch=False)
