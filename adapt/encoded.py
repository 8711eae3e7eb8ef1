"""JPEG and PNG files before they are decoded: only what the pixels need goes to the decoder.

Profiles, comments, thumbnails and animations are where decoders unpack without bounds and guess
at broken bytes, and nothing here needs them. One thing does matter, the EXIF orientation, and is
read here. Sources: PNG (ISO/IEC 15948), JPEG (ITU-T T.81, annex B), Exif 2.32, section 4.6.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_SCANS = 200
"""Of a JPEG: progressive ones have about ten; each costs a pass over the whole image."""
MAX_CHUNKS = 1000
"""Of a PNG, beside those with pixels."""
MAX_PIECES = 200_000
"""Chunks of a PNG in all; segments and stray bytes before the pixels of a JPEG."""
MAX_TEXT = 1 << 20
"""Unpacked bytes of one text of a PNG."""

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
OTHERS = {
    b"GIF8": "a GIF", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"BM": "a BMP", b"%!PS": "an EPS",
    b"RIFF": "a WebP", b"\0\0\0\x0cjP": "a JPEG 2000", b"\0\0\0\x18ftyp": "a HEIF or AVIF",
    b"\0\0\0\x1cftyp": "a HEIF or AVIF", b"\0\0\0\x20ftyp": "a HEIF or AVIF", b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the image",
    b"PK\3\4": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"MATLAB 5": "a MATLAB file",
}  # fmt: skip
"""First bytes -> what a file is that should be an image."""

PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"http://ns.adobe.com/xap/1.0/\0"
ORIENTATION = 0x0112
"""The EXIF tag; 5 to 8 are turned by a quarter."""
WIDTHS = {1: "B", 3: "H", 4: "I"}
LOST = "its EXIF block is broken, so that its orientation is unknown; remove the block"


class BrokenError(ValueError):
    """A file that is not what its first bytes say; the text says why."""


@dataclass
class Encoded:
    """What the decoder gets, and what it need not know."""

    content: bytes
    """Without pixels, where only the header was asked for."""
    orientation: int = 1
    """1..8, as EXIF has it."""
    colours: int = 0
    """Entries of a PNG's palette."""


def encoded(stream: BinaryIO, *, pixels: bool) -> Encoded:
    """A JPEG or PNG file reduced to what its pixels need; without `pixels` to their header.

    Raises:
        BrokenError: neither of the two, cut off, with a wrong checksum, or animated.
    """
    start = stream.read(32)
    stream.seek(0)
    if start.startswith(PNG):
        return bare_png(stream, pixels=pixels)
    if start.startswith(JPEG):
        return bare_jpeg(stream, pixels=pixels)
    kind = next((what for magic, what in OTHERS.items() if start.startswith(magic)), "")
    kind = kind or ("empty" if not start else "")
    raise BrokenError(f"not a readable JPEG or PNG file{f': it is {kind}' if kind else ''}")


def exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) != size:
        raise BrokenError("it is cut off")
    return found


