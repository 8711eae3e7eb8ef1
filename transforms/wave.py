"""Where ripple's plane wave moves things: displacement, and the pixels that are shown."""

import math

import numpy as np
import numpy.typing as npt

from transforms.common import check_choice, check_flag, check_real, check_size

Field = npt.NDArray[np.float64]

RANGES = {
    "amplitude": (0.0, 1000.0),
    "period": (0.0, 1000.0),
    "phi": (-1.0, 1.0),
    "angle": (-180.0, 180.0),
}
ABYSSES = ("clamp", "loop", "black", "white", "none")
# Linear light of what lies outside; the other policies go on with the image.
BORDERS = {"black": 0.0, "none": 0.0, "white": 1.0}
WAVES = ("sine", "triangle", "sawtooth")
_SHORTEST_PERIOD = 0.0001
# Sine or cosine of an angle that is meant to be a right one.
_RIGHT = 1e-15


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
    shift, cos, sin = wave_shift(
        (height, width), amplitude, period, phi, angle, wave_type, tileable
    )
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
    shift, cos, sin = wave_shift(
        (height, width), amplitude, period, phi, angle, wave_type, tileable
    )
    x = np.float32(np.arange(width) + shift * sin)
    y = np.float32(np.arange(height)[:, None] + shift * cos)
    sources = np.stack(np.broadcast_arrays(np.floor(x), np.floor(y)), axis=2).astype(np.int64)
    if abyss_policy == "loop":
        return sources % (width, height)
    inside = sources.clip(0, (width - 1, height - 1))
    if abyss_policy in BORDERS:
        inside[(inside != sources).any(axis=2)] = -1
    return inside


def wave_shift(
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
    amplitude = check_real("amplitude", amplitude, RANGES)
    period = check_real("period", period, RANGES)
    phi = check_real("phi", phi, RANGES)
    radians = math.radians(check_real("angle", angle, RANGES))
    check_choice("wave_type", wave_type, WAVES)
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
