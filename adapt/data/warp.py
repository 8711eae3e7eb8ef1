"""Pairs whose x2 does not lie on x1 pixel by pixel: homographies, by pair, and the warp by them.

A homography takes a pixel (x, y) of x1 to the pixel of x2 that shows the same thing, both counted
in their own file, with pixel centres at whole numbers as OpenCV has them. `align` writes a CSV of
them, which `data.transforms` names.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from adapt.data.augment import with_channels
from adapt.data.files import list_text
from adapt.data.samples import Sample
from adapt.errors import InputError, listing
from adapt.settings.groups import DataConfig

ENTRIES = tuple(f"h{row}{column}" for row in range(3) for column in range(3))
COLUMNS = ("x1", "x2", "accepted", *ENTRIES, "score")
"""Of the CSV; the loader reads x1, x2 and the entries."""
SHRINKS = 1.5
"""Factor from which on an image is reduced by area before it is warped, as every second pixel alone
would show patterns that are not there."""


def warped(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], void: int | None = None
) -> np.ndarray:
    """What `image` (h, w[, C]) shows, in its partner's geometry: pixel p of the result (H, W[, C])
    is pixel `matrix` p of the image, between pixels linearly, and 0 where the image shows nothing.

    Args:
        image: of any type that OpenCV warps.
        matrix: (3, 3), from the result's pixels to the image's.
        size: (H, W) of the result.
        void: the image is a mask of indices, of which none is mixed; this stands where it shows
            nothing.
    """
    inside = covered(matrix, image.shape[:2], size)
    how = cv2.INTER_LINEAR if void is None else cv2.INTER_NEAREST
    if void is None and (factor := shrinkage(matrix, size)) > SHRINKS:
        height, width = image.shape[:2]
        smaller = max(1, round(width / factor)), max(1, round(height / factor))
        shrink = partial(cv2.resize, dsize=smaller, interpolation=cv2.INTER_AREA)
        image = with_channels(shrink, image)
        matrix = resizing((height, width), smaller[::-1]) @ matrix
    flags = how | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(
        image, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    moved[inside == 0] = void or 0
    return moved.reshape(*size, *image.shape[2:])  # which loses its only channel


def masked(labels: np.ndarray, inside: np.ndarray, void: int) -> np.ndarray:
    """Labels (H, W), void where `inside` is 0."""
    return np.where(inside == 1, labels, labels.dtype.type(void))


def covered(matrix: np.ndarray, source: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Which pixels of a warp an image of size `source` (h, w) shows: uint8 (H, W), 1 = it does."""
    ones = np.ones(source, np.uint8)
    return cv2.warpPerspective(
        ones, matrix, size[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )


def shrinkage(matrix: np.ndarray, size: tuple[int, int]) -> float:
    """By what factor a warp to `size` makes things smaller, at its centre."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    corners = np.array([[x, y], [x + 1, y], [x, y + 1]], np.float64)
    middle, right, below = cv2.perspectiveTransform(corners[None], matrix)[0]
    return float(np.sqrt(abs(np.linalg.det(np.stack([right - middle, below - middle])))))


def resizing(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """The (3, 3) that takes pixels of an image of size `old` (H, W) to those of the same image
    resized to `new`, whose corners, not whose outer pixel centres, fall together."""
    down, across = new[0] / old[0], new[1] / old[1]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1.0]])


def aligned(
    sample: Sample, arrays: dict[str, np.ndarray], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The arrays of a sample by field, x2 and labels of its own warped into the geometry of x1,
    which has `size` (H, W). What x2 does not show is void, and 0 in `valid`, which is there."""
    matrix = as_matrix(sample.transform or ())
    found = dict(arrays)
    inside = np.ones(size, np.uint8)
    if "x2" in arrays:
        inside = covered(matrix, arrays["x2"].shape[:2], size)
        found["x2"] = warped(arrays["x2"], matrix, size)
    if "y2" in arrays:
        labels = arrays["y2"]
        void = int(np.iinfo(labels.dtype).max)
        own = sample.y2 != sample.y1
        found["y2"] = warped(labels, matrix, size, void) if own else masked(labels, inside, void)
    return found | {"valid": arrays["valid"] & inside if "valid" in arrays else inside}


def with_transforms(samples: Sequence[Sample], config: DataConfig) -> list[Sample]:
    """The samples with what `data.transforms` has for them.

    Raises:
        InputError: a CSV that cannot be read, or lacks a pair.
    """
    path = Path(config.transforms)
    table = read_transforms(path)
    found = [replace(s, transform=table.get(names_of(s, config))) for s in samples]
    if lost := [s.name for s in found if s.transform is None]:
        raise InputError(
            f"data.transforms: {path} has no row for {len(lost)} of {len(found)} pairs: "
            f"{listing(lost)}; its columns x1 and x2 name files as seen from data.root and "
            "data.target, or from the folder of data.pairs"
        )
    return found


def names_of(sample: Sample, config: DataConfig) -> tuple[str, str]:
    """x1 and x2 of a sample as the CSV has them: as seen from data.root and data.target, or from
    the folder of data.pairs."""
    listed = str(Path(config.pairs).parent) if config.pairs else ""
    places = (listed or config.root, listed or config.target)
    old, new = (
        path.relative_to(place).as_posix() if place and path.is_relative_to(place) else str(path)
        for path, place in zip((sample.x1, sample.x2 or sample.x1), places, strict=True)
    )
    return old, new


def read_transforms(path: Path) -> dict[tuple[str, str], tuple[float, ...]]:
    """x1 and x2 -> h00 to h22, of every row; other columns are passed over.

    Raises:
        InputError: no such file, a column that is missing, or a row whose entries are no homography
            that can be inverted, by its line.
    """
    rows = csv.DictReader(io.StringIO(list_text(path), newline=""))
    if lost := {"x1", "x2", *ENTRIES} - {*(rows.fieldnames or ())}:
        raise InputError(f"{path}: the header lacks {listing(lost)}")
    return {(row["x1"], row["x2"]): entries(row, f"{path}:{rows.line_num}") for row in rows}


def entries(row: dict[str, str | None], where: str) -> tuple[float, ...]:
    """h00 to h22 of a row."""
    try:
        found = tuple(float(row[name] or "") for name in ENTRIES)
    except ValueError:
        found = ()
    if not found or not np.isfinite(found).all() or abs(np.linalg.det(as_matrix(found))) < 1e-9:
        given = ", ".join(f"{name} {row[name]}" for name in ENTRIES)
        raise InputError(f"{where}: not a homography that can be inverted: {given}")
    return found


def as_matrix(found: Iterable[float]) -> np.ndarray:
    return np.reshape(tuple(found), (3, 3))
