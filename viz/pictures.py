"""Label maps, error views and feature maps as small uint8 (H, W, 3) pictures; PNG encoding."""

import base64
import colorsys
import io
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image

from adapt.data.images import void_of
from adapt.errors import InputError

WRONG, VOID = (255, 255, 255), (0, 0, 0)
BACKGROUND = (92, 99, 112)
FIRST = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
"""Okabe & Ito 2008: what few classes need, distinct to colour-blind eyes too."""


def palette(classes: int) -> np.ndarray:
    """uint8 (classes, 3): class 0 slate, then FIRST, then hues a golden angle apart.

    No colour is near the white of wrong pixels or the black of void.
    """
    colours = [BACKGROUND, *FIRST]
    for number in range(classes - len(colours)):
        hue, level = (0.08 + 0.618034 * number) % 1, (0.55, 0.8, 0.4)[number % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.45, 0.9)[number % 3], level)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colours[:classes], np.uint8)


def legend(
    classes: Sequence[str], maps: Iterable[np.ndarray] | None = None
) -> list[tuple[str, str]]:
    """Names of classes, or of those that are in some maps, with their colours (#rrggbb)."""
    seen = None if maps is None else {int(i) for found in maps for i in np.unique(found)}
    return [
        (name, "#{:02x}{:02x}{:02x}".format(*colour))
        for label, (name, colour) in enumerate(zip(classes, palette(len(classes)), strict=True))
        if seen is None or label in seen
    ]


def coloured(labels: np.ndarray, classes: int) -> np.ndarray:
    """Classes (H, W) in their colours, void and what is no class black: uint8 (H, W, 3)."""
    table = np.zeros((void_of(classes) + 1, 3), np.uint8)
    table[:classes] = palette(classes)
    table[-1] = VOID
    return table[labels.astype(np.int64).clip(max=void_of(classes))]


def error_view(prediction: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Prediction (H, W) in class colours, with wrong pixels white and void ones black.

    Raises:
        InputError: prediction and truth differ in size.
    """
    if prediction.shape != truth.shape:
        raise InputError(f"error view: prediction {prediction.shape} against truth {truth.shape}")
    view = coloured(prediction, classes)
    view[prediction != truth] = WRONG
    view[truth == void_of(classes)] = VOID
    return view


def most_changed(old: np.ndarray, new: np.ndarray) -> int:
    """The channel in which maps (C, h, w) differ most: |new - old|^2 / |old|^2.

    Channels with less than the mean energy are left out: a nearly dead one always differs much.
    """
    energy = np.square(old.astype(np.float64)).sum(axis=(1, 2))
    change = np.square(new.astype(np.float64) - old).sum(axis=(1, 2))
    alive = (energy >= energy.mean()) & (energy > 0)
    return int(np.where(alive, change / np.where(alive, energy, 1), -1).argmax())


def shrunk(picture: np.ndarray, side: int, *, labels: bool = False) -> np.ndarray:
    """At most `side` pixels on the longer side, by area; pictures of labels by nearest."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA
    return cv2.resize(picture, size, interpolation=method)


def encode(picture: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as PNG; by palette where that loses nothing."""
    image = Image.fromarray(picture)
    few = image.getcolors(256) is not None
    return saved(image.quantize(256, dither=Image.Dither.NONE) if few else image)


def reduced(png: bytes, kmeans: int = 0) -> bytes:
    """A PNG with at most 256 colours, refined by rounds of k-means: a third of the size."""
    with Image.open(io.BytesIO(png)) as image:
        full = image.convert("RGB")
    return saved(full.quantize(256, kmeans=kmeans, dither=Image.Dither.NONE))


def saved(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG as the address of an <img> that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def thumbnail(picture: np.ndarray, *, labels: bool = False, side: int = 260) -> str:
    """uint8 (H, W, 3) as `data_uri`, at most `side` pixels long; see `shrunk`."""
    return data_uri(encode(shrunk(picture, side, labels=labels)))


def is_file_name(name: str) -> bool:
    """Can a picture be called so, without leading into another folder?"""
    return bool(name) and not name.startswith(".") and not set(name) & set("/\\\0")
