"""JPEG, PNG, WebP and BMP, from a file's bytes to its values. What is not whole is refused.

simplejpeg decodes JPEGs: it refuses what libjpeg only warns of, where others fill the rest with
grey. Pillow decodes the others and reads all headers, OpenCV PNGs of 16 bits, which Pillow cuts.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageFile

from adapt.errors import InputError
from adapt.settings.checks import MOST_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
READ = "JPEG, PNG, WebP, BMP and TIFF are read"
OTHERS = {
    b"GIF8": "a GIF; convert it to PNG", b"%!PS": "an EPS",
    b"\0\0\0\x0cjP": "a JPEG 2000; convert it to PNG or TIFF", b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the image",
    b"PK\3\4": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"MATLAB 5": "a MATLAB file",
}  # fmt: skip
"""First bytes -> what a file is that should be an image."""
BRANDS = {
    b"avif": "an AVIF; convert it to PNG", b"avis": "an AVIF; convert it to PNG",
    b"heic": "a HEIF; convert it to PNG", b"heix": "a HEIF; convert it to PNG",
    b"mif1": "a HEIF; convert it to PNG",
}  # fmt: skip
"""The same of files that begin with a box `ftyp`; others of these are mostly videos."""
VIDEO = "a file like MP4; CLIP.mp4#120 is frame 120 of a video"

BROKEN = (
    OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What decoders raise on broken bytes."""
_HARMLESS = re.compile("before marker 0xd9|JFIF revision|Adobe color|subsampling level")
"""What simplejpeg refuses although every pixel may be there: odd headers, bytes before the end."""
_TOLD = b"\xff\xda\xe1"
"""Where the segments of a plain JPEG's header end: a filling byte, the first scan, APP1."""
_SPACES = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "GRAY"}
"""simplejpeg's name of what a JPEG holds -> of what it becomes."""
_TURNED = {"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"}
"""Entries of Pillow's `info` that may tell an orientation."""
_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}
_PNG, _IEND, _EOI = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xae\x42\x60\x82", b"\xff\xd9"

CHANNELS = {"1": 1, "L": 1, "LA": 2, "RGBA": 4}
"""Of Pillow's modes; of the others, whose palette or CMYK becomes RGB, three."""
COLOURS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Channels of a PNG's types of colour."""
ALPHA = "an alpha channel"
METADATA = "damaged metadata, in which an orientation may have stood"


class Header(NamedTuple):
    """What a file says of itself before a pixel is decoded."""

    mode: str
    """Pillow's (RGB, L, P, ...), with `;16` for 16 bits a value; `TIFF 4 x uint16`; `video`."""
    size: tuple[int, int]
    """(H, W), upright."""
    channels: int = 3
    alpha: bool = False
    top: int | None = 255
    """These three as in a Raster."""
    ignored: tuple[str, ...] = ()
    """What is in the file and not used: ALPHA, METADATA."""


class Raster(NamedTuple):
    """A decoded file."""

    values: np.ndarray
    """(H, W, C) of any type, upright."""
    alpha: bool = False
    """Is the last channel one of opacity?"""
    top: int | None = 255
    """The largest value that there can be, the least being 0; None = the type does not tell."""


class Picture(NamedTuple):
    """A file that is open and not decoded yet."""

    image: ImageFile.ImageFile
    content: bytes
    """All of it; b"" where only the header is wanted."""
    orientation: int
    header: Header


def what_is(start: bytes) -> str:
    """What a file with these first bytes is, as far as it is known and no image that is read."""
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12], VIDEO)
    found = (kind for magic, kind in OTHERS.items() if start.startswith(magic))
    return next(found, "") if start else "empty"


