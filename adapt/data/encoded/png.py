"""PNG (ISO/IEC 15948) without its ancillary chunks."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from adapt.data.encoded.exif import orientation, unhexed
from adapt.data.encoded.parts import BrokenError, Encoded, exactly

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1000
"""Beside those with pixels."""
MAX_PIECES = 200_000
"""Chunks in all."""
MAX_TEXT = 1 << 20
"""Unpacked bytes of one text."""

PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
"""First column and row of Adam7's passes, and their steps."""


def chunks(stream: BinaryIO, *, pixels: bool) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of a PNG's chunks up to IEND, checksums compared; without `pixels` those of
    IDAT are skipped."""
    stream.seek(0, 2)
    end = stream.tell()
    at, others = len(MAGIC), 0
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
    exif, profile, about, before = b"", "", "", b""
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
                profile = profile or text
            elif keyword == b"XML:com.adobe.xmp":
                about = about or text
        before = kind
    header = parts[b"IHDR"]
    if len(header) != 13 or not data:
        raise BrokenError("it has no pixels" if len(header) == 13 else "its header is broken")
    rows = row_bytes(header)
    colours = len(parts.get(b"PLTE", b"")) // 3
    if header[9] == 3 and not colours:
        raise BrokenError("it has no palette")
    content = [MAGIC, *(chunk(k, parts[k]) for k in (b"IHDR", b"PLTE", b"tRNS") if k in parts)]
    content += [chunk(b"IDAT", *data), chunk(b"IEND")]
    turned = orientation(exif or unhexed(profile), about)
    return Encoded(b"".join(content), turned, colours, tuple(data), rows, header[12] != 0)


def row_bytes(header: bytes) -> int:
    """Bytes of the rows with their filter types, from IHDR."""
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    bits = depth * {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = PASSES if header[12] else ((0, 0, 1, 1),)
    total = 0
    for column, row, across, down in passes:
        wide, high = -(-(width - column) // across), -(-(height - row) // down)
        if wide > 0 and high > 0:
            total += high * (1 + -(-wide * bits // 8))
    return total


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
