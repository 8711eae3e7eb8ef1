"""Paired augmentation: one geometry for all arrays of a sample, photometry for each side apart.

Crops and mirror images are windows and OpenCV's flip, a tenth of the time that they take as
transforms of albumentations; everything else is albumentations. Each draw has a seed of its own:
the transforms of one `Compose` share theirs, so that a crop's place would tell whether it is
mirrored.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import cv2
import numpy as np

from adapt.data.images import DEEP
from adapt.errors import InputError
from adapt.settings.choices import PAD, STRETCH
from adapt.settings.groups import DataConfig

IMAGES = ("x1", "x2")
MASKS = ("y", "valid")
"""Of a sample with one label map; of several they are `y_TASK`."""
FILL, FILL_LABEL = 0, 65_535
"""Values of pixels that no image covers, which are not valid. Labels have void there: OpenCV cuts
FILL_LABEL to the largest value of their type."""

WINDOW, MIRROR, SCALE, ROTATION, COLOUR, BLUR = range(6)
"""What is drawn for a sample; COLOUR and BLUR for each side, x2's being 2 further."""

Arrays = dict[str, np.ndarray]
"""x1, x2: uint8 or uint16 (H, W, C); y, or several y_TASK: index mask (H, W); valid: uint8 (H, W);
all of one height and width."""
Steps = dict[int, Any]
"""What is drawn -> albumentations' transform that draws it."""


def frame(shape: Sequence[int], size: list[int]) -> list[int]:
    """(H, W) that `data.resize` makes of an image of a shape (H, W)."""
    if len(size) == 1:
        return [round(side * size[0] / min(shape)) for side in shape]
    return size or list(shape)


def resize(arrays: Arrays, size: list[int]) -> Arrays:
    """Bring all arrays to `size` (H, W), or their shorter side to [S]: images by area (shrinking)
    or linearly, masks by nearest neighbour, so that a label is never a mixture."""
    if not size:
        return arrays
    resized = {}
    for key, array in arrays.items():
        shape = array.shape[:2]
        wanted = frame(shape, size)
        shrinks = wanted[0] * wanted[1] < shape[0] * shape[1]
        smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        method = smooth if key in IMAGES else cv2.INTER_NEAREST_EXACT
        change = partial(cv2.resize, dsize=wanted[::-1], interpolation=method)
        resized[key] = with_channels(change, array)
    return resized