@contextmanager
def opened_picture(path: Path, file: bytes | BinaryIO) -> Iterator[Picture]:
    """What a file holds: all of its bytes, or a stream of which only the header is read.

    What decoders raise inside becomes an InputError, what they warn of is left out. Animations, and
    what is above MOST_PIXELS, are refused before anything is decoded.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stream = io.BytesIO(file) if isinstance(file, bytes) else file
        start, content = stream.read(32), file if isinstance(file, bytes) else b""
        stream.seek(0)
        try:
            if content.startswith(_PNG):
                content = _sound(content)
                stream = io.BytesIO(content)
            image, mended = _header_of(stream)
            with image:
                if image.width * image.height > MOST_PIXELS:
                    text = f"{image.width}x{image.height} is above {MOST_PIXELS} pixels"
                    raise InputError(f"{path}: {text}")
                if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
                    raise ValueError("it is an animation; give single images")
                orientation, damaged = _orientation(image, said)
                size, mode = (image.height, image.width), image.mode
                channels, top = CHANNELS.get(mode, 3), 255
                if _is_deep(image, start):
                    channels, top = COLOURS[start[25]], 65_535
                    mode += ";16" * (mode[0] != "I")
                alpha = channels in (2, 4)
                ignored = (ALPHA,) * (alpha or "transparency" in image.info)
                ignored += (METADATA,) * (damaged or mended)
                upright = size[::-1] if orientation >= 5 else size
                header = Header(mode, upright, channels, alpha, top, ignored)
                yield Picture(image, content, orientation, header)
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise InputError(f"{path}: far above {MOST_PIXELS} pixels") from None
        except BROKEN as error:
            what = f"broken image ({re.sub(' <.*>', '', str(error))})"
            if not start.startswith((b"\xff\xd8\xff", _PNG, b"BM")) and start[8:12] != b"WEBP":
                kind = what_is(start)
                what = f"not a readable image{f': it is {kind}' if kind else ''}; {READ}"
            raise InputError(f"{path}: {what}") from None


def _header_of(source: BinaryIO) -> tuple[ImageFile.ImageFile, bool]:
    """The image, and whether chunks of a PNG had to be left out before it could be opened."""
    try:
        return Image.open(source, formats=FORMATS), False
    except BROKEN:
        source.seek(0)
        if not (content := source.read()).startswith(_PNG):
            raise
    return Image.open(io.BytesIO(_mended(content)), formats=("PNG",)), True


def _is_deep(image: Image.Image, start: bytes) -> bool:
    """Has a PNG 16 bits a value?"""
    return image.format == "PNG" and start[24] == 16


def _orientation(
    image: ImageFile.ImageFile, said: list[warnings.WarningMessage]
) -> tuple[int, bool]:
    """1..8 as EXIF has it, or XMP where EXIF says nothing; 5 to 8 are turned by a quarter. Of a PNG
    only what stands before its pixels counts. And whether a block breaks off before it has told it,
    of which Pillow has then warned (`said`), or which it cannot read."""
    if not _TURNED & image.info.keys():
        return 1, False
    try:
        found: int | None = image.getexif().get(ExifTags.Base.Orientation)
    except BROKEN:
        return 1, True
    damaged = found is None and any(warning.category is UserWarning for warning in said)
    return found if found and 1 <= found <= 8 else 1, damaged


def _sound(content: bytes) -> bytes:
    """A PNG whose checksums are right and which has an end: as it is, or without what is harmless;
    one of BROKEN where that is not enough."""
    try:
        _verify(content)
    except BROKEN:
        content = _mended(content)
        _verify(content)
    return content


def _verify(content: bytes) -> None:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.verify()


def _mended(content: bytes) -> bytes:
    """A PNG with the chunks that its pixels need alone, and with an end."""
    kept, at, kind = [content[:8]], 8, b""
    while kind != b"IEND" and at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        chunk = content[at : at + 12 + length]
        intact = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if kind in _KEPT and (intact or kind.isupper()):
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept if kind == b"IEND" else [*kept, _IEND])


def refuse_changed(path: Path, picture: Picture) -> None:
    """Masks are taken value by value and pixel by pixel."""
    if (kind := picture.image.format) not in ("PNG", "BMP"):
        name = "WebP" if kind == "WEBP" else "JPEG"
        raise InputError(
            f"{path}: a mask must not be a {name}, which changes its values; give a PNG, BMP or "
            "TIFF"
        )
    if picture.orientation != 1:
        raise InputError(f"{path}: a mask must not carry an EXIF rotation; save it upright")


def decode_picture(path: Path, content: bytes, *, mask: bool, indices: bool) -> Raster:
    """The pixels of a file; those of a `mask` must be stored as they are, and with `indices` they
    are the values in the file: places in the palette, and samples of fewer than 8 bits."""
    if not mask and (found := _of_plain_jpeg(content)):
        return found
    with opened_picture(path, content) as picture:
        if mask:
            refuse_changed(path, picture)
        image, content = picture.image, picture.content
        if image.format in ("JPEG", "MPO"):
            raster = _of_jpeg(image, content)
        elif _is_deep(image, content):
            raster = _of_deep_png(content)
        else:
            raster = _of_pillow(path, image, content, indices)
        return raster._replace(values=_upright(raster.values, picture.orientation))


def _of_plain_jpeg(content: bytes) -> Raster | None:
    """The pixels of a JPEG that nothing turns, as it has neither EXIF nor XMP (APP1), without
    Pillow, which takes a tenth of the decoder's time to open it; None = Pillow must see the file,
    or say what is wrong with it."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] not in _TOLD:
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    if not content.startswith(b"\xff\xd8\xff") or content[at : at + 2] != b"\xff\xda":
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space in _SPACES and height * width <= MOST_PIXELS:
            return Raster(simplejpeg.decode_jpeg(content, _SPACES[space], strict=True))
    except ValueError:
        pass
    return None


