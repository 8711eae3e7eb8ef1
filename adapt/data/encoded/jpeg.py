"""JPEG (ITU-T T.81, annex B) without profiles, comments, thumbnails and further pictures."""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from adapt.data.encoded.exif import orientation
from adapt.data.encoded.parts import BrokenError, Encoded, exactly

MAGIC = b"\xff\xd8\xff"
MAX_SCANS = 200
"""Progressive ones have about ten; each costs a pass over the whole image."""
MAX_PIECES = 200_000
"""Segments and stray bytes before the pixels."""
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""What ends the pixels of a scan: any marker but those that only interrupt them."""
END = b"\xff\xd9"
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def bare_jpeg(stream: BinaryIO, *, pixels: bool) -> Encoded:
    kept, exif, about = [exactly(stream, 2)], b"", ""
    for marker, body in segments(stream):
        if marker == 0xE1 and body.startswith(b"Exif\0"):
            exif = exif or body[6:]
        elif marker == 0xE1 and body.startswith(XMP):
            about = about or body.removeprefix(XMP).decode("latin-1")
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):  # JFIF's and Adobe's stay
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
    simple = False
    if pixels:
        rest = stream.read()
        after = MARKER.search(rest)
        simple = after is not None and rest[after.start() :] == END
        if not simple and (scans := 1 + rest.count(b"\xff\xda")) > MAX_SCANS:
            raise BrokenError(f"it has {scans} scans; at most {MAX_SCANS} are decoded")
        kept.append(rest)
    return Encoded(b"".join(kept), orientation(exif, about), simple=simple)


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
