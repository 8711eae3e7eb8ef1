"""What may be read as an image or a mask, and that nothing else is."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from adapt import images
from adapt.errors import InputError
from adapt.images import IGNORE, read_image, read_mask, write_png

RED, GREEN = (200, 10, 20), (30, 180, 60)


@pytest.fixture
def pixels() -> np.ndarray:
    """Non-square RGB (5, 9, 3) without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)


def png(path: Path, rows: list[bytes], width: int, depth: int, colour: int) -> Path:
    """A PNG written byte by byte, for kinds of pixels that PIL cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_rgb_is_read_as_it_is(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.dtype == np.uint8 and np.array_equal(found, pixels)


def test_grey_becomes_three_equal_channels(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels[..., [0, 0, 0]])


def test_palette_images_go_through_their_palette(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette([*RED, *GREEN])
    image.save(tmp_path / "a.png")
    wanted = np.array([RED, GREEN], np.uint8)[indices]
    assert np.array_equal(read_image(tmp_path / "a.png"), wanted)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_only_where_it_is_opaque_everywhere(
    tmp_path: Path, pixels: np.ndarray, mode: str
) -> None:
    image = Image.fromarray(pixels).convert("L" if mode == "LA" else "RGB")
    wanted = np.array(image.convert("RGB"))
    image = image.convert(mode)
    image.save(tmp_path / "opaque.png")
    assert np.array_equal(read_image(tmp_path / "opaque.png"), wanted)
    alpha = Image.new("L", image.size, 255)
    alpha.putpixel((8, 4), 254)
    image.putalpha(alpha)
    image.save(tmp_path / "one_pixel.png")
    with pytest.raises(InputError, match=r"one_pixel\.png: has transparent pixels"):
        read_image(tmp_path / "one_pixel.png")


def test_a_transparent_palette_entry_is_refused_where_a_pixel_uses_it(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([*RED, *GREEN])
    image.save(tmp_path / "a.png", transparency=1)
    with pytest.raises(InputError, match="transparent"):
        read_image(tmp_path / "a.png")


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
def test_images_are_turned_upright(tmp_path: Path, pixels: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), UPRIGHT[orientation](pixels))


def test_a_rotated_mask_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "m.png", exif=exif)
    with pytest.raises(InputError, match=r"m\.png.*EXIF"):
        read_mask(tmp_path / "m.png", 3)


def test_other_modes_are_refused_as_images(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 3), 40000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "print.jpg")
    for name in ("deep.png", "print.jpg"):
        with pytest.raises(InputError, match=rf"{name}: mode"):
            read_image(tmp_path / name)


def test_colour_of_16_bits_is_refused_and_not_cut_to_8(tmp_path: Path) -> None:
    path = png(tmp_path / "deep.png", [struct.pack(">6H", *range(0, 60000, 10000))], 2, 16, 2)
    with pytest.raises(InputError, match=r"deep\.png"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_a_cut_off_file_is_refused_by_name(
    tmp_path: Path, pixels: np.ndarray, suffix: str, share: float
) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.tile(pixels, (8, 8, 1))).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"cut\.{suffix}"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: no such image"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "text"])
def test_other_formats_in_disguise_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disguised.jpg"
    if kind == "text":
        path.write_text("no image at all")
    else:
        with path.open("wb") as stream:
            Image.new("RGB", (4, 4)).save(stream, format=kind)
    with pytest.raises(InputError, match=r"disguised\.jpg: not a readable JPEG or PNG"):
        read_image(path)


@pytest.mark.parametrize("side", [12_000, 20_000])
def test_absurdly_large_images_are_refused_before_they_are_decoded(
    tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit, and so far above it that PIL refuses as well."""
    path = png(tmp_path / "huge.png", [b""], 1, 8, 0)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)

    def refuse(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    with pytest.raises(InputError, match=r"huge\.png: .*pixels"):
        read_image(path)


def test_the_limit_itself_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 12)
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    Image.new("RGB", (13, 1)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "a.png").shape == (3, 4, 3)
    with pytest.raises(InputError, match="13x1 is above 12"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_masks_hold_their_indices_whatever_the_palette(tmp_path: Path, mode: str) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(8, 32)
    mask = Image.fromarray(indices)
    if mode == "P":
        mask.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    mask.save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png", 255)
    assert found.dtype == np.uint8 and np.array_equal(found, indices)


def test_every_void_becomes_ignore(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 10, 11, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", 11, (11,)).tolist() == [[0, 10, IGNORE, IGNORE]]


def test_labels_out_of_range_are_listed_with_their_counts(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2, 3, 3], [3, 7, 255, 1]], np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(InputError) as refused:
        read_mask(tmp_path / "m.png", 3)
    for part in ("m.png", "3 (3 pixels)", "7 (1 pixels)", "0..2"):
        assert part in str(refused.value)
    assert "255 (" not in str(refused.value)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "I;16"])
def test_masks_of_other_modes_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m\.png: a mask holds class indices"):
        read_mask(tmp_path / "m.png", 3)


def test_a_4_bit_grey_mask_is_refused_and_not_rescaled(tmp_path: Path) -> None:
    """PIL spreads 0..15 over 0..255, which would turn class 1 into class 17."""
    path = png(tmp_path / "m.png", [b"\x01\x10"], 4, 4, 0)
    with pytest.raises(InputError, match=r"m\.png"):
        read_mask(path, 21)


def sbd_file(path: Path, mask: np.ndarray) -> Path:
    savemat(path, {"GTcls": {"Segmentation": mask}}, do_compression=True)
    return path


def test_sbd_masks_hold_their_indices(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 21, (5, 9), dtype=np.uint8)
    assert np.array_equal(read_mask(sbd_file(tmp_path / "a.mat", mask), 21), mask)
    with pytest.raises(InputError, match=r"a\.mat: label .* is out of range"):
        read_mask(tmp_path / "a.mat", 20)


def test_a_mat_file_of_something_else_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"GTinst": np.zeros((2, 2))})
    with pytest.raises(InputError, match=r"a\.mat: not an SBD class file"):
        read_mask(tmp_path / "a.mat", 21)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "absent"])
def test_a_damaged_mat_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    mask = np.random.default_rng(0).integers(0, 21, (40, 56), dtype=np.uint8)
    path = sbd_file(tmp_path / "a.mat", mask)
    content = path.read_bytes()
    middle = len(content) // 2
    broken = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
    }
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(broken[damage])
    with pytest.raises(InputError, match=r"a\.mat"):
        read_mask(path, 21)


@pytest.mark.parametrize("shape", [(5, 9, 3), (5, 9)])
def test_png_returns_what_was_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", array)
    found = (
        read_image(tmp_path / "a.png") if len(shape) == 3 else read_mask(tmp_path / "a.png", 255)
    )
    assert np.array_equal(found, array)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupted_png_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "a.png", pixels)

    def disk_full(descriptor: int) -> None:
        os.ftruncate(descriptor, 20)  # half of it
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_png(tmp_path / "a.png", 255 - pixels)
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
