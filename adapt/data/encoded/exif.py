"""The orientation of an image, read without the rest of its block, of which Pillow raises or warns
where it is broken. Source: Exif 2.32, section 4.6; XMP only where EXIF says nothing, as in Pillow.
"""

import re
import struct

from adapt.data.encoded.parts import BrokenError

ORIENTATION = 0x0112
"""The EXIF tag; 5 to 8 are turned by a quarter."""
WIDTHS = {1: "B", 3: "H", 4: "I"}
LOST = "its EXIF block is broken, so that its orientation is unknown; remove the block"


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
            raise BrokenError(LOST) from None
    if not found and (said := re.search(r'tiff:Orientation(="|>)([0-9])', xmp)):
        found = int(said[2])
    return found if 1 <= found <= 8 else 1


def unhexed(text: str) -> bytes:
    """The bytes of ImageMagick's raw profile: three lines about it, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        raise BrokenError(LOST) from None
