"""Images are read up to a limit, with Pillow's pixels, and written whole."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from adapt.data.images import read_image


def photo(height: int, width: int) -> np.ndarray:
    """uint8 (H, W, 3): smooth, with edges and noise."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(cv2.resize(coarse, (width, height)) + noise, 0, 255).astype(np.uint8)


JPEGS = [
    {"subsampling": subsampling, "quality": quality, "progressive": progressive, **restart}
    for subsampling in ("4:4:4", "4:2:2", "4:2:0")
    for quality in (40, 95)
    for progressive in (False, True)
    for restart in ({}, {"restart_marker_blocks": 3})
] + [{"keep_rgb": True}]


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", **options)
    return buffer.getvalue()


def pillows(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(61, 83), (8, 8), (1, 3)])
def test_jpegs_have_the_pixels_that_pillow_gives(
    tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    for options in JPEGS:
        content = jpeg(Image.fromarray(photo(*size)).convert(mode), **options)
        (tmp_path / "a.jpg").write_bytes(content)
        assert np.array_equal(read_image(tmp_path / "a.jpg"), pillows(content)), options


@pytest.mark.parametrize("at", [2, 20, -1])
def test_an_orientation_counts_wherever_its_segment_stands(tmp_path: Path, at: int) -> None:
    """JPEGs without EXIF and XMP are read without Pillow; a comment may look like a scan."""
    turned = Image.Exif()
    turned[274] = 6
    exif = turned.tobytes()
    plain = jpeg(Image.fromarray(photo(40, 51)))
    comment = b"\xff\xfe\0\x06\xff\xda\0\0"
    told = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    place = at if at > 0 else plain.index(b"\xff\xda")
    content = plain[:2] + comment + plain[2:place] + told + plain[place:]
    (tmp_path / "a.jpg").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "a.jpg"), np.rot90(pillows(plain), -1))


def test_odd_headers_and_bytes_around_the_pixels_do_no_harm(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """simplejpeg refuses most of them, as libjpeg warns of them; the pixels are whole."""
    plain = jpeg(Image.fromarray(photo(40, 51)), subsampling=0)
    version, frame = plain.index(b"JFIF\0") + 5, plain.index(b"\xff\xc0")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x07"
    for content in (
        plain[:version] + b"\x02" + plain[version + 1 :],  # JFIF 2.1
        plain[:2] + adobe + plain[20:],  # instead of JFIF's segment: colours by an unknown code
        plain[: frame + 11] + b"\x31" + plain[frame + 12 :],  # three times as many columns of grey
        plain[:-2] + b"more" + plain[-2:],
        plain + b"more",
    ):
        (tmp_path / "a.jpg").write_bytes(content)
        assert np.array_equal(read_image(tmp_path / "a.jpg"), pillows(content))
    assert capfd.readouterr().err == ""
