"""PNG files written byte by byte, for kinds of pixels that Pillow cannot write, and damage."""

import struct
import zlib
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", fields)


def png(
    path: Path, rows: list[bytes], width: int, depth: int, colour: int, before: bytes = b"",
    height: int | None = None,
) -> Path:  # fmt: skip
    """A file with these rows, chunks before its pixels, and another height perhaps."""
    start = header(width, len(rows) if height is None else height, depth, colour)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    path.write_bytes(start + before + pixels + chunk(b"IEND"))
    return path


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A file's bytes with flipped bits, a stretch that is gone, twice there or overwritten, or cut
    off."""
    made, (start, stop) = bytearray(content), sorted(rng.integers(0, len(content), 2))
    match rng.integers(5):
        case 0:
            for at in rng.integers(0, len(made), rng.integers(1, 9)):
                made[at] ^= 1 << int(rng.integers(8))
        case 1:
            del made[start : min(stop, start + 100)]
        case 2:
            made[stop:stop] = made[start:stop]
        case 3:
            made[start : start + 20] = rng.bytes(20)
        case _:
            del made[stop:]
    return bytes(made)
