"""The one place that opens images. Strict: what cannot be read as stated is refused by name."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from adapt.data.archives import MAX_BYTES, opened
from adapt.data.encoded import BrokenError, Encoded, encoded, opencv
from adapt.data.mat import read_mat
from adapt.disk.files import write_whole
from adapt.errors import InputError, listing
from adapt.settings.checks import MOST_PIXELS

IGNORE = 255
"""Void in every decoded mask, in losses, metrics and padding."""

FORMATS = ("JPEG", "PNG")
SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = MOST_PIXELS

_BROKEN = (
    OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What decoders raise on broken bytes."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""EXIF orientation -> what makes the image upright."""

np.empty(30 << 20, np.uint8)  # freed at once: see below
"""The largest block that was freed tells glibc what to keep for the next ones rather than hand back
to the system (mallopt(3), M_MMAP_THRESHOLD); to fetch the memory of every image page by page takes
about as long as to decode it."""

_readers: set[int] = set()
"""Processes that do nothing but read, by id."""


def only_reading() -> None:
    """Tell that no other thread of this process prints, so that OpenCV may decode JPEGs.

    Nothing follows where its libjpeg rounds in another way than Pillow's.
    """
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="JPEG")
    found = opencv.decoded(buffer.getvalue()) if hasattr(os, "memfd_create") else None
    if found is not None and np.array_equal(found, np.array(Image.open(buffer))):
        _readers.add(os.getpid())


@contextmanager
def _open(path: Path, *, pixels: bool) -> Iterator[tuple[ImageFile.ImageFile, Encoded]]:
    """An image of one of FORMATS that is not decoded yet; without `pixels` it never can be.

    What decoders raise inside becomes an InputError, what they warn of is left out.

    Raises:
        InputError: missing, no regular file, of another format, broken, an animation, or above
            MAX_PIXELS.
    """
    with opened(path, MAX_BYTES, "image") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source = encoded(stream, pixels=pixels)
            with Image.open(io.BytesIO(source.content), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width}x{image.height}"
                    raise InputError(f"{path}: {size} is above {MAX_PIXELS} pixels")
                yield image, source
        except BrokenError as error:
            what = str(error) if str(error).startswith("not ") else f"broken image ({error})"
            raise InputError(f"{path}: {what}") from None
        except Image.DecompressionBombError:
            raise InputError(f"{path}: far above {MAX_PIXELS} pixels") from None
        except _BROKEN as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: broken image ({error})") from None


def _packing(image: ImageFile.ImageFile) -> str:
    """How the file packs its values (`L;4`, say)."""
    return str(image.tile[0][3]) if image.tile else ""


def _load(image: ImageFile.ImageFile, source: Encoded) -> None:
    """Decode. Where a PNG has too few rows, Pillow leaves the last ones 0, without a word."""
    image.load()
    if not source.packed:
        return
    last = np.array(image.crop((0, image.height - 1, image.width, image.height)))
    if (source.interlaced or not last.any()) and not source.complete():
        raise BrokenError("it has fewer rows than its header says")


def image_header(path: Path) -> tuple[str, tuple[int, int]]:
    """PIL's mode of the file (RGB, L, P, …) and (H, W) of an upright image, from the header alone.

    Raises InputError as `read_image`, but for what only the pixels show.
    """
    with _open(path, pixels=False) as (image, source):
        turned = source.orientation >= 5
        size = (image.width, image.height) if turned else (image.height, image.width)
        return image.mode, size


def image_size(path: Path) -> tuple[int, int]:
    return image_header(path)[1]


def read_image(path: Path) -> np.ndarray:
    """An image as uint8 (H, W, 3) RGB, turned upright by its EXIF orientation.

    8-bit RGB and grey are taken as they are (fewer bits are spread over 0..255), palette images
    through their palette, RGBA only where it is opaque everywhere.

    Raises:
        InputError: every other mode (16 bits, CMYK), a file that is no JPEG or PNG, broken, cut
            off, an animation, or above MAX_PIXELS.
    """
    with _open(path, pixels=True) as (image, source):
        packing = _packing(image)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA") or "16" in packing:
            deep = "16" in packing and not image.mode.startswith("I")  # PIL would cut it to 8
            kind = "16 bits a value" if deep else f"mode {image.mode}"
            raise InputError(f"{path}: {kind} is not supported; give 8-bit RGB, grey or palette")
        if source.simple and source.orientation == 1 and os.getpid() in _readers:
            found = opencv.decoded(source.content)
            if found is not None and found.shape[:2] == (image.height, image.width):
                return found
        _load(image, source)
        if image.mode == "P" and (last := int(np.array(image).max())) >= source.colours:
            raise InputError(f"{path}: value {last} is not in its palette of {source.colours}")
        shown: Image.Image = image
        if "transparency" in image.info:
            shown = image.convert("RGBA")
        if shown.mode in ("LA", "RGBA") and shown.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{path}: has transparent pixels; flatten it onto a background first")
        if source.orientation in _UPRIGHT:
            shown = shown.transpose(_UPRIGHT[source.orientation])
        return np.array(shown if shown.mode == "RGB" else shown.convert("RGB"))


