"""Baselines without training: new images get the colours of the old domain before the network sees
them. Both take their target from all training images of the old domain, because a single reference
image would make the result depend on the draw, and a test image's partner is unknown at test time.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from adapt.errors import InputError

Images = Iterable[np.ndarray]
"""uint8 or uint16 (H, W, C)."""
Restyle = Callable[[np.ndarray], np.ndarray]
"""An image -> the same in the old domain's look. It can be pickled, for loader workers."""


def largest(image: np.ndarray, like: int = 0) -> int:
    """The largest value of an image's type; an InputError where that is not `like` (0 = any)."""
    found = int(np.iinfo(image.dtype).max)
    if like not in (0, found):
        raise InputError("restyle: some images have 8 bits a value, others 16; make them alike")
    return found


def counts(images: Images) -> np.ndarray:
    """How often each of the L values of the images' type occurs in each channel: int64 (C, L)."""
    total, top = np.zeros((), np.int64), 0
    for image in images:
        top, channels = largest(image, top), np.moveaxis(image, 2, 0)
        total = total + np.stack([np.bincount(c.ravel(), minlength=top + 1) for c in channels])
    return total


def matching_table(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """(C, L): the value that `old` has at each value's rank in `new`, channel by channel.

    Histogram specification (Gonzalez & Woods): the least value v' whose CDF_old(v') reaches the
    rank of v, which is the middle of its range, (CDF_new(v - 1) + CDF_new(v)) / 2. With the end of
    the range the white of a photocopy would become the brightest old value. Equal histograms leave
    every value that occurs. `new` (C, L) and `old` are counts.
    """
    tables = []
    for source, target in zip(new, old, strict=True):
        ranks = (np.cumsum(source) - source / 2) / source.sum()
        tables.append(np.searchsorted(np.cumsum(target) / target.sum(), ranks, side="left"))
    return np.array(tables).astype(np.min_scalar_type(old.shape[1] - 1))


def histogram(old: Images, new: Images, beta: float = 0) -> Restyle:
    """Histogram matching with one table for all images, from the histogram of the whole new domain
    to that of the whole old one, so that differences between images remain. `beta` is not used."""
    return partial(look_up, table=matching_table(counts(new), counts(old)))


def look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Every value of (H, W, C) replaced by its channel's entry of (C, L)."""
    largest(image, table.shape[1] - 1)
    channels = np.moveaxis(image, 2, 0)
    return np.stack([row[c] for row, c in zip(table, channels, strict=True)], axis=2)


def spectrum(image: np.ndarray) -> np.ndarray:
    """Discrete Fourier transform of each channel: complex64 (H, W // 2 + 1, C)."""
    return np.fft.rfft2(image.astype(np.float32), axes=(0, 1))


def mean_amplitude(images: Images) -> tuple[np.ndarray, tuple[int, int], int]:
    """Mean of the images' amplitude spectra, float64 (H, W // 2 + 1, C), their common (H, W), and
    the largest value of their type.

    Raises:
        InputError: images of several sizes.
    """
    total, size, number, top = np.zeros(0), (0, 0), 0, 0
    for image in images:
        if number and image.shape[:2] != size:
            raise InputError(
                f"restyle=fda: images of {size} and {image.shape[:2]} (H, W) have no mean "
                "spectrum; give data.resize=[H,W]"
            )
        size, top = (image.shape[0], image.shape[1]), largest(image, top)
        amplitude = np.abs(spectrum(image)).astype(np.float64)
        total, number = total + amplitude if number else amplitude, number + 1
    return total / number, size, top


def with_amplitude(
    image: np.ndarray, amplitude: np.ndarray, size: tuple[int, int], beta: float, top: int = 255
) -> np.ndarray:
    """The image with the lowest frequencies' amplitude replaced and its own phase (FDA: Yang &
    Soatto, CVPR 2020, equations 3 and 4).

    The frequencies of at most floor(beta min(h, w)) cycles per image in both directions are
    replaced, the centred window of the shifted spectrum. An image of another size than the
    amplitude's takes those of as many cycles, scaled by the number of pixels.

    Args:
        image: uint8 or uint16 (h, w, C).
        amplitude: float (H, W // 2 + 1, C), from `mean_amplitude`.
        size: (H, W), at least (h, w).
        beta: in (0, 0.5).
        top: the largest value of the type that the amplitude is of.
    """
    height, width = image.shape[:2]
    reach = int(beta * min(height, width))
    rows, columns = np.arange(-reach, reach + 1)[:, None], np.arange(reach + 1)[None]
    frequencies = spectrum(image)
    share, high = height * width / (size[0] * size[1]), largest(image)
    wanted = amplitude[rows % size[0], columns] * (share * (high / top))
    own = rows % height, columns
    frequencies[own] = wanted * np.exp(1j * np.angle(frequencies[own]))
    values = np.fft.irfft2(frequencies, s=(height, width), axes=(0, 1))
    return np.clip(np.rint(values), 0, high).astype(image.dtype)


def fda(old: Images, new: Images, beta: float) -> Restyle:
    """Fourier domain adaptation towards the old domain's mean amplitude; `new` is not read.

    Every image gets the same mean colour and the same strength of its lowest frequencies, which
    costs a little even where there is no shift.
    """
    amplitude, size, top = mean_amplitude(old)
    return partial(with_amplitude, amplitude=amplitude, size=size, beta=beta, top=top)


MAKERS: dict[str, Callable[[Images, Images, float], Restyle]] = {"histogram": histogram, "fda": fda}
"""(images of the old domain, images of the new one, beta) -> restyling; images are read once."""
