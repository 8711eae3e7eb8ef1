"""R12: what becomes of every mode of image, against arrays made by hand."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pngs import chunk, header, png

from adapt.data.formats import METADATA
from adapt.data.images import image_header, image_size, read_image, read_indices, read_valid
from adapt.errors import InputError

RED, GREEN = (200, 10, 20), (30, 180, 60)


def test_r12_rgb_grey_and_palette_become_rgb(tmp_path: Path, pixels: np.ndarray) -> None:
    indices = pixels[..., 0] % 2
    palette = Image.fromarray(indices)
    palette.putpalette([*RED, *GREEN])
    for image, wanted in (
        (Image.fromarray(pixels), pixels),
        (Image.fromarray(pixels[..., 0]), pixels[..., [0, 0, 0]]),
        (palette, np.array([RED, GREEN], np.uint8)[indices]),
    ):
        image.save(tmp_path / "a.png")
        found = read_image(tmp_path / "a.png")
        assert found.dtype == np.uint8 and np.array_equal(found, wanted)


# What each of the eight EXIF orientations does to stored pixels, by hand (H, W, 3).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_r12_images_are_turned_upright(
    tmp_path: Path, pixels: np.ndarray, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    wanted = UPRIGHT[orientation](pixels)
    assert np.array_equal(read_image(tmp_path / "a.png"), wanted)
    assert image_size(tmp_path / "a.png") == wanted.shape[:2]


@pytest.mark.parametrize(("depth", "levels"), [(1, 2), (2, 4), (4, 16)])
def test_r12_grey_of_fewer_bits_is_spread(tmp_path: Path, depth: int, levels: int) -> None:
    """As the standard has it (13.12): black stays 0, white becomes 255."""
    path = png(tmp_path / "few.png", [bytes([0b00011011, 0b11100100])], 16 // depth, depth, 0)
    bits = np.unpackbits(np.array([0b00011011, 0b11100100], np.uint8))
    values = bits.reshape(-1, depth) @ (1 << np.arange(depth)[::-1])
    wanted = np.repeat((values * 255 // (levels - 1))[None, :, None], 3, axis=2)
    assert np.array_equal(read_image(path), wanted)


def test_r12_an_interlaced_image_is_the_same(tmp_path: Path) -> None:
    """Adam7 of a 3x2 image has its pixels in this order, each pass with rows of its own."""
    pixels = np.arange(10, 16, dtype=np.uint8).reshape(2, 3)
    passes = [pixels[:1, :1], pixels[:1, 2:3], pixels[:1, 1:2], pixels[1:2]]
    data = b"".join(b"\0" + part.tobytes() for part in passes)
    path = tmp_path / "i.png"
    path.write_bytes(header(3, 2, 8, 0, 1) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND"))
    assert np.array_equal(read_image(path)[..., 0], pixels)


def test_r12_a_value_outside_of_the_palette_is_refused(tmp_path: Path) -> None:
    """Pillow shows it black."""
    palette = chunk(b"PLTE", bytes([*RED, *GREEN]))
    for before, colours in ((palette, 2), (b"", 0)):
        path = png(tmp_path / "p.png", [bytes([0, 1, 2])], 3, 8, 3, before)
        with pytest.raises(
            InputError, match=rf"p\.png: value 2 is not in its palette of {colours}"
        ):
            read_image(path)


# ---- orientation

EXIF = b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
PROFILE = "\nexif\n      38\n" + (b"Exif\0\0" + EXIF).hex()


@pytest.mark.parametrize(
    "said",
    [
        chunk(b"tEXt", b"Raw profile type exif\0" + PROFILE.encode()),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    ],
    ids=["ImageMagick", "XMP"],
)
def test_r12_whoever_says_the_orientation(tmp_path: Path, pixels: np.ndarray, said: bytes) -> None:
    path = png(tmp_path / "a.png", [row.tobytes() for row in pixels], 9, 8, 2, said)
    assert image_size(path) == (9, 5)
    assert np.array_equal(read_image(path), UPRIGHT[6](pixels))


def with_exif(path: Path, block: bytes) -> Path:
    """A JPEG with a block of its own making."""
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(path)
    plain = path.read_bytes()
    body = b"Exif\0\0" + block
    path.write_bytes(plain[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body + plain[2:])
    return path


def test_r12_an_orientation_that_cannot_be_known_is_told(tmp_path: Path) -> None:
    """The image is read as it is stored."""
    upright = read_image(with_exif(tmp_path / "a.jpg", b""))
    for block in (EXIF[:12], EXIF[:4] + b"\xff" * 4 + EXIF[8:]):
        path = with_exif(tmp_path / "a.jpg", block)
        assert np.array_equal(read_image(path), upright)
        assert image_header(path).ignored == (METADATA,)


def test_r12_damage_behind_the_orientation_and_empty_blocks_do_no_harm(tmp_path: Path) -> None:
    """As cameras, editors and programs that blank a block leave them."""
    upright = read_image(with_exif(tmp_path / "a.jpg", b""))
    little = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    turned = read_image(with_exif(tmp_path / "a.jpg", little))
    assert np.array_equal(turned, UPRIGHT[6](upright))
    two = (
        EXIF[:8] + struct.pack(">H", 2) + EXIF[10:] + struct.pack(">HHII", 0x9286, 7, 2**31, 2**31)
    )
    assert np.array_equal(read_image(with_exif(tmp_path / "a.jpg", two)), turned)
    strange = EXIF[:18] + struct.pack(">HH", 77, 0)
    for block in (bytes(40), strange):
        assert np.array_equal(read_image(with_exif(tmp_path / "a.jpg", block)), upright)
        assert image_size(tmp_path / "a.jpg") == upright.shape[:2]


@pytest.mark.parametrize("read", [read_valid, read_indices])
def test_r12_a_mask_is_no_jpeg_and_not_turned(
    tmp_path: Path, read: Callable[[Path], np.ndarray]
) -> None:
    """A JPEG changes values: a few wrong classes on every border, without a word."""
    mask = np.zeros((4, 6), np.uint8)
    mask[1:, 2:] = 200
    Image.fromarray(mask).save(tmp_path / "v.png")
    assert np.array_equal(read(tmp_path / "v.png") > 0, mask > 0)
    Image.fromarray(mask).save(tmp_path / "v.jpg")
    with pytest.raises(InputError, match=r"v\.jpg: a mask must not be a JPEG"):
        read(tmp_path / "v.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(mask).save(tmp_path / "v.png", exif=exif)
    with pytest.raises(InputError, match=r"v\.png: .*EXIF"):
        read(tmp_path / "v.png")
