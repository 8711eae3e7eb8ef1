"""Ripple filter: GEGL 0.4.42 behaviour of `gegl:ripple`."""

import math

import numpy as np
import numpy.typing as npt

from transforms.common import (
    LINEAR,
    SRGB8,
    RGBImage,
    check_choice,
    check_flag,
    check_image,
    check_real,
    check_size,
    compiled,
    encode,
)

Field = npt.NDArray[np.float64]
_Light = npt.NDArray[np.float32]

_Pixels = tuple[int, int, int, int]
_Weights = tuple[np.float32, np.float32, np.float32, np.float32]
_Powers = tuple[float, float, float, float]
_Kernel = tuple[_Powers, _Powers, _Powers, _Powers]

# Weights of the four pixels around a position as polynomials of the fraction t in [0, 1): rows are
# taps, columns powers of t. Cubic is the BC-spline with B = 1/2, C = 1/4 (Mitchell & Netravali
# 1988), the mean of the cubic B-spline and the Catmull-Rom spline.
SAMPLERS = {
    "nearest": ((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), (0.0,) * 4, (0.0,) * 4),
    "linear": ((0.0,) * 4, (1.0, -1.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0,) * 4),
    "cubic": (
        (1 / 12, -1 / 2, 3 / 4, -1 / 3),
        (5 / 6, 0.0, -7 / 4, 1.0),
        (1 / 12, 1 / 2, 5 / 4, -1.0),
        (0.0, 0.0, -1 / 4, 1 / 3),
    ),
}
ABYSSES = ("clamp", "loop", "black", "white", "none")
# Linear light of what lies outside; the other policies go on with the image.
BORDERS = {"black": 0.0, "none": 0.0, "white": 1.0}
_WAVES = ("sine", "triangle", "sawtooth")
_SHORTEST_PERIOD = 0.0001
# Sine or cosine of an angle that is meant to be a right one.
_RIGHT = 1e-15


def ripple(
    image: RGBImage,
    *,
    amplitude: float = 25.0,
    period: float = 200.0,
    phi: float = 0.0,
    angle: float = 0.0,
    sampler_type: str = "cubic",
    wave_type: str = "sine",
    abyss_policy: str = "clamp",
    tileable: bool = False,
) -> RGBImage:
    """Return `image` with its pixels displaced by a plane wave, resampled in linear light.

    Equals GEGL 0.4.42 `gegl:ripple` to one 8-bit level, including its half-pixel quirk: without
    any displacement "linear" and "cubic" still sample half a pixel up and to the left.

    Args:
        image: uint8 RGB, shape (H, W, 3), any memory layout; not modified.
        amplitude: largest displacement in pixels, 0..1000.
        period: wave length in pixels, 0..1000; below 0.0001 nothing is displaced.
        phi: phase in wave lengths, -1..1.
        angle: degrees, -180..180; 0 displaces vertically along x, 90 horizontally along y.
        sampler_type: "nearest", "linear" or "cubic".
        wave_type: "sine", "triangle" or "sawtooth".
        abyss_policy: what lies outside the image: its edge pixels ("clamp"), the image again
            ("loop"), "black" or "white"; "none" is the same as "black" here.
        tileable: adjust angle and period so that the wave fits the image a whole number of times.

    Returns:
        New C-contiguous uint8 array (H, W, 3).

    Raises:
        ValueError: wrong kind of array, or a parameter of wrong type, unknown or out of range.
    """
    image = check_image(image)
    check_choice("sampler_type", sampler_type, SAMPLERS)
    check_choice("abyss_policy", abyss_policy, ABYSSES)
    size = image.shape[:2]
    shift, cos, sin = _shift(size, amplitude, period, phi, angle, wave_type, tileable)
    light = np.take(LINEAR.astype(np.float32), image)
    if (border := BORDERS.get(abyss_policy)) is not None:
        # A border of that colour, repeated outwards, is what "clamp" does anyway.
        light = np.pad(light, ((1, 1), (1, 1), (0, 0)), constant_values=border)
    # From the corner of a pixel to its centre; "nearest" takes the pixel that the position lies in.
    offset = 0.0 if sampler_type == "nearest" else 0.5
    loop = abyss_policy == "loop"
    return _sample(light, size, shift, cos, sin, SAMPLERS[sampler_type], offset, loop, SRGB8)


