"""What the readers of the formats share."""

import zlib
from dataclasses import dataclass
from typing import BinaryIO


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
    packed: tuple[bytes, ...] = ()
    """A PNG's compressed rows."""
    rows: int = 0
    """Bytes that these must unpack to."""
    interlaced: bool = False
    simple: bool = False
    """A JPEG of one scan, behind which it ends."""

    def complete(self) -> bool:
        """Do the rows of a PNG unpack to as many bytes as its header says? Unpacks all of them."""
        unpacker, left = zlib.decompressobj(), self.rows
        for piece in self.packed:
            while piece and left > 0:
                left -= len(unpacker.decompress(piece, 1 << 20))
                piece = unpacker.unconsumed_tail
        return left <= 0


def exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) != size:
        raise BrokenError("it is cut off")
    return found
