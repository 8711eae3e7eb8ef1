"""The one place that opens images. Strict: what cannot be read as stated is refused by name."""

import io
import warnings
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from adapt.bounds import LARGEST
from adapt.errors import InputError, listing
from adapt.files import write_whole

IGNORE = 255
"""Void in every decoded mask, in losses, metrics and padding."""

FORMATS = ("JPEG", "PNG")
SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = LARGEST
ORIENTATION = 0x0112
"""The EXIF tag; 5 to 8 are turned by a quarter."""


def _open(path: Path) -> tuple[Image.Image, str]:
    """A fully decoded image of one of FORMATS, and how the file packs its values (`L;4`, say).

    Raises:
        InputError: missing, empty, truncated, of another format, with more than 8 bits a value
            (which PIL would cut off silently), or above MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(f"{path}: {image.width}x{image.height} is above {MAX_PIXELS} pixels")
        packing = str(image.tile[0][3]) if image.tile else ""
        if "16" in packing and not image.mode.startswith("I"):  # I;16 is refused by its mode
            raise InputError(f"{path}: has 16 bits a value; give 8-bit RGB, grey or palette")
        image.load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a readable {' or '.join(FORMATS)} file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: broken image ({error})") from None
    return image, packing


def image_header(path: Path) -> tuple[str, tuple[int, int]]:
    """PIL's mode of the file (RGB, L, P, …) and (H, W) of an upright image, from the header alone.

    Raises:
        InputError: missing, or not one of FORMATS.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            size = (image.width, image.height) if turned else (image.height, image.width)
            return image.mode, size
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable {' or '.join(FORMATS)} file ({error})") from None


def image_size(path: Path) -> tuple[int, int]:
    return image_header(path)[1]


def read_image(path: Path) -> np.ndarray:
    """An image as uint8 (H, W, 3) RGB, turned upright by its EXIF orientation.

    8-bit RGB and grey are taken as they are, palette images through their palette, RGBA only where
    it is opaque everywhere. Raises InputError for every other mode and for unreadable files.
    """
    image = ImageOps.exif_transpose(_open(path)[0])
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{path}: has transparent pixels; flatten it onto a background first")
    if image.mode not in ("1", "L", "P", "RGB", "RGBA"):
        raise InputError(
            f"{path}: mode {image.mode} is not supported; give 8-bit RGB, grey or palette"
        )
    return np.array(image.convert("RGB"))


def read_indices(path: Path) -> np.ndarray:
    """The values of a mask's file as uint8 (H, W), mode P or L without colour conversion.

    Raises InputError for another mode and for a rotated file.
    """
    if path.suffix == ".mat":
        return _read_sbd(path)
    image, packing = _open(path)
    if image.mode not in ("P", "L") or packing.startswith("L;"):  # PIL rescales 4-bit grey
        raise InputError(
            f"{path}: a mask holds class indices (palette or 8-bit grey); it is "
            f"{packing if packing.startswith('L;') else image.mode}"
        )
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise InputError(f"{path}: a mask must not carry an EXIF rotation")
    return np.array(image)


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
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return np.array(loadmat(path)["GTcls"]["Segmentation"][0, 0], dtype=np.uint8)
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        zlib.error,
        MatReadError,
    ) as error:
        raise InputError(
            f"{path}: not an SBD class file with GTcls.Segmentation ({error})"
        ) from None


def read_tiff(path: Path) -> np.ndarray:
    """A TIFF of any number of bands as (H, W, bands), in the file's own type.

    Raises:
        InputError: tifffile is not installed, or the file is missing or broken.
    """
    try:
        import tifffile
    except ImportError:
        raise InputError("GeoTIFF needs tifffile and imagecodecs: pip install '.[geo]'") from None
    try:
        bands = np.asarray(tifffile.imread(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except (tifffile.TiffFileError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable TIFF ({error})") from None
    if bands.ndim == 2:
        return bands[..., None]
    channels_first = bands.shape[0] < min(bands.shape[1:])
    return np.moveaxis(bands, 0, -1) if channels_first else bands


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