def with_channels(change: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    """What a function of OpenCV, which shrinks up to four channels and drops a single one, makes of
    (H, W) or (H, W, C)."""
    if array.ndim == 2 or array.shape[2] in (3, 4):
        return change(array)
    parts = [change(array[..., i : i + 4]) for i in range(0, array.shape[2], 4)]
    return np.dstack(parts)


def centred(array: np.ndarray, shape: Sequence[int], fill: np.generic | float) -> np.ndarray:
    """An array (H, W[, C]) cut, or padded with `fill`, around its middle to `shape`. A second call
    with the array's own shape puts what is left of it back in its place."""
    if array.shape[:2] == tuple(shape):
        return array
    common = [min(sides) for sides in zip(array.shape[:2], shape, strict=True)]

    def middle(whole: Sequence[int]) -> tuple[slice, ...]:
        both = zip(whole, common, strict=True)
        return tuple(slice((side - part) // 2, (side + part) // 2) for side, part in both)

    made = np.full((*shape, *array.shape[2:]), fill, array.dtype)
    made[middle(shape)] = array[middle(array.shape[:2])]
    return made


def canvas(shape: Sequence[int], size: list[int], fit: str) -> tuple[int, int]:
    """(H, W) of the part of an image, or of the ground around it, that `data.fit` brings to `size`,
    in the image's own pixels."""
    height, width = shape
    tall, wide = round(width * size[0] / size[1]), round(height * size[1] / size[0])
    chosen = max if fit == PAD else min
    return max(1, chosen(height, tall)), max(1, chosen(width, wide))


def fitted(arrays: Arrays, size: list[int], fit: str) -> Arrays:
    """Arrays with the shape of `size` at their own resolution, as `data.fit` says. Where padding
    leaves one of the images without a pixel, labels are void and `valid` is 0."""
    if fit == STRETCH:
        return arrays
    made = {
        key: centred(array, canvas(array.shape[:2], size, fit), fill_of(key, array))
        for key, array in arrays.items()
    }
    for image in made.keys() & set(IMAGES):
        shown = centred(np.ones(arrays[image].shape[:2], np.uint8), made[image].shape[:2], 0)
        for mask in made.keys() - set(IMAGES):
            there = resize({"valid": shown}, list(made[mask].shape[:2]))["valid"]
            made[mask] = np.where(there, made[mask], fill_of(mask, made[mask]))
    return made


def fill_of(key: str, array: np.ndarray) -> np.generic:
    """What an array holds where no image is; the largest value of a label's type is void."""
    return array.dtype.type(np.iinfo(array.dtype).max if key[0] == "y" else FILL)


def turning(config: DataConfig) -> Steps:
    """Scale and rotation of all arrays, in this order; masks by nearest neighbour."""
    if not (config.scale or config.rotate):
        return {}
    import albumentations as A

    steps: Steps = {}
    if config.scale:
        low, high = config.scale
        steps[SCALE] = A.RandomScale(
            (low - 1, high - 1),  # factor - 1
            area_for_downscale="image",
            mask_interpolation=cv2.INTER_NEAREST_EXACT,  # the other shifts what it shrinks
            p=1,
        )
    if config.rotate:
        border = {"border_mode": cv2.BORDER_CONSTANT, "fill": FILL, "fill_mask": FILL_LABEL}
        steps[ROTATION] = A.Rotate((-config.rotate, config.rotate), p=1, **border)
    targets = {"x2": "image", "y": "mask", "valid": "mask"}
    return {use: A.Compose([s], additional_targets=targets) for use, s in steps.items()}


def window(arrays: Arrays, size: list[int], seed: int) -> Arrays:
    """The same random window (H, W) of all arrays, as views; what is smaller is padded around."""
    height, width = map(max, zip(next(iter(arrays.values())).shape[:2], size, strict=True))
    arrays = {k: centred(a, (height, width), fill_of(k, a)) for k, a in arrays.items()}
    draw = Random(seed)
    top = int((height - size[0] + 1) * draw.random())
    left = int((width - size[1] + 1) * draw.random())
    return {k: a[top : top + size[0], left : left + size[1]] for k, a in arrays.items()}


def own(seed: int, use: int) -> int:
    """The seed of one of a sample's draws. Generators hash what they are seeded with, so that
    neighbours have nothing in common."""
    return 16 * seed + use


def flips(seed: int) -> bool:
    """Is a sample mirrored?"""
    return Random(own(seed, MIRROR)).random() < 0.5


def photometry(config: DataConfig, side: int) -> Steps:
    """Colour and blur of x1 (side 0) or x2 (1)."""
    jitter, blur = (getattr(config, f"{what}_{IMAGES[side]}") for what in ("jitter", "blur"))
    if not (jitter or blur):
        return {}
    import albumentations as A

    steps: Steps = {}
    if jitter:
        around, hue = (1 - jitter, 1 + jitter), (-jitter / 4, jitter / 4)
        steps[COLOUR + 2 * side] = A.ColorJitter(around, around, around, hue, p=1)
    if blur:
        steps[BLUR + 2 * side] = A.GaussianBlur(blur_limit=0, sigma_limit=(0, blur), p=1)
    return {use: A.Compose([step]) for use, step in steps.items()}


def recoloured(step: Any, image: np.ndarray) -> np.ndarray:
    """An image after a transform of albumentations, which knows uint8, and floats in 0..1. Images
    of floating point, which are blurred alone, are brought there and back."""
    if image.dtype == np.uint16:
        changed = step(image=(image / np.float32(DEEP)))["image"]
        return np.rint(changed * DEEP).astype(np.uint16)
    if image.dtype == np.float32:
        low, reach = image.min(), np.ptp(image) or np.float32(1)
        return step(image=(image - low) / reach)["image"] * reach + low
    return step(image=image)["image"]


class PairedAugmentation:
    """The same geometry for every array of a sample, then each image's own photometry; all fixed
    by a seed.

    Photometry comes last, on the crop: it is cheaper there, and blur is in pixels as the network
    sees them.
    """

    def __init__(self, config: DataConfig) -> None:
        self.turning = turning(config)
        self.crop, self.flip = config.crop, config.flip
        self.pads = bool(config.crop or config.scale or config.rotate)
        """Can a pixel of the result lie outside the image?"""
        endless = bool(self.pads or config.jitter_x1 or config.blur_x1)
        self.mirrors = config.flip and not (endless or config.views)
        self.views = config.views or (0 if endless else 1 + self.mirrors)
        """How many different x1 an image has; 0 = without end."""
        self.photometry = {key: photometry(config, side) for side, key in enumerate(IMAGES)}

    def mirrored(self, seed: int) -> int:
        """1 where a seed mirrors, for augmentations that do nothing else; 0 where it does not."""
        return int(self.mirrors and flips(seed))

    def __call__(self, arrays: Arrays, seed: int) -> Arrays:
        """`arrays` holds x1 or x2, and any of y and valid. What comes back may be a view of it."""
        moved = self.turned(arrays, seed)
        if self.crop:
            moved = window(moved, self.crop, own(seed, WINDOW))
        if self.flip and flips(seed):
            moved = {k: cv2.flip(array, 1).reshape(array.shape) for k, array in moved.items()}
        for key in moved.keys() & self.photometry.keys():
            for use, step in self.photometry[key].items():
                channels, floating = moved[key].shape[2], moved[key].dtype == np.float32
                if use == COLOUR + 2 * IMAGES.index(key) and (channels not in (1, 3) or floating):
                    kind = "floating point" if floating else f"{channels} channels"
                    raise InputError(
                        f"data.jitter_{key} changes the colours of grey or RGB images; {key} has "
                        f"{kind}"
                    )
                step.set_random_seed(own(seed, use))
                moved[key] = recoloured(step, moved[key])
        return moved

    def turned(self, arrays: Arrays, seed: int) -> Arrays:
        """Scaled and rotated by albumentations; what a rotation uncovers is not valid."""
        if not self.turning:
            return dict(arrays)
        first = next(key for key in IMAGES if key in arrays)
        moved = {("image" if key == first else key): array for key, array in arrays.items()}
        for use, step in self.turning.items():
            step.add_targets({key: "mask" for key in arrays if key.startswith("y_")})
            step.set_random_seed(own(seed, use))
            moved = step(**moved)
        moved = {key: moved["image" if key == first else key] for key in arrays}
        if "valid" in moved:
            moved["valid"] = (moved["valid"] == 1).astype(np.uint8)
        return moved
