"""sRGB and linear light (IEC 61966-2-1) in double precision, for slow versions of the filters."""

import numpy as np


def linear(values: np.ndarray | int) -> np.ndarray:
    """Linear light 0..1 of 8-bit sRGB."""
    v = np.asarray(values) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def srgb(light: np.ndarray | float) -> np.ndarray:
    """8-bit sRGB, as floats, of linear light that is cut to 0..1."""
    v = np.clip(light, 0, 1)
    return np.rint(255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055))
