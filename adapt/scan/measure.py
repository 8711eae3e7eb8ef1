"""One file, decoded once and reduced to a record of about 1.5 kB; runs in worker processes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from adapt.align.estimate import shown
from adapt.data.images import image_header, read_image, read_indices, read_valid
from adapt.errors import InputError
from adapt.machine.workers import in_processes

T = TypeVar("T")

IMAGE, LABEL, VALID = "image", "label", "valid"

SMALL = 300
"""Files up to which starting processes takes longer than measuring."""
HASH_SIDE = 16
FLAT = 2.0
"""Standard deviation of the shrunk grey values below which an image shows nothing."""

LUMINANCE, EDGES, COLOUR = (12, 16), (6, 8), (6, 8)
"""Rows and columns of the descriptor's grids."""
DIRECTIONS = 6


Job = tuple[Path, str, bool, tuple[Any, ...]]
"""A file, its role, whether it is described, as an image of a pair is, and what its role's reader
takes beside the path."""


@dataclass
class Record:
    """What is kept of a file. `error` is empty where it could be decoded."""

    path: Path
    role: str
    error: str = ""
    mode: str = ""
    ignored: tuple[str, ...] = ()
    """What is in the file and not used."""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    """SHA-256 of shape and decoded pixels."""
    highest: int = 0
    """Images of more than 8 bits: the largest value."""
    flat: bool = False
    hashes: Any = None
    """Images: uint64 (2, 4), perceptual hash of the image and of its mirror image."""
    descriptor: Any = None
    """Images of a pair: float16 (D,)."""
    values: dict[int, int] = field(default_factory=dict)
    """Labels: value in the file -> pixels. Valid masks: 0 and 1 -> pixels."""


Records = Mapping[tuple[Path | None, str], Record]
"""(file, role) -> what was measured; a file can serve in two roles."""


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def perceptual_hash(values: np.ndarray) -> np.ndarray:
    """uint64 (4,) of grey values (64, 64): which of the 16x16 lowest DCT coefficients, the constant
    one left out, exceed their median (pHash: Zauner 2010, section 3.2.1, with 256 bits, not 64)."""
    low = cv2.dct(values.astype(np.float32))[: HASH_SIDE + 1, : HASH_SIDE + 1]
    chosen = np.append(low[:HASH_SIDE, :HASH_SIDE].ravel()[1:], low[HASH_SIDE, 0])
    return np.packbits(chosen > np.median(chosen)).view(np.uint64)


def descriptor(image: np.ndarray) -> np.ndarray:
    """What a uint8 (H, W, 3) image shows where, coarsely: float16 (576,).

    Luminance as ranks, which no monotonic change of brightness alters; the energy of edges by
    direction (modulo 180°, so that light on dark equals dark on light), as in HOG (Dalal and
    Triggs 2005) on the whole image; and colour. Which of them survive a shift is learned from the
    pairs (adapt.scan.pairs).
    """
    grey_image = grey(image)
    luminance = cv2.resize(grey_image, LUMINANCE[::-1], interpolation=cv2.INTER_AREA).ravel()
    _, place, counts = np.unique(luminance, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[place] / (luminance.size - 1) - 0.5
    small = cv2.resize(image, COLOUR[::-1], interpolation=cv2.INTER_AREA)
    colour = (cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 1:].ravel() - 128.0) / 32
    return np.concatenate([ranks, edges(grey_image), colour]).astype(np.float16)


def edges(grey_image: np.ndarray) -> np.ndarray:
    """Root of the share of edge energy in each cell and direction, (6 * 6 * 8,)."""
    small = cv2.resize(grey_image, (128, 96), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1)
    dx, dy = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
    strength = cv2.magnitude(dx, dy)
    angle = (np.arctan2(dy, dx) % np.pi) / np.pi * DIRECTIONS
    low = np.floor(angle)
    part = angle - low
    cells = []
    for k in range(DIRECTIONS):
        lower = strength * np.where(low % DIRECTIONS == k, 1 - part, 0)
        upper = strength * np.where((low + 1) % DIRECTIONS == k, part, 0)
        cells.append(cv2.resize(lower + upper, EDGES[::-1], interpolation=cv2.INTER_AREA))
    energy = np.stack(cells)
    return np.sqrt(energy / (energy.mean() + 1e-6)).ravel()


READ: dict[str, Callable[..., np.ndarray]] = {
    IMAGE: read_image, LABEL: read_indices, VALID: read_valid,
}  # fmt: skip


def measure(job: Job) -> Record:
    """Decode a file strictly and reduce it; what is wrong with it goes into the record."""
    path, role, described, options = job
    record = Record(path, role)
    try:
        array = READ[role](path, *options)
        header = None if path.suffix.lower() == ".mat" else image_header(path)
    except InputError as error:
        record.error = str(error).removeprefix(f"{path}: ")
        return record
    record.size = (array.shape[0], array.shape[1])
    record.digest = hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).digest()
    record.mode = header.mode if header else "SBD"
    if role in (LABEL, VALID):
        counts = np.bincount(array.ravel())
        record.values = {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    else:
        record.ignored = header.ignored if header else ()
        record.highest = int(array.max()) if array.dtype == np.uint16 else 0
        array = shown(array)
        small = cv2.resize(grey(array), (64, 64), interpolation=cv2.INTER_AREA)
        record.flat = float(small.std()) < FLAT
        record.hashes = np.stack([perceptual_hash(small), perceptual_hash(small[:, ::-1])])
        if described:
            record.descriptor = descriptor(array)
    return record


def moments(job: Job) -> np.ndarray:
    """Of an image's values in 0..1: their number, and each channel's sum and sum of squares,
    float64 (3, C)."""
    path, role, _, options = job
    array = READ[role](path, *options)
    values = array.reshape(-1, array.shape[2]) / np.float64(np.iinfo(array.dtype).max)
    count = np.full(values.shape[1], len(values), np.float64)
    return np.stack([count, values.sum(0), np.square(values).sum(0)])


def statistics(every: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel over all pixels, from images' `moments`."""
    count, total, squares = np.sum(every, axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return {"mean": mean.round(4).tolist(), "std": std.round(4).tolist()}


def of_all(work: Callable[[Job], T], jobs: Sequence[Job], workers: int, what: str) -> list[T]:
    """`in_processes`, where 0 workers are one for few files, whom processes would only hold up."""
    few = int(len(jobs) <= SMALL)
    return list(in_processes(work, jobs, workers or few, what, chunk=16))


def apart(every: Sequence[Record]) -> tuple[Records, list[Record]]:
    """The records of files that could be read, and the others."""
    return {(r.path, r.role): r for r in every if not r.error}, [r for r in every if r.error]
