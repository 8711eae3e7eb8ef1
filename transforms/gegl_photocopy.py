"""Photocopy filter: GEGL 0.4.42 behaviour of `gegl:photocopy`."""

import math

import numpy as np
import numpy.typing as npt

from transforms.common import LINEAR, SRGB8, RGBImage, check_image
from transforms.parameters import checked

_Plane = npt.NDArray[np.float64]

LUMINANCE = (0.22248840, 0.71690369, 0.06060791)
THRESHOLD = 0.75
# Bins of the histogram per unit of the ratio.
BINS = 1000


@checked
def photocopy(
    image: RGBImage,
    *,
    mask_radius: float = 10.0,
    sharpness: float = 0.5,
    black: float = 0.2,
    white: float = 0.2,
) -> RGBImage:
    """Return `image` as a grey photocopy: darker than its surroundings becomes dark, else white.

    Equals GEGL 0.4.42 `gegl:photocopy` to one 8-bit level. In exactly black surroundings, where
    GEGL divides by zero, a pixel becomes white if it is not black itself, else black.

    Args:
        image: uint8 RGB, shape (H, W, 3), any memory layout; not modified.
        mask_radius: radius in pixels of the surroundings compared with, 0..50.
        sharpness: 0..1; 1 keeps the finest detail.
        black: 0..1. As in GEGL only 0 matters: the dark pixels then become black.
        white: 0..1, share of the dark pixels that sets the width of the ramp to white.

    Returns:
        New C-contiguous uint8 array (H, W, 3) with three equal channels.

    Raises:
        ValueError: wrong kind of array, or a parameter of wrong type or out of range.
    """
    from transforms import loops

    image = np.require(check_image(image), requirements=("C", "W"))  # the one kind that loops know
    # Transposed, so that the loops along x run over whole rows of memory.
    luminance = loops.luminance(image, np.outer(LINEAR, LUMINANCE)).T
    detail = blur(luminance, sigma_of(detail_radius(sharpness)))
    surround = blur(luminance, sigma_of(mask_radius))
    counts = loops.histogram(detail, surround, THRESHOLD, BINS)
    shaded = black > 0 and bool(counts.any())
    return loops.tones(detail, surround, THRESHOLD, white_ramp(counts, white), shaded, SRGB8)


def detail_radius(sharpness: float) -> float:
    """Return the radius in pixels to which detail is averaged."""
    return max(1.0, 10 * (1 - sharpness))


def sigma_of(radius: float) -> float:
    """Return the Gaussian sigma (pixels) whose weight falls to 1/255 at `radius` + 1 pixels."""
    return (radius + 1) / math.sqrt(2 * math.log(255))


def white_ramp(counts: npt.NDArray[np.int64], white: float) -> float:
    """Return the width of the ramp to white from the histogram of the dark ratios, (BINS + 1,)."""
    if white == 0 or not counts.any():
        return 1.0
    above = np.flatnonzero(np.cumsum(counts) / counts.sum() > white)
    return float(THRESHOLD - above[0] / BINS) if above.size else 0.0


def blur(plane: _Plane, sigma: float) -> _Plane:
    """Return `plane` (H, W) blurred along x, then y, its edge values repeated outwards."""
    return blur_columns(blur_columns(plane.T, sigma).T, sigma)


def blur_columns(plane: _Plane, sigma: float) -> _Plane:
    """Return `plane` (N, M) blurred along its first axis."""
    blurred = _sampled_gaussian if sigma < 1 else _recursive_gaussian
    return blurred(plane, sigma)


def _sampled_gaussian(plane: _Plane, sigma: float) -> _Plane:
    """Return `plane` convolved along axis 0 with a normalised Gaussian of odd length."""
    half = math.ceil(6.5 * sigma) // 2
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(plane, ((half, half), (0, 0)), mode="edge")
    blurred = np.zeros(plane.shape)
    for offset, weight in enumerate(kernel):
        blurred += weight * padded[offset : offset + len(plane)]
    return blurred


def _recursive_gaussian(plane: _Plane, sigma: float) -> _Plane:
    """Return `plane` filtered along axis 0 by the recursive Gaussian, forward then backward."""
    from transforms import loops

    a = _young_van_vliet(sigma)
    # Three rows on either side hold the states that start the two recursions.
    line = np.empty((len(plane) + 6, plane.shape[1]))
    line[3:-3] = plane
    line[:3] = plane[0]
    line[-3:] = plane[-1]
    loops.recurse(line, a, 1 - a.sum(), _far_edge(a))
    return line[3:-3]


def _young_van_vliet(sigma: float) -> _Plane:
    """Return the feedback weights a1..a3, shape (3,), for `sigma` >= 1 pixel.

    Source: Young & van Vliet, Signal Processing 44 (1995).
    """
    if sigma >= 2.5:
        q = 0.98711 * sigma - 0.96330
    else:
        q = 3.97156 - 4.14554 * math.sqrt(1 - 0.26891 * sigma)
    b0 = 1.57825 + 2.44413 * q + 1.4281 * q**2 + 0.422205 * q**3
    b1 = 2.44413 * q + 2.8562 * q**2 + 1.266615 * q**3
    b2 = -(1.4281 * q**2 + 1.266615 * q**3)
    b3 = 0.422205 * q**3
    return np.array([b1, b2, b3]) / b0


def _far_edge(a: _Plane) -> _Plane:
    """Return the (3, 3) map from the last forward outputs to the first backward states.

    Inputs (newest first) and outputs are deviations from the last sample x. If x went on for ever,
    the forward deviations s would follow s <- A s with A the companion matrix of `a`, and the
    backward one would be r s with the row r = gain e1 + a1 r A + a2 r A^2 + a3 r A^3. The rows
    r, r A, r A^2 (Triggs & Sdika, IEEE TSP 54, 2006) belong to samples N-1, N, N+1; GEGL takes them
    for N, N+1, N+2, and so does the caller.
    """
    step = np.vstack([a, np.eye(2, 3)])
    step2 = step @ step
    feedback = a[0] * step + a[1] * step2 + a[2] * step2 @ step
    first = np.linalg.solve((np.eye(3) - feedback).T, (1 - a.sum()) * np.eye(3)[0])
    return np.stack([first, first @ step, first @ step2])