def read_indices(path: Path) -> np.ndarray:
    """The values of a mask's file as uint8 (H, W), mode P or L without colour conversion.

    Raises:
        InputError: as `read_image`; another mode, a JPEG, which changes values, or a rotated file.
    """
    if path.suffix.lower() == ".mat":
        return _read_sbd(path)
    with _open(path, pixels=True) as (image, source):
        packing = _packing(image)
        if image.mode not in ("P", "L") or packing.startswith("L;"):  # PIL rescales 4-bit grey
            raise InputError(
                f"{path}: a mask holds class indices (palette or 8-bit grey); it is "
                f"{packing if packing.startswith('L;') else image.mode}"
            )
        _refuse_changed(path, image, source)
        _load(image, source)
        return np.array(image)


def read_valid(path: Path) -> np.ndarray:
    """A mask of valid pixels as uint8 (H, W): 1 where any channel of the file is above 0, else 0.

    Raises:
        InputError: as `read_image`; a JPEG, or a rotated file.
    """
    with _open(path, pixels=False) as (image, source):
        _refuse_changed(path, image, source)
    return (read_image(path).max(axis=2) > 0).astype(np.uint8)


def _refuse_changed(path: Path, image: Image.Image, source: Encoded) -> None:
    """Masks are taken value by value and pixel by pixel."""
    if image.format == "JPEG":
        raise InputError(f"{path}: a mask must not be a JPEG, which changes its values; give a PNG")
    if source.orientation != 1:
        raise InputError(f"{path}: a mask must not carry an EXIF rotation; save it upright")


def read_mask(
    path: Path, classes: int, void: Iterable[int] = (), codes: Sequence[int] = ()
) -> np.ndarray:
    """An index mask as uint8 (H, W): classes 0..classes-1, and IGNORE where the file has a void.

    `codes` are the values of the classes in the file, where they are not 0..classes-1. Raises
    InputError as read_indices, and for values that are no class's, not in `void` and not 255; the
    message has them with their pixel counts.
    """
    mask = read_indices(path)
    codes = codes or range(classes)
    values, counts = np.unique(mask, return_counts=True)
    known = {*codes, *void, IGNORE}
    wrong = {int(v): int(n) for v, n in zip(values, counts, strict=True) if v not in known}
    if wrong:
        there = f"0..{classes - 1}" if codes == range(classes) else listing(codes, shown=40)
        raise InputError(
            f"{path}: label {', '.join(f'{v} ({n} pixels)' for v, n in wrong.items())} is out of "
            f"range; classes are {there}, void is {sorted(known - {*codes})}"
        )
    table = np.full(256, IGNORE, np.uint8)
    table[list(codes)] = np.arange(len(codes))
    return table[mask]


def _read_sbd(path: Path) -> np.ndarray:
    """SBD's .mat segmentation: GTcls.Segmentation, uint8 (H, W)."""
    what = "an SBD class file with a matrix GTcls.Segmentation"
    found = read_mat(path, "GTcls", what)
    mask = found.get("Segmentation") if isinstance(found, dict) else None
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or not mask.size:
        raise InputError(f"{path}: not {what}")
    indices = mask.astype(np.uint8)
    if not np.array_equal(indices, mask):
        raise InputError(f"{path}: GTcls.Segmentation has values that are not in 0..255")
    return np.ascontiguousarray(indices)


def voc_palette() -> list[int]:
    """The VOC colour map as 768 values: the bits of a label, dealt to the channels in turn."""
    label, channel, i = np.ogrid[0:256, 0:3, 0:8]
    return (((label >> (3 * i + channel)) & 1) << (7 - i)).sum(axis=-1).ravel().tolist()


def png(image: np.ndarray, palette: list[int] | None = None) -> bytes:
    """uint8 (H, W, 3) or (H, W) as the bytes of a PNG file; indices with a palette."""
    if image.ndim == 3:  # OpenCV's encoder: eight times as fast, files a fifth larger
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    if palette is not None:
        picture.putpalette(palette)  # makes the mode "P"
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, image: np.ndarray, palette: list[int] | None = None) -> None:
    """Write uint8 (H, W, 3) or (H, W) as PNG, whole or not at all; indices with a palette."""
    write_whole(path, png(image, palette))