def ripple_displacement(
    size: tuple[int, int],
    *,
    amplitude: float = 25.0,
    period: float = 200.0,
    phi: float = 0.0,
    angle: float = 0.0,
    wave_type: str = "sine",
    tileable: bool = False,
) -> Field:
    """Return how far `ripple` moves what each pixel shows: the field of the wave itself.

    Pixel (x, y) of the rippled image shows what was at (x, y) + field[y, x]. The half pixel by
    which "linear" and "cubic" sample further up and left is not in it: without a wave it is zero.
    `cv2.remap` at index + field - 0.5 therefore does what `ripple` does, but for linear light.

    `size` is height and width of the image in pixels; the other parameters are those of `ripple`.

    Returns:
        float64 (H, W, 2): displacement in x and y, in pixels.

    Raises:
        ValueError: a size below 1, or a parameter of wrong type, unknown or out of range.
    """
    height, width = check_size(size)
    shift, cos, sin = _shift((height, width), amplitude, period, phi, angle, wave_type, tileable)
    field = np.empty((height, width, 2))
    np.multiply(shift, sin, out=field[..., 0])
    np.multiply(shift, cos, out=field[..., 1])
    return field


def ripple_sources(
    size: tuple[int, int],
    *,
    amplitude: float = 25.0,
    period: float = 200.0,
    phi: float = 0.0,
    angle: float = 0.0,
    wave_type: str = "sine",
    abyss_policy: str = "clamp",
    tileable: bool = False,
) -> npt.NDArray[np.int64]:
    """Return which pixel of the image each pixel of the rippled image shows.

    It is the pixel that "nearest" takes, and the one nearest to where "linear" and "cubic" sample.

    `size` is height and width of the image in pixels; the other parameters are those of `ripple`.

    Returns:
        int64 (H, W, 2): x and y of the source; -1 where black, white or nothing is shown.

    Raises:
        ValueError: a size below 1, or a parameter of wrong type, unknown or out of range.
    """
    check_choice("abyss_policy", abyss_policy, ABYSSES)
    height, width = check_size(size)
    shift, cos, sin = _shift((height, width), amplitude, period, phi, angle, wave_type, tileable)
    x = np.float32(np.arange(width) + shift * sin)
    y = np.float32(np.arange(height)[:, None] + shift * cos)
    sources = np.stack(np.broadcast_arrays(np.floor(x), np.floor(y)), axis=2).astype(np.int64)
    if abyss_policy == "loop":
        return sources % (width, height)
    inside = sources.clip(0, (width - 1, height - 1))
    if abyss_policy in BORDERS:
        inside[(inside != sources).any(axis=2)] = -1
    return inside


def _shift(
    size: tuple[int, int],
    amplitude: float,
    period: float,
    phi: float,
    angle: float,
    wave_type: str,
    tileable: bool,
) -> tuple[Field, float, float]:
    """Return the displacement in pixels, and cosine and sine of the wave's angle.

    It is (H, W), or (1, W) or (H, 1) where the wave runs along an axis.
    """
    amplitude = check_real("amplitude", amplitude, 0, 1000)
    period = check_real("period", period, 0, 1000)
    phi = check_real("phi", phi, -1, 1)
    radians = math.radians(check_real("angle", angle, -180, 180))
    check_choice("wave_type", wave_type, _WAVES)
    tileable = check_flag("tileable", tileable)
    height, width = size
    if period < _SHORTEST_PERIOD:
        amplitude, period = 0.0, 1.0
    elif tileable:
        amplitude, period, radians = _fit(amplitude, period, radians, width, height)
    cos, sin = math.cos(radians), math.sin(radians)
    x, y = np.arange(width, dtype=np.float64)[None], np.arange(height, dtype=np.float64)[:, None]
    along_x, along_y = abs(sin) < _RIGHT, abs(cos) < _RIGHT
    distance = x * cos if along_x else -y * sin if along_y else x * cos - y * sin
    return amplitude * _wave(distance, period, phi, wave_type), cos, sin


