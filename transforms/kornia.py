"""The filters as kornia augmentations, usable inside its AugmentationSequential.

Each parameter is a number or a range (from, to) out of which one is drawn for each image. Masks,
boxes and keypoints stay as they are, but for masks with `Ripple(move_mask=True)`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from transforms import gegl_cubism, gegl_photocopy, gegl_ripple, wave
from transforms.common import Ranges, check_choice, check_flag, check_span
from transforms.torch import cubism, photocopy, ripple

Range = float | tuple[float, float]
Parameters = dict[str, Tensor]


class Filter(IntensityAugmentationBase2D):
    """A filter whose numbers are drawn anew for each image; the base of the three below."""

    def __init__(
        self, spans: Mapping[str, Range], ranges: Ranges, p: float, same_on_batch: bool
    ) -> None:
        super().__init__(p=p, same_on_batch=same_on_batch)
        self.spans = {name: check_span(name, span, ranges) for name, span in spans.items()}

    def generate_parameters(self, shape: tuple[int, ...]) -> Parameters:
        """Draw each parameter: float64 (B,) on the CPU, for images of `shape` (B, 3, H, W)."""
        return {
            name: first + (last - first) * self.shared(torch.rand(shape[0], dtype=torch.float64))
            for name, (first, last) in self.spans.items()
        }

    def shared(self, values: Tensor) -> Tensor:
        """The values (B,), or with `same_on_batch` the first of them for all images."""
        return values[:1].expand(len(values)) if self.same_on_batch else values

    def filtered(
        self,
        images: Tensor,
        params: Parameters,
        apply: Callable[..., Tensor],
        seeds: list[int] | None = None,
        **fixed: Any,
    ) -> Tensor:
        """Filter (B, 3, H, W), all at once where all have the same parameters (but the seed)."""
        columns = [params[name].tolist() for name in self.spans]
        rows = [dict(zip(self.spans, row, strict=True)) for row in zip(*columns, strict=True)]
        if not rows:
            return images
        if all(row == rows[0] for row in rows):
            seeded = {} if seeds is None else {"seed": seeds}
            return apply(images, **rows[0], **seeded, **fixed)
        if seeds is not None:
            rows = [{**row, "seed": seed} for row, seed in zip(rows, seeds, strict=True)]
        parts = zip(images.split(1), rows, strict=True)
        return torch.cat([apply(image, **row, **fixed) for image, row in parts])


class Photocopy(Filter):
    """`transforms.torch.photocopy` with fixed or random parameters.

    Args:
        mask_radius: radius in pixels of the surroundings compared with, 0..50.
        sharpness: 0..1; 1 keeps the finest detail.
        black: 0..1; only 0 matters: the dark pixels then become black.
        white: 0..1, share of the dark pixels that sets the width of the ramp to white.
        p: probability of being applied to an image.
        same_on_batch: draw once for all images of a batch.

    Raises:
        ValueError: a parameter of wrong type or out of range.
    """

    def __init__(
        self,
        mask_radius: Range = 10.0,
        sharpness: Range = 0.5,
        black: Range = 0.2,
        white: Range = 0.2,
        p: float = 0.5,
        same_on_batch: bool = False,
    ) -> None:
        spans = {
            "mask_radius": mask_radius,
            "sharpness": sharpness,
            "black": black,
            "white": white,
        }
        super().__init__(spans, gegl_photocopy.RANGES, p, same_on_batch)

    def apply_transform(
        self, input: Tensor, params: Parameters, flags: Any, transform: Tensor | None = None
    ) -> Tensor:
        return self.filtered(input, params, photocopy)


class Ripple(Filter):
    """`transforms.torch.ripple` with fixed or random parameters.

    Args:
        amplitude: largest displacement in pixels, 0..1000.
        period: wave length in pixels, 0..1000; below 0.0001 nothing is displaced.
        phi: phase in wave lengths, -1..1.
        angle: degrees, -180..180; 0 displaces vertically along x, 90 horizontally along y.
        sampler_type: "nearest", "linear" or "cubic".
        wave_type: "sine", "triangle" or "sawtooth".
        abyss_policy: "clamp", "loop", "black", "white" or "none".
        tileable: adjust angle and period so that the wave fits the image.
        move_mask: move masks with the images, by nearest neighbour; else they stay.
        fill_mask: value of moved masks where black, white or nothing is shown.
        p: probability of being applied to an image.
        same_on_batch: draw once for all images of a batch.

    Raises:
        ValueError: a parameter of wrong type, unknown or out of range.
    """

    def __init__(
        self,
        amplitude: Range = 25.0,
        period: Range = 200.0,
        phi: Range = 0.0,
        angle: Range = 0.0,
        sampler_type: str = "cubic",
        wave_type: str = "sine",
        abyss_policy: str = "clamp",
        tileable: bool = False,
        move_mask: bool = False,
        fill_mask: float = 0.0,
        p: float = 0.5,
        same_on_batch: bool = False,
    ) -> None:
        spans = {"amplitude": amplitude, "period": period, "phi": phi, "angle": angle}
        super().__init__(spans, wave.RANGES, p, same_on_batch)
        self.sampler_type = check_choice("sampler_type", sampler_type, gegl_ripple.SAMPLERS)
        self.wave: dict[str, Any] = {
            "wave_type": check_choice("wave_type", wave_type, wave.WAVES),
            "abyss_policy": check_choice("abyss_policy", abyss_policy, wave.ABYSSES),
            "tileable": check_flag("tileable", tileable),
        }
        self.move_mask = check_flag("move_mask", move_mask)
        self.fill_mask = fill_mask

    def apply_transform(
        self, input: Tensor, params: Parameters, flags: Any, transform: Tensor | None = None
    ) -> Tensor:
        return self.filtered(input, params, ripple, sampler_type=self.sampler_type, **self.wave)

    def apply_transform_mask(
        self, input: Tensor, params: Parameters, flags: Any, transform: Tensor | None = None
    ) -> Tensor:
        if not self.move_mask:
            return input
        return self.filtered(input, params, self._moved)

    def _moved(self, masks: Tensor, **numbers: Any) -> Tensor:
        """Masks (B, C, H, W) moved with the images."""
        height, width = masks.shape[2:]
        sources = wave.ripple_sources((height, width), **numbers, **self.wave)
        x, y = torch.from_numpy(sources).to(masks.device).unbind(2)
        return masks[:, :, y, x].masked_fill(x < 0, self.fill_mask)


class Cubism(Filter):
    """`transforms.torch.cubism` with fixed or random parameters and other tiles for each image.

    Args:
        tile_size: distance of the tiles in pixels, 1..256.
        tile_saturation: side of the tiles in tile sizes, 0..10; 0 leaves only the background.
        bg_color: three sRGB integers 0..255, seen where no tile lies.
        p: probability of being applied to an image.
        same_on_batch: draw once for all images of a batch, tiles included.

    Raises:
        ValueError: a parameter of wrong type or out of range.
    """

    def __init__(
        self,
        tile_size: Range = 10.0,
        tile_saturation: Range = 2.5,
        bg_color: tuple[int, int, int] = (0, 0, 0),
        p: float = 0.5,
        same_on_batch: bool = False,
    ) -> None:
        spans = {"tile_size": tile_size, "tile_saturation": tile_saturation}
        super().__init__(spans, gegl_cubism.RANGES, p, same_on_batch)
        self.bg_color = tuple(gegl_cubism.check_colour("bg_color", bg_color).tolist())

    def generate_parameters(self, shape: tuple[int, ...]) -> Parameters:
        """Draw each parameter and a seed: (B,) on the CPU, for images of `shape` (B, 3, H, W)."""
        seeds = self.shared(torch.randint(2**32, (shape[0],)))
        return {**super().generate_parameters(shape), "seed": seeds}

    def apply_transform(
        self, input: Tensor, params: Parameters, flags: Any, transform: Tensor | None = None
    ) -> Tensor:
        seeds = params["seed"].tolist()
        return self.filtered(input, params, cubism, seeds, bg_color=self.bg_color)
