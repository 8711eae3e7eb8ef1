"""GeoTIFF, which the index scripts of public sets convert to PNG."""

import logging
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from adapt.errors import InputError
from adapt.raw_files import opened

MAX_BYTES = 1 << 31
"""Of a file, and of its decoded values."""


def read_tiff(path: Path) -> np.ndarray:
    """A TIFF of any number of bands as (H, W, bands), in the file's own type.

    Raises:
        InputError: tifffile is not installed, or the file is missing, broken, or decodes to more
            than MAX_BYTES.
    """
    try:
        import tifffile
    except ImportError:
        raise InputError("GeoTIFF needs tifffile and imagecodecs: pip install '.[geo]'") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it would say, it also raises
    with opened(path, MAX_BYTES, "image") as stream:
        try:
            with tifffile.TiffFile(stream, name=path.name) as file:
                series = file.series[0]
                size = math.prod(series.shape) * (series.dtype or np.dtype("u1")).itemsize
                if size > MAX_BYTES:
                    raise InputError(f"{path}: decodes to {size} bytes, above {MAX_BYTES}")
                bands = np.asarray(series.asarray())
        except InputError:
            raise
        except (
            tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError,
            AttributeError, AssertionError, NotImplementedError, RuntimeError, OverflowError,
            ZeroDivisionError, struct.error, zlib.error,
        ) as error:  # fmt: skip
            raise InputError(f"{path}: not a readable TIFF ({error})") from None
    if bands.ndim not in (2, 3) or not bands.size:
        raise InputError(f"{path}: has the shape {bands.shape}; rows, columns and bands are read")
    if bands.ndim == 2:
        return bands[..., None]
    channels_first = bands.shape[0] < min(bands.shape[1:])
    return np.moveaxis(bands, 0, -1) if channels_first else bands