def _fit(
    amplitude: float, period: float, radians: float, width: int, height: int
) -> tuple[float, float, float]:
    """Return amplitude, period and angle of the nearest wave that repeats with the image."""
    across = _round_half_away(width * math.cos(radians) / period)
    down = _round_half_away(height * math.sin(radians) / period)
    if across == 0 and down == 0:
        across, amplitude = 1, 0.0
    period = height * width / math.hypot(across * height, down * width)
    return amplitude, period, math.atan2(down * width, across * height)


def _round_half_away(value: float) -> int:
    return math.trunc(value + math.copysign(0.5, value))


def _wave(distance: Field, period: float, phi: float, wave_type: str) -> Field:
    """Return the wave, -1..1, at `distance` pixels along its direction."""
    if wave_type == "sine":
        return np.sin(2 * math.pi * (distance / period + phi))
    if wave_type == "triangle":
        return np.abs(4 / period * np.mod(distance + (0.75 - phi) * period, period) - 2) - 1
    return 2 / period * np.mod(distance + (0.5 - phi) * period, period) - 1


@compiled
def _sample(
    light: _Light,
    size: tuple[int, int],
    shift: Field,
    cos: float,
    sin: float,
    kernel: _Kernel,
    offset: float,
    loop: bool,
    table: RGBImage,
) -> RGBImage:
    """Return `light` sampled at index + `shift` - `offset` as an sRGB image of (H, W) = `size`.

    `light` is (H, W, 3), or larger by a border of one pixel. It goes on around the edges (`loop`)
    or repeats them.
    """
    rows, columns, _ = light.shape
    height, width = size
    border = (rows - height) // 2
    per_row, per_column = min(1, len(shift) - 1), min(1, shift.shape[1] - 1)
    image = np.empty((height, width, 3), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            s = shift[y * per_row, x * per_column]
            # Single precision decides, as in GEGL, on which side of a pixel's border it lies.
            i, j = np.float32(y + s * cos) - offset, np.float32(x + s * sin) - offset
            row, down = _taps(i + border, rows, kernel, loop)
            column, across = _taps(j + border, columns, kernel, loop)
            for channel in range(3):
                total = (
                    down[0] * _line(light, row[0], column, across, channel)
                    + down[1] * _line(light, row[1], column, across, channel)
                    + down[2] * _line(light, row[2], column, across, channel)
                    + down[3] * _line(light, row[3], column, across, channel)
                )
                image[y, x, channel] = encode(total, table)
    return image


@compiled
def _line(light: _Light, row: int, column: _Pixels, across: _Weights, channel: int) -> float:
    """Return the weighted sum of four pixels of a row."""
    return (
        across[0] * light[row, column[0], channel]
        + across[1] * light[row, column[1], channel]
        + across[2] * light[row, column[2], channel]
        + across[3] * light[row, column[3], channel]
    )


@compiled
def _taps(position: float, size: int, kernel: _Kernel, loop: bool) -> tuple[_Pixels, _Weights]:
    """Return the four pixels 0..size-1 around a position along one axis, and their weights."""
    floor = math.floor(position)
    t = position - floor
    return _pixels(int(floor), size, loop), (
        _weight(kernel[0], t),
        _weight(kernel[1], t),
        _weight(kernel[2], t),
        _weight(kernel[3], t),
    )


@compiled
def _pixels(i: int, size: int, loop: bool) -> _Pixels:
    """Return the pixels 0..size-1 that stand for i - 1 .. i + 2."""
    if 1 <= i < size - 2:
        return i - 1, i, i + 1, i + 2
    if loop:
        return (i - 1) % size, i % size, (i + 1) % size, (i + 2) % size
    last = size - 1
    return (
        min(max(i - 1, 0), last),
        min(max(i, 0), last),
        min(max(i + 1, 0), last),
        min(max(i + 2, 0), last),
    )


@compiled
def _weight(powers: _Powers, t: float) -> np.float32:
    """Return a tap's weight, a cubic polynomial, at the fraction `t` in [0, 1)."""
    return np.float32(powers[0] + t * (powers[1] + t * (powers[2] + t * powers[3])))
