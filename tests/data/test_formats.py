"""What people's files are, each made here by hand: what is read of them, and what is refused."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from pngs import chunk, header

from adapt.data.archives import members, part
from adapt.data.formats import ALPHA, METADATA
from adapt.data.images import (
    check_header,
    image_header,
    read_image,
    read_indices,
    read_mask,
    read_valid,
)
from adapt.errors import InputError

RNG = np.random.default_rng(5)
RGB = cv2.resize(RNG.integers(0, 256, (5, 6, 3), np.uint8), (48, 36))
ALPHAS = RNG.integers(0, 256, (36, 48, 1), np.uint8)
DEEP = RNG.integers(0, 65_536, (36, 48, 5)).astype(np.uint16)
LABELS = RNG.integers(0, 2, (36, 48), np.uint8)
GREY = RGB[..., :1]


def packed(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """By Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def png(
    pixels: np.ndarray, depth: int, colour: int, *more: bytes, end: bytes | None = None
) -> bytes:
    """By hand, with chunks before the pixels."""
    rows = pixels.astype(">u2" if depth == 16 else np.uint8)
    if depth < 8:
        bits = np.unpackbits(rows[..., None], axis=-1)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(len(rows), -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    start = header(pixels.shape[1], len(pixels), depth, colour) + b"".join(more)
    return start + chunk(b"IDAT", data) + (chunk(b"IEND") if end is None else end)


def damaged(content: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    return content[:-1] + bytes([content[-1] ^ 1])


JPEG = packed(RGB, "JPEG", quality=95, subsampling=0)
CMYK = packed(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95)
PNG = png(RGB, 8, 2)
TEXT = chunk(b"tEXt", b"Comment\0hello")
XMP = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x>" + bytes(1 << 21)))
EXIF = b"Exif\0\0MM\0*\xff\xff\xff\xff"
BROKEN_EXIF = b"\xff\xe1" + struct.pack(">H", len(EXIF) + 2) + EXIF
PALETTE = Image.fromarray(RGB).quantize(7)
FEW = LABELS * 2 + RNG.integers(0, 2, (36, 48), np.uint8)

IMAGES: dict[str, tuple[bytes, np.ndarray]] = {
    "CMYK JPEG": (CMYK, np.array(Image.open(io.BytesIO(CMYK)).convert("RGB"))),
    "one pixel at alpha 254": (png(np.dstack([RGB, 255 - (ALPHAS == 7)]), 8, 6), RGB),
    "alpha": (packed(np.dstack([RGB, ALPHAS]), "PNG"), RGB),
    "grey with alpha": (png(np.dstack([GREY, ALPHAS]), 8, 4), GREY.repeat(3, axis=2)),
    "palette with a transparent colour": (
        packed(PALETTE, "PNG", transparency=2), np.array(PALETTE.convert("RGB")),
    ),
    "PNG, 16-bit grey": (png(DEEP[..., 0], 16, 0), DEEP[..., [0, 0, 0]]),
    "PNG, 16-bit grey with alpha": (png(DEEP[..., :2], 16, 4), DEEP[..., [0, 0, 0]]),
    "PNG, 16-bit RGB": (png(DEEP[..., :3], 16, 2), DEEP[..., :3]),
    "PNG, 16-bit RGBA": (png(DEEP[..., :4], 16, 6), DEEP[..., :3]),
    "BMP": (packed(RGB, "BMP"), RGB),
    "grey BMP": (packed(GREY, "BMP"), GREY.repeat(3, axis=2)),
    "palette BMP": (packed(PALETTE, "BMP"), np.array(PALETTE.convert("RGB"))),
    "WebP": (packed(RGB, "WEBP", lossless=True), RGB),
    "WebP with alpha": (
        packed(np.dstack([RGB, ALPHAS | 1]), "WEBP", lossless=True, exact=True), RGB,
    ),
    "TIFF": (tiff(RGB), RGB),
    "TIFF of big endian and tiles": (tiff(RGB, byteorder=">", tile=(16, 16)), RGB),
    "TIFF with alpha": (
        tiff(np.dstack([RGB, ALPHAS]), photometric="rgb", extrasamples=["unassalpha"]), RGB,
    ),
    "TIFF, deflated, 16-bit grey": (
        tiff(DEEP[..., 0], compression="zlib"), DEEP[..., [0, 0, 0]],
    ),
    "TIFF, white is 0": (tiff(255 - GREY[..., 0], photometric="miniswhite"), GREY.repeat(3, 2)),
    "TIFF, 1 bit": (
        tiff(LABELS > 0, photometric="minisblack"), 255 * LABELS[..., None].repeat(3, axis=2),
    ),
    "TIFF, palette": (
        tiff(FEW, photometric="palette", colormap=np.arange(768).reshape(3, 256) << 8),
        np.stack([FEW, FEW, FEW], axis=2),
    ),
    "broken EXIF in a JPEG": (
        JPEG[:2] + BROKEN_EXIF + JPEG[2:], np.array(Image.open(io.BytesIO(JPEG))),
    ),
    "broken EXIF in a PNG": (png(RGB, 8, 2, chunk(b"eXIf", EXIF[6:])), RGB),
    "wrong checksum of a PNG's EXIF": (png(RGB, 8, 2, damaged(chunk(b"eXIf", EXIF[6:]))), RGB),
    "wrong checksum in a text before": (png(RGB, 8, 2, damaged(TEXT)), RGB),
    "wrong checksum in a text after": (png(RGB, 8, 2, end=damaged(TEXT) + chunk(b"IEND")), RGB),
    "XMP above 1 MB": (png(RGB, 8, 2, XMP), RGB),
    "no IEND": (png(RGB, 8, 2, end=b""), RGB),
    "no IEND, more bytes": (png(RGB, 8, 2, end=b"more bytes than a chunk"), RGB),
    "more bytes": (PNG + b"more", RGB),
    "no IEND, 16 bits": (png(DEEP[..., :3], 16, 2, end=b""), DEEP[..., :3]),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_common_images_are_read(tmp_path: Path, name: str, capfd: Any) -> None:
    content, wanted = IMAGES[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    found = read_image(path)
    assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
    header = image_header(path)
    assert found.flags.c_contiguous and header.size == found.shape[:2]
    assert header.top == np.iinfo(found.dtype).max or "1 bit" in name
    check_header(path, header)
    assert capfd.readouterr().err == ""


def test_what_is_not_used_is_told(tmp_path: Path) -> None:
    for name, (content, _) in IMAGES.items():
        path = tmp_path / "a.png"
        path.write_bytes(content)
        ignored = image_header(path).ignored
        transparent = any(word in name for word in ("alpha", "transparent", "RGBA"))
        blind = any(word in name for word in ("EXIF", "before", "XMP"))
        assert ignored == (ALPHA,) * transparent + (METADATA,) * blind, name


def bitmap(values: np.ndarray, bits: int, *, downwards: bool = False) -> bytes:
    """A BMP of so many bits a pixel whose two colours are black and white, by hand."""
    height, width = values.shape
    spread = ((values[..., None] >> np.arange(bits)[::-1]) & 1).reshape(height, -1)
    rows = np.packbits(spread.astype(np.uint8), axis=1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))[:: 1 if downwards else -1]
    start = 14 + 40 + 8
    about = struct.pack("<2sIHHI", b"BM", start + rows.size, 0, 0, start)
    about += struct.pack("<IiiHHIIiiII", 40, width, -height if downwards else height, 1, bits, 0,
                         rows.size, 0, 0, 2, 0)  # fmt: skip
    return about + bytes([0, 0, 0, 0, 255, 255, 255, 0]) + rows.tobytes()


MASKS: dict[str, tuple[bytes, np.ndarray]] = {
    "grey, 1 bit": (png(LABELS, 1, 0), LABELS),
    "grey, 2 bits": (png(FEW, 2, 0), FEW),
    "grey, 4 bits": (png(FEW + 9, 4, 0), FEW + 9),
    "grey": (packed(FEW, "PNG"), FEW),
    "16 bits with small values": (png(FEW, 16, 0), FEW),
    "16 bits": (png(DEEP[..., 0], 16, 0), DEEP[..., 0]),
    "palette": (packed(PALETTE, "PNG"), np.array(PALETTE)),
    "palette, a colour transparent": (packed(PALETTE, "PNG", transparency=2), np.array(PALETTE)),
    "equal channels": (packed(np.dstack([FEW] * 3), "PNG"), FEW),
    "equal channels of 16 bits": (png(np.dstack([FEW] * 3), 16, 2), FEW),
    "opaque RGBA": (png(np.dstack([FEW] * 3 + [FEW | 255]), 8, 6), FEW),
    "opaque LA": (png(np.dstack([FEW, FEW | 255]), 8, 4), FEW),
    "BMP": (packed(FEW, "BMP"), FEW),
    "BMP, 1 bit": (packed(Image.fromarray(LABELS > 0), "BMP"), LABELS),
    **{
        f"BMP of two colours, {bits} bits{', from the top' * downwards}": (
            bitmap(LABELS[:, :45], bits, downwards=downwards), LABELS[:, :45],
        )
        for bits in (1, 4, 8)
        for downwards in (False, True)
    },
    "TIFF": (tiff(FEW), FEW),
    "TIFF, 16 bits": (tiff(DEEP[..., 0]), DEEP[..., 0]),
    "TIFF of floats": (tiff(FEW.astype(np.float32)), FEW),
    "TIFF, palette": (
        tiff(FEW, photometric="palette", colormap=np.arange(768).reshape(3, 256)), FEW,
    ),
    "wrong checksum in a text": (png(FEW, 8, 0, damaged(TEXT)), FEW),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_common_masks_are_read(tmp_path: Path, name: str) -> None:
    content, wanted = MASKS[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    found = read_indices(path)
    assert found.dtype == (np.uint16 if wanted.max() > 255 else np.uint8)
    assert np.array_equal(found, wanted)
    if "alette" not in name:  # of which the colour counts
        assert np.array_equal(read_valid(path), wanted > 0)


COLOURS = [[128, 0, 0], [0, 128, 64], [0, 0, 0], [255, 255, 254]]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "palette"])
def test_a_mask_of_colours_is_read_by_their_table(tmp_path: Path, kind: str) -> None:
    """Places in the table are then label values like others: codes and void count them."""
    image = Image.fromarray(np.array(COLOURS, np.uint8)[FEW])
    image = image.quantize(4) if kind == "palette" else image
    image.save(tmp_path / "m.x", format="PNG" if kind == "palette" else kind)
    assert np.array_equal(read_indices(tmp_path / "m.x", COLOURS), FEW)
    found = read_mask(tmp_path / "m.x", 2, void=[1, 2], codes=[3, 0], colours=COLOURS)
    assert np.array_equal(found, np.array([1, 255, 255, 0])[FEW])
    one = [c for c in COLOURS if c != COLOURS[1]]
    with pytest.raises(InputError, match=rf"not in data.colors: \[0,128,64\] \({(FEW == 1).sum()}"):
        read_indices(tmp_path / "m.x", one)


# ---- refused

SECOND = 255 - RGB
ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x07"
VERSION, FRAME = JPEG.index(b"JFIF\0") + 5, JPEG.index(b"\xff\xc0")
ODD = {
    "plain": JPEG,
    "JFIF 2": JPEG[:VERSION] + b"\2" + JPEG[VERSION + 1 :],
    "Adobe's colours": JPEG[:2] + ADOBE + JPEG[20:],
    "columns of colour": JPEG[: FRAME + 11] + b"\x31" + JPEG[FRAME + 12 :],
    "CMYK": CMYK,
    "with a broken EXIF": JPEG[:2] + BROKEN_EXIF + JPEG[2:],
}


@pytest.mark.parametrize("name", ODD)
def test_a_jpeg_that_was_cut_and_closed_again_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever its header is like: decoders fill the rest with grey."""
    content, path = ODD[name], tmp_path / "a.jpg"
    path.write_bytes(content)
    assert read_image(path).shape == RGB.shape
    start = content.index(b"\xff\xda") + 20
    for share in (0.02, 0.2, 0.4, *([0.9] * (name != "columns of colour"))):
        path.write_bytes(content[: start + int(share * (len(content) - start))] + b"\xff\xd9")
        with pytest.raises(InputError, match=r"a\.jpg: broken image"):
            read_image(path)


def cut(content: bytes, share: float = 0.7) -> bytes:
    return content[: int(len(content) * share)]


REFUSED: dict[str, tuple[bytes, str]] = {
    "GIF": (packed(RGB, "GIF"), "it is a GIF; convert it to PNG"),
    "AVIF": (packed(RGB, "AVIF"), "it is an AVIF; convert it to PNG"),
    "HEIF": (b"\0\0\0\x24ftypheic" + bytes(40), "it is a HEIF"),
    "video": (b"\0\0\0\x1cftypisom" + bytes(40), r"a file like MP4; CLIP\.mp4#120 is frame 120"),
    "animated WebP": (
        packed(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(SECOND)]), "animation",
    ),
    "cut WebP": (cut(IMAGES["WebP"][0]), "broken image"),
    "cut BMP": (cut(IMAGES["BMP"][0]), "broken image"),
    "cut TIFF": (cut(IMAGES["TIFF"][0]), "not a readable TIFF"),
    "cut PNG of 16 bits": (cut(IMAGES["PNG, 16-bit RGB"][0]), "broken image"),
    "PNG without IEND and rows": (cut(PNG, 0.9), "broken image"),
    "PNG without IEND and a byte": (png(RGB, 8, 2, end=b"")[:-1], "broken image"),
    "wrong checksum in the pixels": (
        png(RGB, 8, 2, end=b"")[:-1] + b"\0" + chunk(b"IEND"), "broken image",
    ),
    "16 bits, too few rows": (
        PNG[:8] + png(DEEP[..., :3], 16, 2)[8:].replace(
            header(48, 36, 16, 2)[8:], header(48, 37, 16, 2)[8:]
        ), "fewer rows",
    ),
    "two bands": (tiff(DEEP[..., :2], planarconfig="contig"), r"2 bands; data\.bands.* says"),
    "five bands": (
        tiff(DEEP, photometric="minisblack", planarconfig="contig"), r"5 bands; data\.bands.* says",
    ),
    "CMYK TIFF": (tiff(DEEP[..., :4], photometric="separated"), "is SEPARATED; give grey or RGB"),
    "turned TIFF": (
        tiff(RGB, extratags=[(274, 3, 1, 6, True)]), "its orientation is 6; save it upright",
    ),
    "floats": (tiff(np.float32([[0, 0.5], [2, 3]])), r"float32 of 0 to 3, .*data\.range.* says"),
    "signed": (tiff(np.int16([[-4, 5], [2, 3]])), r"int16 of -4 to 5, .*data\.range.* says"),
    "far too large": (tiff(np.zeros((1, 100_000_001), bool)), "above 100000000 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_rubbish_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.png: .*{words}"):
        read_image(path)
    if "data" in words:  # which a header tells
        with pytest.raises(InputError, match=r"a\.png: .*data\.(bands|range).* says"):
            check_header(path, image_header(path))


NO_MASKS: dict[str, tuple[bytes, str]] = {
    "JPEG": (JPEG, "must not be a JPEG"),
    "WebP": (IMAGES["WebP"][0], "must not be a WebP"),
    "colours": (PNG, r"has colours, such as \[.*data\.colors names"),
    "transparent": (png(np.dstack([FEW] * 3 + [FEW]), 8, 6), "must not have transparent pixels"),
    "fractions": (tiff(FEW / np.float32(2)), r"values of 0\.0 to 1\.5"),
    "negative": (tiff(FEW.astype(np.int16) - 1), "values of -1 to 2"),
    "not finite": (tiff(np.where(FEW == 1, np.nan, FEW).astype(np.float32)), "values of nan"),
}


@pytest.mark.parametrize("name", NO_MASKS)
def test_what_holds_no_indices_is_refused(tmp_path: Path, name: str) -> None:
    content, words = NO_MASKS[name]
    (tmp_path / "m.tif").write_bytes(content)
    with pytest.raises(InputError, match=rf"m\.tif: .*{words}"):
        read_indices(tmp_path / "m.tif")


# ---- bands and ranges

BANDS: dict[str, Callable[[], bytes]] = {
    "side by side": lambda: tiff(DEEP, photometric="minisblack", planarconfig="contig"),
    "one after the other": lambda: tiff(
        np.moveaxis(DEEP, 2, 0), photometric="minisblack", planarconfig="separate"
    ),
    "in pages": lambda: tiff(np.moveaxis(DEEP, 2, 0), photometric="minisblack"),
}


@pytest.mark.parametrize("name", BANDS)
def test_bands_are_chosen_in_their_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(BANDS[name]())
    assert image_header(path).mode == "TIFF 5 x uint16"
    for bands in ([4, 1, 2], [5], [1, 2, 3, 4, 5], [2, 2]):
        found = read_image(path, bands)
        assert np.array_equal(found, DEEP[..., [b - 1 for b in bands]]) and found.flags.c_contiguous
    with pytest.raises(InputError, match=r"a\.tif: has 5 bands; data\.bands=\[1, 6\] asks"):
        read_image(path, [1, 6])
    rgba = np.dstack([RGB, ALPHAS])
    path.write_bytes(packed(rgba, "PNG"))
    assert np.array_equal(read_image(path, [4, 1, 2]), rgba[..., [3, 0, 1]]), "no alpha, but a band"
    path.write_bytes(png(DEEP[..., :4], 16, 6))
    assert np.array_equal(read_image(path, [4, 1]), DEEP[..., [3, 0]])
    path.write_bytes(packed(GREY, "JPEG"))
    assert read_image(path, [1]).shape == (36, 48, 1)
    with pytest.raises(InputError, match="has 1 bands"):
        read_image(path, [2])


@pytest.mark.parametrize(
    ("values", "limits", "wanted"),
    [
        (np.uint16([[0, 2048, 4095, 9000]]), [0, 4095], [0, 32776, 65535, 65535]),
        (np.float32([[-1, 0.25, 0.5, 1.5]]), [0, 1], [0, 16384, 32768, 65535]),
        (np.int16([[-300, -50, 0, 200]]), [-100, 100], [0, 16384, 32768, 65535]),
        (np.uint8([[0, 7, 200, 255]]), [0, 100], [0, 7, 200, 255]),
    ],
    ids=["12 bits", "float", "signed", "8 bits stay"],
)
def test_a_range_becomes_all_of_16_bits(
    tmp_path: Path, values: np.ndarray, limits: list[float], wanted: list[int]
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values))
    assert read_image(path, (), limits)[0, :, 0].tolist() == wanted


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(np.float32([[0, np.nan], [np.inf, 1]])))
    with pytest.raises(InputError, match=r"a\.tif: has 2 values that are not finite"):
        read_image(tmp_path / "a.tif", (), [0, 1])


def test_tiffs_are_read_out_of_shards(tmp_path: Path) -> None:
    """In the middle of an archive, where a file's own place counts."""
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in (("a.x1.tif", tiff(DEEP[..., :3])), ("a.x2.tif", tiff(RGB))):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    files = [part(tmp_path / "s.tar", at, size, n) for n, at, size in members(tmp_path / "s.tar")]
    assert np.array_equal(read_image(files[0]), DEEP[..., :3])
    assert np.array_equal(read_image(files[1]), RGB)
