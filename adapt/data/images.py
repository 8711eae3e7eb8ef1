"""The one place that opens images. Strict: what cannot be read as stated is refused by name.

simplejpeg decodes JPEGs: it refuses what libjpeg only warns of, where others fill the rest with
grey. Pillow decodes PNGs, as image or as index mask, and reads the headers of both.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageFile, ImageOps

from adapt.data.archives import MAX_BYTES, opened, read_mat
from adapt.disk.files import write_whole
from adapt.errors import InputError, listing
from adapt.settings.checks import MOST_PIXELS

IGNORE = 255
"""Void in masks of 8 bits; `void_of` is that of an index mask."""

SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = MOST_PIXELS
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's modes that are read as images, with at most 8 bits a value."""

OTHERS = {
    b"GIF8": "a GIF", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"BM": "a BMP", b"%!PS": "an EPS",
    b"RIFF": "a WebP", b"\0\0\0\x0cjP": "a JPEG 2000", b"\0\0\0\x18ftyp": "a HEIF or AVIF",
    b"\0\0\0\x1cftyp": "a HEIF or AVIF", b"\0\0\0\x20ftyp": "a HEIF or AVIF", b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the image",
    b"PK\3\4": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"MATLAB 5": "a MATLAB file",
}  # fmt: skip
"""First bytes -> what a file is that should be an image."""

