"""Where the content of one image lies in another, though one is thermal, say, and the other not.

Compared is which way edges run, at twice the angle, so that an edge counts the same whichever of
its sides is the brighter one: with the gradient of the grey image as a complex number g, the
feature is (g / |g|)^2 sqrt(|g|). Correlation is by FFT below a Hann window, halfway between
cross-correlation and phase correlation (the spectrum over the root of its size) and low-passed, so
that its peak is as wide as edges of two sensors differ.
"""

import cv2
import numpy as np

SMOOTHING = 1.0
"""Standard deviation in pixels of the blur before the gradient."""
LOW_PASS = 0.12
"""Standard deviation of the Gaussian in the spectrum, in cycles a pixel."""
WINDOW, SMALLEST = 64, 8
"""Side in pixels of the windows that are matched on their own, half a window apart, and the least
one, of a third of a small image."""
REACH = 24
"""Pixels that a window is searched for, either way, around where the whole image puts it."""
CLEAR = 5.0
"""Peak of a window's correlation above its mean, in standard deviations, from which on it counts:
of windows on unrelated images 5 % have it."""
NEAR, FAR = 4, 8
"""Pixels around a shift that are its own peak, and from which on there is another one."""


def features(image: np.ndarray) -> np.ndarray:
    """complex64 (H, W) of a uint8 (H, W, 3) RGB image."""
    sharp = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(sharp, (0, 0), SMOOTHING)
    gradient = cv2.Sobel(grey, cv2.CV_32F, 1, 0) + 1j * cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.abs(gradient) + np.float32(1e-6)
    return (gradient / strength) ** 2 * np.sqrt(strength)


def correlation(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Of features (..., H, W): float32 (..., H, W), the middle being no shift at all, and a peak to
    the right of it content that lies further right in `new`."""
    from scipy import fft

    height, width = old.shape[-2:]
    window = np.outer(hann(height), hann(width))
    spectrum = fft.fft2(old * window).conj() * fft.fft2(new * window)
    spectrum /= np.sqrt(np.abs(spectrum)) + np.float32(1e-6)  # half whitened
    squares = np.add.outer(fft.fftfreq(height) ** 2, fft.fftfreq(width) ** 2)
    spectrum *= np.exp(-squares / (2 * LOW_PASS**2)).astype(np.float32)
    return fft.fftshift(fft.ifft2(spectrum).real, axes=(-2, -1))


def hann(length: int) -> np.ndarray:
    return np.hanning(length + 2)[1:-1].astype(np.float32)


def around(surface: np.ndarray, reach: tuple[int, int]) -> np.ndarray:
    """The middle of correlations (..., H, W), as far as `reach` (y, x), in standard deviations
    above its mean: (..., 2 y + 1, 2 x + 1)."""
    height, width = surface.shape[-2:]
    (y, x), (down, across) = (height // 2, width // 2), reach
    middle = surface[..., y - down : y + down + 1, x - across : x + across + 1]
    spread = middle.std((-2, -1), keepdims=True)
    return (middle - middle.mean((-2, -1), keepdims=True)) / (spread + np.float32(1e-12))


def peaks(middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (N, 2), in x and y to a fraction of a pixel, and heights (N,) of the highest points of
    (N, 2 y + 1, 2 x + 1) as `around` gives them."""
    count, rows, columns = middle.shape
    y, x = np.divmod(middle.reshape(count, -1).argmax(1), columns)
    each = np.arange(count)
    height = middle[each, y, x]

    def fraction(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Where the parabola through a maximum and its neighbours has its vertex."""
        bend = 2 * height - before - after
        return (after - before) / (2 * np.where(bend > 0, bend, np.inf))

    left, right = middle[each, y, np.maximum(x - 1, 0)], middle[each, y, (x + 1) % columns]
    above, below = middle[each, np.maximum(y - 1, 0), x], middle[each, (y + 1) % rows, x]
    inner_x, inner_y = (x % (columns - 1) > 0), (y % (rows - 1) > 0)
    shift_x = x - columns // 2 + np.where(inner_x, fraction(left, right), 0)
    shift_y = y - rows // 2 + np.where(inner_y, fraction(above, below), 0)
    return np.stack([shift_x, shift_y], axis=1), height


def whole_shift(old: np.ndarray, new: np.ndarray) -> tuple[int, int]:
    """By how many pixels (x, y) the content of features (H, W) lies further right and down in
    `new`, up to a quarter of the image."""
    shift, _ = peaks(around(correlation(old, new), quarter(old))[None])
    x, y = shift[0].round().astype(int)
    return int(x), int(y)


def quarter(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0] // 4, image.shape[1] // 4


def match(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Points that show the same: (N, 4), x and y in `old`, x and y in `new`, the centres of windows
    that are clearly found again. The images are uint8 (H, W, 3) of one size."""
    height, width = old.shape[:2]
    side = min(WINDOW, height // 3 // 2 * 2, width // 3 // 2 * 2)
    if side < SMALLEST:
        return np.empty((0, 4))
    first, second = features(old), features(new)
    x, y = whole_shift(first, second)
    second = np.pad(second, [(abs(y), abs(y)), (abs(x), abs(x))])
    second = second[abs(y) + y :][:height, abs(x) + x :][:, :width]
    corners = [
        (left, top)
        for top in range(0, height - side + 1, side // 2)
        for left in range(0, width - side + 1, side // 2)
    ]
    cut = (
        np.stack([image[top : top + side, left : left + side] for left, top in corners])
        for image in (first, second)
    )
    reach = min(REACH, side // 2 - 1)
    shifts, heights = peaks(around(correlation(*cut), (reach, reach)))
    centres = np.array(corners) + (side - 1) / 2
    return np.hstack([centres, centres + shifts + (x, y)])[heights > CLEAR]


def rivals(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Of two images that should lie on each other: the correlation's peak there, and the highest
    one elsewhere, both in standard deviations above its mean."""
    middle = around(correlation(features(old), features(new)), quarter(old)).copy()
    y, x = middle.shape[0] // 2, middle.shape[1] // 2
    near, far = (
        np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        for reach in (NEAR, FAR)
    )
    here = middle[near].max()
    middle[far] = -np.inf
    return float(here), float(middle.max())
