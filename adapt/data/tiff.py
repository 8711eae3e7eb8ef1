"""GeoTIFF, which the index scripts of public sets convert to PNG."""

import logging
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adapt.data.archives import opened
from adapt.errors import InputError

MAX_BYTES = 1 << 31
"""Of a file, and of its decoded values."""
MAX_PAGES = 256
"""A broken file can have millions, or a chain of them without an end."""


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
    with opened(path, MAX_BYTES, "image") as stream, complaints("tifffile") as said:
        try:
            with tifffile.TiffFile(stream, name=path.name) as file:
                bands = values(file, path)
        except InputError:
            raise
        except (
            tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError,
            AttributeError, AssertionError, NotImplementedError, RuntimeError, OverflowError,
            ZeroDivisionError, struct.error, zlib.error,
        ) as error:  # fmt: skip
            said.insert(0, str(error))
    if said:  # it goes on with what it has
        raise InputError(f"{path}: not a readable TIFF ({said[0]})")
    if bands.ndim not in (2, 3) or not bands.size:
        raise InputError(f"{path}: has the shape {bands.shape}; rows, columns and bands are read")
    if bands.ndim == 2:
        return bands[..., None]
    channels_first = bands.shape[0] < min(bands.shape[1:])
    return np.moveaxis(bands, 0, -1) if channels_first else bands


def values(file: Any, path: Path) -> np.ndarray:
    """The first page, or all that follow one another with its shape: bands in pages of their own.

    Smaller copies of the image, which GeoTIFF may have behind it, are left out.
    """
    first = file.pages[0]
    pages = [first]
    for number in range(1, MAX_PAGES + 1):
        try:
            page = file.pages[number]
        except IndexError:
            break
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            break
        pages.append(page)
    if len({page.offset for page in pages}) < len(pages) or len(pages) > MAX_PAGES:
        raise InputError(f"{path}: pages in a circle, or more than {MAX_PAGES} of one size")
    size = len(pages) * math.prod(first.shape) * np.dtype(first.dtype).itemsize
    if size > MAX_BYTES:
        raise InputError(f"{path}: decodes to {size} bytes, above {MAX_BYTES}")
    decoded = [np.asarray(page.asarray()) for page in pages]
    return decoded[0] if len(decoded) == 1 else np.stack(decoded)


@contextmanager
def complaints(name: str) -> Iterator[list[str]]:
    """Collects what a logger reports as errors inside, and keeps it and its warnings silent."""
    said: list[str] = []
    logger = logging.getLogger(name)
    handler, propagate = logging.Handler(logging.ERROR), logger.propagate
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
