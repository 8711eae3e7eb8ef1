"""PNG files written byte by byte, for kinds of pixels and damage that Pillow cannot write."""

import struct
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", fields)


def png(
    path: Path, rows: list[bytes], width: int, depth: int, colour: int, before: bytes = b"",
    after: bytes = b"", height: int | None = None,
) -> Path:  # fmt: skip
    """A file with these rows, chunks before and after its pixels, and another height perhaps."""
    start = header(width, len(rows) if height is None else height, depth, colour)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    path.write_bytes(start + before + pixels + after + chunk(b"IEND"))
    return path