def chunks(stream: BinaryIO, *, pixels: bool) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of a PNG's chunks up to IEND, checksums compared; without `pixels` those of
    IDAT are skipped."""
    stream.seek(0, 2)
    end = stream.tell()
    at, others = len(PNG), 0
    for _ in range(MAX_PIECES):
        stream.seek(at)
        size, kind = struct.unpack(">I4s", exactly(stream, 8))
        at += 12 + size
        if at > end:
            raise BrokenError("it is cut off")
        if kind == b"IDAT" and not pixels:
            yield kind, b""
            continue
        body = exactly(stream, size)
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack(">I", exactly(stream, 4))[0]:
            raise BrokenError(f"the checksum of its chunk {kind!r} is wrong")
        others += kind != b"IDAT"
        if others > MAX_CHUNKS:
            raise BrokenError(f"it has more than {MAX_CHUNKS} chunks")
        yield kind, body
        if kind == b"IEND":
            return
    raise BrokenError(f"it has more than {MAX_PIECES} chunks")


def bare_png(stream: BinaryIO, *, pixels: bool) -> Encoded:
    parts: dict[bytes, bytes] = {}
    data: list[bytes] = []
    exif, about, before = b"", "", b""
    for kind, body in chunks(stream, pixels=pixels):
        if kind in ANIMATION:
            raise BrokenError("it is an animation; give single images")
        known, twice = kind in PIXELS, kind in parts
        if (not parts) != (kind == b"IHDR") or twice:
            raise BrokenError(f"its chunk {kind!r} is out of place or there twice")
        if not known and not kind[0] & 32:
            raise BrokenError(f"it has a critical chunk {kind!r} that no standard knows")
        if kind == b"IDAT":
            if data and before != kind:
                raise BrokenError("its pixels are interrupted by another chunk")
            data.append(body)
        elif known:
            if data and kind != b"IEND":
                raise BrokenError(f"its chunk {kind!r} comes after the pixels")
            parts[kind] = body
        elif kind == b"eXIf":
            exif = exif or body
        elif kind in TEXTS:
            keyword, text = png_text(kind, body)
            if keyword == b"Raw profile type exif":  # ImageMagick's
                exif = exif or unhexed(text)
            elif keyword == b"XML:com.adobe.xmp":
                about = about or text
        before = kind
    header = parts[b"IHDR"]
    if len(header) != 13 or not data:
        raise BrokenError("it has no pixels" if len(header) == 13 else "its header is broken")
    colours = len(parts.get(b"PLTE", b"")) // 3
    if header[9] == 3 and not colours:
        raise BrokenError("it has no palette")
    content = [PNG, *(chunk(k, parts[k]) for k in (b"IHDR", b"PLTE", b"tRNS") if k in parts)]
    content += [chunk(b"IDAT", *data), chunk(b"IEND")]
    return Encoded(b"".join(content), orientation(exif, about), colours)


def chunk(kind: bytes, *bodies: bytes) -> bytes:
    """One chunk of the bodies in a row."""
    checksum = zlib.crc32(kind)
    for body in bodies:
        checksum = zlib.crc32(body, checksum)
    size = sum(map(len, bodies))
    return b"".join((struct.pack(">I", size), kind, *bodies, struct.pack(">I", checksum)))


def png_text(kind: bytes, body: bytes) -> tuple[bytes, str]:
    """Keyword and text of a text chunk; a packed one is unpacked only where its keyword matters."""
    keyword, _, rest = body.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"XML:com.adobe.xmp"):
        return b"", ""
    packed = kind == b"zTXt"
    if kind == b"iTXt":  # flag, method, language, translated keyword
        packed = rest[:1] == b"\1"
        rest = b"\0" + rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if packed:
        unpacker = zlib.decompressobj()
        try:
            rest = unpacker.decompress(rest[1:], MAX_TEXT)
        except zlib.error:
            raise BrokenError(f"its {keyword.decode()} cannot be unpacked") from None
        if unpacker.unconsumed_tail:
            raise BrokenError(f"its {keyword.decode()} unpacks to more than {MAX_TEXT} bytes")
    elif kind == b"iTXt":
        rest = rest[1:]
    return keyword, rest.decode("latin-1")


def unhexed(text: str) -> bytes:
    """The bytes of a raw profile: three lines about it, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        raise BrokenError(LOST) from None


def bare_jpeg(stream: BinaryIO, *, pixels: bool) -> Encoded:
    kept, exif, about = [exactly(stream, 2)], b"", ""
    for marker, body in segments(stream):
        if marker == 0xE1 and body.startswith(b"Exif\0"):
            exif = exif or body[6:]
        elif marker == 0xE1 and body.startswith(XMP):
            about = about or body.removeprefix(XMP).decode("latin-1")
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):  # JFIF's and Adobe's stay
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
    if pixels:
        rest = stream.read()
        if (scans := 1 + rest.count(b"\xff\xda")) > MAX_SCANS:
            raise BrokenError(f"it has {scans} scans; at most {MAX_SCANS} are decoded")
        kept.append(rest)
    return Encoded(b"".join(kept), orientation(exif, about))


def segments(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and body of a JPEG's segments behind its first two bytes, up to the start of scan.

    Bytes between segments are skipped, as every decoder does.
    """
    for _ in range(MAX_PIECES):
        if exactly(stream, 1) != b"\xff":
            continue
        marker = exactly(stream, 1)[0]
        if marker == 0xFF:  # fill bytes
            stream.seek(-1, 1)
        elif marker == 0xD9:
            raise BrokenError("it has no pixels")
        elif marker > 0x01 and not 0xD0 <= marker <= 0xD8:  # those have no body
            size = struct.unpack(">H", exactly(stream, 2))[0]
            if size < 2:
                raise BrokenError(f"it has a segment of {size} bytes")
            yield marker, exactly(stream, size - 2)
            if marker == 0xDA:
                return
    raise BrokenError(f"no pixels within its first {MAX_PIECES} segments and stray bytes")


def orientation(exif: bytes, xmp: str = "") -> int:
    """1..8 of an EXIF block, else of an XMP text; 1 where neither says anything.

    Raises:
        BrokenError: a block that breaks off before it has said it.
    """
    block = exif.removeprefix(b"Exif\0\0")
    found = 0
    if block.strip(b"\0"):
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        try:
            order = orders[block[:4]]
            (start,) = struct.unpack_from(order + "I", block, 4)
            (count,) = struct.unpack_from(order + "H", block, start)
            for entry in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, number = struct.unpack_from(order + "HHI", block, entry)
                if tag == ORIENTATION and number == 1 and kind in WIDTHS:
                    (found,) = struct.unpack_from(order + WIDTHS[kind], block, entry + 8)
                    break
        except (KeyError, struct.error):
            reason = (
                "its EXIF block is broken, so that its orientation is unknown; remove the block"
            )
            raise BrokenError(reason) from None
    if not found and (said := re.search(r'tiff:Orientation(="|>)([0-9])', xmp)):
        found = int(said[2])
    return found if 1 <= found <= 8 else 1
