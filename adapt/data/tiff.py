"""TIFF and GeoTIFF through tifffile (the extra `geo`): any number of bands, and a georeference that
is carried on as it stands. tifffile itself unpacks deflate; imagecodecs beside it the others.
"""

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np

from adapt.data.archives import MAX_BYTES, opened
from adapt.data.formats import ALPHA, Header, Raster
from adapt.errors import InputError
from adapt.settings.checks import MOST_PIXELS

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes, little and big endian, classic and BigTIFF."""
SUFFIXES = (".tif", ".tiff")
MAX_TIFF = 1 << 31
"""Bytes of a file of a public set, which an index script converts."""
BANDS = 4
"""MOST_PIXELS times so many values are decoded at most."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
JPEG = 7
GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)
"""GeoTIFF 1.1: ModelPixelScale, ModelTiepoint, ModelTransformation, the keys and their values."""


class Place(NamedTuple):
    """Where on Earth an image lies, as its file says it."""

    order: Literal["<", ">"]
    """Of bytes in `tags`: < or >."""
    tags: list[tuple[int, int, int, bytes, bool]]
    """Code, type, count and bytes of each of GEOREFERENCE that is there, as tifffile writes it."""


@contextmanager
def tiff_file(path: Path, stream: BinaryIO) -> Iterator["TiffFile"]:
    """An open TIFF; what is broken in it, or cannot be read, is an InputError."""
    try:
        import tifffile
    except ImportError:
        text = "TIFF needs tifffile and imagecodecs: pip install '.[geo]'"
        raise InputError(f"{path}: {text}") from None
    with complaints() as said:
        try:
            with tifffile.TiffFile(stream, name=path.name) as file:
                yield file
        except InputError:
            raise
        except (
            tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError,
            AttributeError, AssertionError, NotImplementedError, RuntimeError, OverflowError,
            ZeroDivisionError, MemoryError, struct.error, zlib.error,
        ) as error:  # fmt: skip
            said.insert(0, str(error))
    if said:  # it goes on with what it has
        raise InputError(f"{path}: not a readable TIFF ({said[0]})")


def bands(path: Path, file: "TiffFile") -> np.ndarray:
    """The first image (not its smaller copies) as (H, W, bands) in the file's own type; bands may
    lie in pages of their own."""
    series, page = file.series[0], file.series[0].keyframe
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    pages = series.size // max(1, height * width * samples)
    if height * width > MOST_PIXELS or series.size > BANDS * MOST_PIXELS:
        raise InputError(
            f"{path}: {width}x{height} with {samples * pages} bands is above {MOST_PIXELS} pixels, "
            f"or {BANDS} times as many values"
        )
    if not series.size or (pages > 1 and samples > 1):
        raise InputError(f"{path}: has the shape {series.shape}; rows, columns and bands are read")
    values = np.asarray(series.asarray())
    if pages > 1 or (samples > 1 and page.planarconfig == 2):
        return np.moveaxis(values.reshape(-1, height, width), 0, -1)
    return values.reshape(height, width, samples)


def read_tiff(path: Path) -> np.ndarray:
    """The first image of a TIFF as `bands`; what cannot be read is an InputError."""
    with opened(path, MAX_TIFF, "image") as stream, tiff_file(path, stream) as file:
        return bands(path, file)


def largest(page: "TiffPage") -> int | None:
    """The largest value of unsigned samples with up to 16 bits; None of others."""
    small = np.dtype(page.dtype).kind in "ub" and page.bitspersample <= 16
    return 2**page.bitspersample - 1 if small else None


def has_alpha(file: "TiffFile") -> bool:
    return file.series[0].keyframe.extrasamples[-1:] in ((1,), (2,))


def tiff_header(path: Path, stream: BinaryIO) -> Header:
    with tiff_file(path, stream) as file:
        series, page = file.series[0], file.series[0].keyframe
        size, alpha = (page.imagelength, page.imagewidth), has_alpha(file)
        channels = series.size // max(1, size[0] * size[1])
        mode, top = f"TIFF {channels} x {page.dtype}", largest(page)
        if page.photometric == PALETTE:
            channels = 3
        return Header(mode, size, channels, alpha, top, (ALPHA,) * alpha)


def decode_tiff(path: Path, stream: BinaryIO, *, indices: bool) -> Raster:
    """All bands; with `indices` as they are stored, else palettes become colours, and white is
    above black."""
    with tiff_file(path, stream) as file:
        page = file.series[0].keyframe
        orientation = page.tags.valueof(274, default=1)
        if orientation != 1:
            text = f"its orientation is {orientation}; save it upright"
            raise InputError(f"{path}: {text}")
        kind = page.photometric
        if kind == YCBCR and page.compression == JPEG:  # which tifffile decodes to RGB
            kind = RGB
        if kind not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE):
            name = getattr(kind, "name", kind)
            raise InputError(f"{path}: its photometric interpretation is {name}; give grey or RGB")
        values = bands(path, file)
        top, alpha = largest(page), has_alpha(file)
        if kind == PALETTE and not indices:
            colours = (np.asarray(page.colormap) >> 8).astype(np.uint8)
            return Raster(np.moveaxis(colours[:, values[..., 0]], 0, -1))
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if not indices and top is not None:
        if kind == WHITE_IS_ZERO:
            values = top - values
        if top < 255:
            values, top = values * np.uint8(255 // top), 255
    return Raster(values, alpha, top)


def place_of(path: Path) -> Place | None:
    """The georeference of a TIFF; None for one without, and for other files."""
    with opened(path, MAX_BYTES, "image") as stream:
        if stream.read(4) not in TIFF:
            return None
        stream.seek(0)
        with tiff_file(path, stream) as file:
            found: list[tuple[int, int, int, bytes, bool]] = []
            tags = file.series[0].keyframe.tags
            for tag in (tags[code] for code in GEOREFERENCE if code in tags):
                file.filehandle.seek(tag.valueoffset)
                content = file.filehandle.read(tag.valuebytecount)
                found.append((tag.code, int(tag.dtype), tag.count, content, True))
            return Place(file.byteorder, found) if found else None


def geotiff(mask: np.ndarray, place: Place, palette: list[int] | None = None) -> bytes:
    """An index mask, uint8 or uint16 (H, W), as the bytes of a GeoTIFF with this georeference; of
    uint8 with a palette of 256 colours, if any."""
    import tifffile

    options: dict[str, Any] = {"photometric": "minisblack"}
    if palette and mask.dtype == np.uint8:
        colours = np.array(palette, np.uint16).reshape(256, 3).T * 257
        options = {"photometric": "palette", "colormap": colours}
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, mask, byteorder=place.order, extratags=place.tags, compression="zlib",
        metadata=None, software=False, **options,
    )  # fmt: skip
    return buffer.getvalue()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collects what tifffile logs as errors inside, and keeps it and its warnings silent."""
    said: list[str] = []
    logger, handler = logging.getLogger("tifffile"), logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
