"""Baselines without training: new images get the colours of the old domain before the network sees
them. Both take their target from all training images of the old domain, because a single reference
image would make the result depend on the draw, and a test image's partner is unknown at test time.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from adapt.errors import InputError

LEVELS = 256
Images = Iterable[np.ndarray]
"""uint8 (H, W, 3)."""
Restyle = Callable[[np.ndarray], np.ndarray]
"""uint8 (H, W, 3) -> the same in the old domain's look. It can be pickled, for loader workers."""


def counts(images: Images) -> np.ndarray:
    """How often each value occurs in each channel: int64 (3, 256)."""
    total = np.zeros((3, LEVELS), np.int64)
    for image in images:
        for channel in range(3):
            total[channel] += np.bincount(image[..., channel].ravel(), minlength=LEVELS)
    return total


def matching_table(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """uint8 (3, 256): the value that `old` has at each value's rank in `new`, channel by channel.

    Histogram specification (Gonzalez & Woods): the least value v' whose CDF_old(v') reaches the
    rank of v, which is the middle of its range, (CDF_new(v - 1) + CDF_new(v)) / 2. With the end of
    the range the white of a photocopy would become the brightest old value. Equal histograms leave
    every value that occurs. `new` and `old` are counts, (3, 256).
    """
    tables = []
    for source, target in zip(new, old, strict=True):
        ranks = (np.cumsum(source) - source / 2) / source.sum()
        tables.append(np.searchsorted(np.cumsum(target) / target.sum(), ranks, side="left"))
    return np.array(tables).astype(np.uint8)


def histogram(old: Images, new: Images, beta: float = 0) -> Restyle:
    """Histogram matching with one table for all images, from the histogram of the whole new domain
    to that of the whole old one, so that differences between images remain. `beta` is not used."""
    return partial(look_up, table=matching_table(counts(new), counts(old)))


def look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Every value of uint8 (H, W, 3) replaced by its channel's entry of (3, 256)."""
    return np.stack([table[channel][image[..., channel]] for channel in range(3)], axis=2)


def spectrum(image: np.ndarray) -> np.ndarray:
    """Discrete Fourier transform of each channel: complex64 (H, W // 2 + 1, 3)."""
    return np.fft.rfft2(image.astype(np.float32), axes=(0, 1))


def mean_amplitude(images: Images) -> tuple[np.ndarray, tuple[int, int]]:
    """Mean of the images' amplitude spectra, float64 (H, W // 2 + 1, 3), and their common (H, W).

    Raises:
        InputError: images of several sizes.
    """
    total, size, number = np.zeros(0), (0, 0), 0
    for image in images:
        if number and image.shape[:2] != size:
            raise InputError(
                f"restyle=fda: images of {size} and {image.shape[:2]} (H, W) have no mean "
                "spectrum; give data.resize=[H,W]"
            )
        size = (image.shape[0], image.shape[1])
        amplitude = np.abs(spectrum(image)).astype(np.float64)
        total, number = total + amplitude if number else amplitude, number + 1
    return total / number, size


def with_amplitude(
    image: np.ndarray, amplitude: np.ndarray, size: tuple[int, int], beta: float
) -> np.ndarray:
    """The image with the lowest frequencies' amplitude replaced and its own phase (FDA: Yang &
    Soatto, CVPR 2020, equations 3 and 4).

    The frequencies of at most floor(beta min(h, w)) cycles per image in both directions are
    replaced, the centred window of the shifted spectrum. An image of another size than the
    amplitude's takes those of as many cycles, scaled by the number of pixels.

    Args:
        image: uint8 (h, w, 3).
        amplitude: float (H, W // 2 + 1, 3), from `mean_amplitude`.
        size: (H, W), at least (h, w).
        beta: in (0, 0.5).
    """
    height, width = image.shape[:2]
    reach = int(beta * min(height, width))
    rows, columns = np.arange(-reach, reach + 1)[:, None], np.arange(reach + 1)[None]
    frequencies = spectrum(image)
    wanted = amplitude[rows % size[0], columns] * (height * width / (size[0] * size[1]))
    own = rows % height, columns
    frequencies[own] = wanted * np.exp(1j * np.angle(frequencies[own]))
    values = np.fft.irfft2(frequencies, s=(height, width), axes=(0, 1))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def fda(old: Images, new: Images, beta: float) -> Restyle:
    """Fourier domain adaptation towards the old domain's mean amplitude; `new` is not read.

    Every image gets the same mean colour and the same strength of its lowest frequencies, which
    costs a little even where there is no shift.
    """
    amplitude, size = mean_amplitude(old)
    return partial(with_amplitude, amplitude=amplitude, size=size, beta=beta)


MAKERS: dict[str, Callable[[Images, Images, float], Restyle]] = {"histogram": histogram, "fda": fda}
"""(images of the old domain, images of the new one, beta) -> restyling; images are read once."""