def _of_jpeg(image: ImageFile.ImageFile, content: bytes) -> Raster:
    space = image.mode if image.mode == "CMYK" else "GRAY" if image.mode == "L" else "RGB"
    at = image.fp.tell() if image.fp else 0  # where its first scan begins
    try:
        values = simplejpeg.decode_jpeg(content, space, strict=True)
        if space != "CMYK":
            return Raster(values)
    except ValueError as error:
        if not _HARMLESS.search(str(error)):
            raise
        end = content.index(_EOI, at)
        longer = content[:end] + 64 * b"\x55" + content[end:]  # a cut stream would go on with them
        with Image.open(io.BytesIO(longer), formats=("JPEG",)) as other:
            if np.array(other).tobytes() != np.array(image).tobytes():
                raise ValueError("its data end before its last row") from None
    return Raster(np.array(image.convert("RGB")))


def _of_deep_png(content: bytes) -> Raster:
    """OpenCV gives blue first, adds alpha to grey, and refuses what lacks rows."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("it has fewer rows than its header says")
    channels = COLOURS[content[25]]
    order = {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    values = np.ascontiguousarray(np.atleast_3d(values)[..., order])
    return Raster(values, alpha=channels in (2, 4), top=65_535)


def _of_pillow(path: Path, image: ImageFile.ImageFile, content: bytes, indices: bool) -> Raster:
    """Pillow leaves rows of a PNG that the file lacks 0 without a word: where the last row is 0,
    OpenCV, which refuses such a file, must be able to decode it as well."""
    packing = str(image.tile[0][3]) if image.tile else ""
    image.load()
    if image.format == "PNG":
        last = image.crop((0, image.height - 1, image.width, image.height))
        unsure = image.info.get("interlace") or not np.array(last).any()
        if unsure and cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is None:
            raise ValueError("it has fewer rows than its header says")
    if image.mode == "P" and not indices:
        colours = len(image.palette.palette) // 3 if image.palette else 0
        if (highest := int(np.array(image).max())) >= colours:
            raise InputError(f"{path}: value {highest} is not in its palette of {colours}")
    if image.format == "BMP" and image.mode == "1":
        values = _of_two_colours(content, *image.size) * (1 if indices else 255)
    elif image.mode == "1":
        values = np.array(image).astype(np.uint8) * (1 if indices else 255)
    elif image.mode == "P":
        values = np.array(image if indices else image.convert("RGB"))
    else:
        values = np.array(image)
    if indices and packing.startswith("L;"):  # Pillow has spread L;4 over 0..255
        values //= 255 // (2 ** int(packing[2:]) - 1)
    return Raster(np.atleast_3d(values), alpha=image.mode in ("LA", "RGBA"))


def _of_two_colours(content: bytes, width: int, height: int) -> np.ndarray:
    """The indices (H, W) of a BMP whose colours are black and white: Pillow takes those of 4 and 8
    bits a pixel for ones of 1 bit."""
    start, header, bits, packed = (
        int.from_bytes(content[at], "little")
        for at in (slice(10, 14), slice(14, 18), slice(28, 30), slice(30, 34))
    )
    if header < 40 or packed:
        raise ValueError("it is an OS/2 or a compressed bitmap of two colours; save it as PNG")
    row = -(-width * bits // 32) * 4
    cells = np.frombuffer(content, np.uint8, row * height, start).reshape(height, row)
    values = np.unpackbits(cells, axis=1).reshape(height, -1, bits)
    indices = np.packbits(values, axis=2)[:, :width, 0] >> (8 - bits)
    downwards = int.from_bytes(content[22:26], "little", signed=True) < 0
    return indices if downwards else indices[::-1]


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, C) turned as EXIF's orientation asks for."""
    if orientation == 1:
        return values
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)
