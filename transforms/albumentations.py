"""The filters as albumentations transforms, on uint8 RGB images.

Each parameter is a number or a range (from, to) out of which one is drawn at each call. Masks,
boxes and keypoints stay as they are, but for `Ripple(move_mask=True)`. Transforms can be saved
with `albumentations.to_dict` and repeated by `ReplayCompose`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from albumentations.core.transforms_interface import (
    BasicTransform,
    DualTransform,
    ImageOnlyTransform,
)
from albumentations.core.type_definitions import Targets

from transforms import gegl_cubism, gegl_photocopy, gegl_ripple, wave
from transforms.common import check_choice, check_flag, check_integer, check_span
from transforms.labels import moved_labels

Range = float | tuple[float, float]


def drawn(transform: BasicTransform, names: Iterable[str]) -> dict[str, float]:
    """Draw the parameters of these names from the transform's own random generator."""
    return {name: transform.py_random.uniform(*getattr(transform, name)) for name in names}


def only(params: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The filter's own out of all that albumentations hands on."""
    return {name: params[name] for name in names}


class Photocopy(ImageOnlyTransform):
    """`transforms.photocopy` with fixed or random parameters.

    Args:
        mask_radius: radius in pixels of the surroundings compared with, 0..50.
        sharpness: 0..1; 1 keeps the finest detail.
        black: 0..1; only 0 matters: the dark pixels then become black.
        white: 0..1, share of the dark pixels that sets the width of the ramp to white.
        p: probability of being applied.

    Raises:
        ValueError: a parameter of wrong type or out of range, or an image that is not uint8 RGB.
    """

    def __init__(
        self,
        mask_radius: Range = 10.0,
        sharpness: Range = 0.5,
        black: Range = 0.2,
        white: Range = 0.2,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.mask_radius = check_span("mask_radius", mask_radius, gegl_photocopy.RANGES)
        self.sharpness = check_span("sharpness", sharpness, gegl_photocopy.RANGES)
        self.black = check_span("black", black, gegl_photocopy.RANGES)
        self.white = check_span("white", white, gegl_photocopy.RANGES)

    def get_params(self) -> dict[str, Any]:
        return drawn(self, gegl_photocopy.RANGES)

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return gegl_photocopy.photocopy(img, **only(params, gegl_photocopy.RANGES))


class Ripple(DualTransform):
    """`transforms.ripple` with fixed or random parameters.

    Args:
        amplitude: largest displacement in pixels, 0..1000.
        period: wave length in pixels, 0..1000; below 0.0001 nothing is displaced.
        phi: phase in wave lengths, -1..1.
        angle: degrees, -180..180; 0 displaces vertically along x, 90 horizontally along y.
        sampler_type: "nearest", "linear" or "cubic".
        wave_type: "sine", "triangle" or "sawtooth".
        abyss_policy: "clamp", "loop", "black", "white" or "none".
        tileable: adjust angle and period so that the wave fits the image.
        move_mask: move masks with the image, by nearest neighbour; else they stay where they were.
        fill_mask: value of moved masks where black, white or nothing is shown.
        p: probability of being applied.

    Raises:
        ValueError: a parameter of wrong type, unknown or out of range, or an image that is not
            uint8 RGB.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

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
        fill_mask: int = 0,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.amplitude = check_span("amplitude", amplitude, wave.RANGES)
        self.period = check_span("period", period, wave.RANGES)
        self.phi = check_span("phi", phi, wave.RANGES)
        self.angle = check_span("angle", angle, wave.RANGES)
        self.sampler_type = check_choice("sampler_type", sampler_type, gegl_ripple.SAMPLERS)
        self.wave_type = check_choice("wave_type", wave_type, wave.WAVES)
        self.abyss_policy = check_choice("abyss_policy", abyss_policy, wave.ABYSSES)
        self.tileable = check_flag("tileable", tileable)
        self.move_mask = check_flag("move_mask", move_mask)
        self.fill_mask = check_integer("fill_mask", fill_mask, -(2**31), 2**31 - 1)

    @property
    def _wave(self) -> dict[str, Any]:
        return {
            "wave_type": self.wave_type,
            "abyss_policy": self.abyss_policy,
            "tileable": self.tileable,
        }

    def get_params(self) -> dict[str, Any]:
        return drawn(self, wave.RANGES)

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        numbers = only(params, wave.RANGES)
        return gegl_ripple.ripple(img, **numbers, **self._wave, sampler_type=self.sampler_type)

    def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
        if not self.move_mask:
            return mask
        numbers = only(params, wave.RANGES)
        sources = wave.ripple_sources(mask.shape[:2], **numbers, **self._wave)
        return moved_labels(mask, sources, self.fill_mask)


class Cubism(ImageOnlyTransform):
    """`transforms.cubism` with fixed or random parameters and other tiles at each call.

    Args:
        tile_size: distance of the tiles in pixels, 1..256.
        tile_saturation: side of the tiles in tile sizes, 0..10; 0 leaves only the background.
        bg_color: three sRGB integers 0..255, seen where no tile lies.
        p: probability of being applied.

    Raises:
        ValueError: a parameter of wrong type or out of range, or an image that is not uint8 RGB.
    """

    def __init__(
        self,
        tile_size: Range = 10.0,
        tile_saturation: Range = 2.5,
        bg_color: tuple[int, int, int] = (0, 0, 0),
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.tile_size = check_span("tile_size", tile_size, gegl_cubism.RANGES)
        self.tile_saturation = check_span("tile_saturation", tile_saturation, gegl_cubism.RANGES)
        self.bg_color = tuple(gegl_cubism.check_colour("bg_color", bg_color).tolist())

    def get_params(self) -> dict[str, Any]:
        return drawn(self, gegl_cubism.RANGES) | {"seed": self.py_random.getrandbits(32)}

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        numbers = only(params, [*gegl_cubism.RANGES, "seed"])
        return gegl_cubism.cubism(img, **numbers, bg_color=self.bg_color)
