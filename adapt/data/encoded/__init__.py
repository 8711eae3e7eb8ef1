"""JPEG and PNG files before they are decoded: only what the pixels need goes to the decoder.

Profiles, comments, thumbnails and animations are where decoders unpack without bounds and guess
at broken bytes, and nothing here needs them. One thing does matter, the EXIF orientation, and is
read here.
"""

from typing import BinaryIO

from adapt.data.encoded import jpeg, png
from adapt.data.encoded.parts import BrokenError, Encoded

OTHERS = {
    b"GIF8": "a GIF", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"BM": "a BMP", b"%!PS": "an EPS",
    b"RIFF": "a WebP", b"\0\0\0\x0cjP": "a JPEG 2000", b"\0\0\0\x18ftyp": "a HEIF or AVIF",
    b"\0\0\0\x1cftyp": "a HEIF or AVIF", b"\0\0\0\x20ftyp": "a HEIF or AVIF", b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the image",
    b"PK\3\4": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"MATLAB 5": "a MATLAB file",
}  # fmt: skip
"""First bytes -> what a file is that should be an image."""


def encoded(stream: BinaryIO, *, pixels: bool) -> Encoded:
    """A JPEG or PNG file reduced to what its pixels need; without `pixels` to their header.

    Raises:
        BrokenError: neither of the two, cut off, with a wrong checksum, or animated.
    """
    start = stream.read(32)
    stream.seek(0)
    if start.startswith(png.MAGIC):
        return png.bare_png(stream, pixels=pixels)
    if start.startswith(jpeg.MAGIC):
        return jpeg.bare_jpeg(stream, pixels=pixels)
    kind = next((what for magic, what in OTHERS.items() if start.startswith(magic)), "")
    kind = kind or ("empty" if not start else "")
    raise BrokenError(f"not a readable JPEG or PNG file{f': it is {kind}' if kind else ''}")