_BROKEN = (
    OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What decoders raise on broken bytes."""
_HARMLESS = re.compile("before marker 0xd9|JFIF revision|Adobe color|subsampling level")
"""What simplejpeg refuses although every pixel is there: odd headers, and bytes before the end."""
_TURNED = {"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"}
"""Entries of Pillow's `info` that may tell an orientation."""


def index_type(classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of index masks (H, W) of so many classes: the smallest one whose largest value is no
    class, because that is void."""
    return np.uint8 if classes <= IGNORE else np.uint16


def void_of(classes: int) -> int:
    """Void in decoded index masks of so many classes, in losses, metrics and padding: 255, or 65535
    where there are more than 255 classes."""
    return int(np.iinfo(index_type(classes)).max)


@contextmanager
def _open(path: Path, *, pixels: bool) -> Iterator[tuple[ImageFile.ImageFile, bytes, int]]:
    """A JPEG or PNG that is not decoded yet, its bytes (b"" without `pixels`) and its orientation.

    What decoders raise inside becomes an InputError, what they warn of is left out. Animations, and
    what is above MAX_PIXELS, are refused before anything is decoded.
    """
    with opened(path, MAX_BYTES, "image") as stream, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        content = stream.read() if pixels else b""
        source = io.BytesIO(content) if pixels else stream
        start = source.read(32)
        source.seek(0)
        try:
            with Image.open(source, formats=("JPEG", "PNG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width}x{image.height}"
                    raise InputError(f"{path}: {size} is above {MAX_PIXELS} pixels")
                if image.format == "PNG" and getattr(image, "is_animated", False):
                    raise ValueError("it is an animation; give single images")
                yield image, content, _orientation(image, said)
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise InputError(f"{path}: far above {MAX_PIXELS} pixels") from None
        except _BROKEN as error:
            what = f"broken image ({re.sub(' <.*>', '', str(error))})"
            if not start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
                kind = next((k for magic, k in OTHERS.items() if start.startswith(magic)), "")
                kind = kind if start else "empty"
                what = f"not a readable JPEG or PNG file{f': it is {kind}' if kind else ''}"
            raise InputError(f"{path}: {what}") from None


def _orientation(image: ImageFile.ImageFile, said: list[warnings.WarningMessage]) -> int:
    """1..8 as EXIF has it, or XMP where EXIF says nothing; 5 to 8 are turned by a quarter. Of a PNG
    only what stands before its pixels counts. A block that breaks off before it has told it, of
    which Pillow has then warned (`said`), is a ValueError."""
    if not _TURNED & image.info.keys():
        return 1
    found: int | None = image.getexif().get(ExifTags.Base.Orientation)
    if found is None and any(warning.category is UserWarning for warning in said):
        text = "its EXIF block is broken, so that its orientation is unknown; remove the block"
        raise ValueError(text)
    return found if found and 1 <= found <= 8 else 1


def _packing(image: ImageFile.ImageFile) -> str:
    """How the file packs its values (`L;4`, say)."""
    return str(image.tile[0][3]) if image.tile else ""


def _decode_png(image: ImageFile.ImageFile, content: bytes) -> None:
    """Decode a PNG whose checksums are right, in place.

    Pillow leaves rows that the file lacks 0 without a word: where the last row is 0, OpenCV, which
    refuses such a file, must be able to decode it as well.
    """
    with Image.open(io.BytesIO(content), formats=("PNG",)) as twin:
        twin.verify()
    image.load()
    last = image.crop((0, image.height - 1, image.width, image.height))
    unsure = image.info.get("interlace") or not np.array(last).any()
    if unsure and cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is None:
        raise ValueError("it has fewer rows than its header says")


def image_header(path: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode of the file (RGB, L, P, …) and (H, W) of an upright image, from the header
    alone; raises InputError as `read_image`, but for what only the pixels show."""
    with _open(path, pixels=False) as (image, _, orientation):
        size = (image.height, image.width)
        return image.mode, size[::-1] if orientation >= 5 else size


def image_size(path: Path) -> tuple[int, int]:
    return image_header(path)[1]


def read_image(path: Path, *, mask: bool = False) -> np.ndarray:
    """An image as uint8 (H, W, 3) RGB, turned upright by its EXIF orientation; a `mask` must be a
    PNG and upright.

    8-bit RGB and grey are taken as they are (fewer bits are spread over 0..255), palette images
    through their palette, RGBA only where it is opaque everywhere.

    Raises:
        InputError: every other mode (16 bits, CMYK), a file that is no JPEG or PNG, broken, cut
            off, an animation, or above MAX_PIXELS.
    """
    with _open(path, pixels=True) as (image, content, orientation):
        if mask:
            _refuse_changed(path, image, orientation)
        deep = "16" in _packing(image)
        if image.mode not in MODES or deep:
            kind = f"mode {image.mode}"
            if deep and not image.mode.startswith("I"):  # Pillow would cut it to 8
                kind = "16 bits a value"
            raise InputError(f"{path}: {kind} is not supported; give 8-bit RGB, grey or palette")
        decode = _of_png if image.format == "PNG" else _of_jpeg
        pixels = decode(path, image, content)
    if orientation == 1:
        return pixels
    turned = Image.fromarray(pixels)
    turned.getexif()[ExifTags.Base.Orientation] = orientation
    return np.array(ImageOps.exif_transpose(turned))


def _of_jpeg(path: Path, image: ImageFile.ImageFile, content: bytes) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(content, "RGB", strict=True)
    except ValueError as error:
        if not _HARMLESS.search(str(error)):
            raise
    return np.array(image.convert("RGB"))


def _of_png(path: Path, image: ImageFile.ImageFile, content: bytes) -> np.ndarray:
    _decode_png(image, content)
    if image.mode == "P":
        colours = len(image.palette.palette) // 3 if image.palette else 0
        if (last := int(np.array(image).max())) >= colours:
            raise InputError(f"{path}: value {last} is not in its palette of {colours}")
    shown = image.convert("RGBA") if "transparency" in image.info else image
    if shown.mode in ("LA", "RGBA") and shown.getchannel("A").getextrema() != (255, 255):
        raise InputError(f"{path}: has transparent pixels; flatten it onto a background first")
    return np.array(shown if shown.mode == "RGB" else shown.convert("RGB"))


def read_indices(path: Path) -> np.ndarray:
    """The values of a mask's file as uint8 or uint16 (H, W), mode P, L or I;16 without colour
    conversion. Another mode, a JPEG, which changes values, and a rotated file are InputErrors, as
    in `read_image`."""
    if path.suffix.lower() == ".mat":
        return _read_sbd(path)
    with _open(path, pixels=True) as (image, content, orientation):
        packing = _packing(image)
        known = image.mode in ("P", "L", "I;16")
        if not known or packing.startswith("L;"):  # PIL rescales 4-bit grey
            kind = packing if packing.startswith("L;") else image.mode
            text = f"a mask holds class indices (palette or 8-bit grey); it is {kind}"
            raise InputError(f"{path}: {text}")
        _refuse_changed(path, image, orientation)
        _decode_png(image, content)
        return np.array(image)


def read_valid(path: Path) -> np.ndarray:
    """A mask of valid pixels as uint8 (H, W): 1 where any channel of the file is above 0, else 0;
    raises InputError as `read_image`."""
    return (read_image(path, mask=True).max(axis=2) > 0).astype(np.uint8)


def _refuse_changed(path: Path, image: Image.Image, orientation: int) -> None:
    """Masks are taken value by value and pixel by pixel."""
    if image.format != "PNG":
        raise InputError(f"{path}: a mask must not be a JPEG, which changes its values; give a PNG")
    if orientation != 1:
        raise InputError(f"{path}: a mask must not carry an EXIF rotation; save it upright")


def read_mask(
    path: Path, classes: int, void: Iterable[int] = (), codes: Sequence[int] = ()
) -> np.ndarray:
    """An index mask (H, W) of `index_type`: classes 0..classes-1, and `void_of` where the file has
    a void.

    `codes` are the values of the classes in the file, where they are not 0..classes-1. Raises
    InputError as read_indices, and for values that are no class's and not void, neither in `void`
    nor `void_of`; the message has them with their pixel counts.
    """
    mask, nothing = read_indices(path), void_of(classes)
    codes = codes or range(classes)
    counts = np.bincount(mask.ravel())
    known = {*codes, *void, nothing}
    wrong = {int(v): int(counts[v]) for v in np.flatnonzero(counts) if v not in known}
    if wrong:
        there = f"0..{classes - 1}" if codes == range(classes) else listing(codes, shown=40)
        raise InputError(
            f"{path}: label {', '.join(f'{v} ({n} pixels)' for v, n in wrong.items())} is out of "
            f"range; classes are {there}, void is {sorted(known - {*codes})}"
        )
    table = np.full(np.iinfo(np.uint16).max + 1, nothing, index_type(classes))
    table[list(codes)] = np.arange(len(codes))
    return table[mask]


def _read_sbd(path: Path) -> np.ndarray:
    """SBD's .mat segmentation: GTcls.Segmentation, uint8 (H, W)."""
    what = "an SBD class file with a matrix GTcls.Segmentation"
    found = read_mat(path, "GTcls", what)
    named = isinstance(found, np.ndarray) and "Segmentation" in (found.dtype.names or ())
    mask = np.asarray(found["Segmentation"].flat[0] if named and found.size else None)
    if mask.dtype.kind not in "biuf" or mask.ndim != 2 or not mask.size:
        raise InputError(f"{path}: not {what}")
    indices = mask.astype(np.uint8)
    if not np.array_equal(indices, mask):
        raise InputError(f"{path}: GTcls.Segmentation has values that are not in 0..255")
    return np.ascontiguousarray(indices)


def voc_palette(labels: int = 256) -> list[int]:
    """The VOC colour map, red, green and blue of each label: its bits, dealt to the channels in
    turn, so that no two of 2^24 labels have one colour."""
    label, channel, i = np.ogrid[0:labels, 0:3, 0:8]
    return (((label >> (3 * i + channel)) & 1) << (7 - i)).sum(axis=-1).ravel().tolist()


def png(image: np.ndarray, palette: list[int] | None = None) -> bytes:
    """uint8 (H, W, 3), or indices (H, W), as the bytes of a PNG file: uint8 with a palette, if any,
    uint16 as grey of 16 bits."""
    if image.ndim == 3:  # OpenCV's encoder: eight times as fast, files a fifth larger
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    if palette is not None and image.dtype == np.uint8:
        picture.putpalette(palette)  # makes the mode "P"
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, image: np.ndarray, palette: list[int] | None = None) -> None:
    """Write an image or indices as `png` does, whole or not at all."""
    write_whole(path, png(image, palette))
