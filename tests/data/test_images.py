"""Images are written whole, and read up to a limit."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from campaigns.mutations import broken
from PIL import Image

from adapt.data import images
from adapt.data.encoded import opencv
from adapt.data.images import only_reading, read_image, read_mask, write_png
from adapt.errors import InputError


@pytest.fixture
def pixels() -> np.ndarray:
    """Non-square RGB (5, 9, 3) without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)


def test_the_limit_itself_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 12)
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    Image.new("RGB", (13, 1)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "a.png").shape == (3, 4, 3)
    with pytest.raises(InputError, match="13x1 is above 12"):
        read_image(tmp_path / "b.png")


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


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as one that only reads, for a while."""
    monkeypatch.setattr(images, "_readers", set())
    only_reading()
    assert images._readers == {os.getpid()}, "OpenCV's and Pillow's libjpeg round alike here"
    yield


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


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray | str]:
    """What a file gives, or says, in a process that only reads and in another."""
    found: list[np.ndarray | str] = []
    for readers in (images._readers, set()):
        with monkeypatch.context() as changed:
            changed.setattr(images, "_readers", readers)
            try:
                found.append(read_image(path))
            except InputError as error:
                found.append(re.sub(" at 0x[0-9a-f]+", "", str(error)))
    return found


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(61, 83), (8, 8), (1, 3)])
def test_opencv_gives_the_pixels_that_pillow_gives(
    tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], grey: bool
) -> None:
    decoded = []
    spied = opencv.decoded
    monkeypatch.setattr(opencv, "decoded", lambda content: decoded.append(1) or spied(content))
    for options in JPEGS:
        picture = Image.fromarray(photo(*size)).convert("L" if grey else "RGB")
        picture.save(tmp_path / "a.jpg", **options)
        fast, slow = both(tmp_path / "a.jpg", monkeypatch)
        assert np.array_equal(fast, slow), options
    assert len(decoded) == sum(not options.get("progressive") for options in JPEGS)


def test_what_is_broken_is_pillows_whoever_reads(
    tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """The same files are refused, in the same words; others have the same pixels; not a word of
    libjpeg's reaches standard error."""
    rng, refused = np.random.default_rng(0), 0
    files = []
    for options in JPEGS:
        buffer = io.BytesIO()
        Image.fromarray(photo(40, 51)).save(buffer, format="JPEG", **options)
        files.append(buffer.getvalue())
    for number in range(600):
        content, mutation = broken(rng, files[number % len(files)])
        (tmp_path / "a.jpg").write_bytes(content)
        fast, slow = both(tmp_path / "a.jpg", monkeypatch)
        assert np.array_equal(fast, slow), mutation
        refused += isinstance(slow, str)
    assert 50 < refused < 550
    assert capfd.readouterr().err == ""


def test_headers_that_libjpeg_warns_of_are_read_in_silence(
    tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo(40, 51)).save(buffer, format="JPEG")
    plain = buffer.getvalue()
    version = plain.index(b"JFIF\0") + 5
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x07"
    for content in (
        plain[:version] + b"\x21" + plain[version + 1 :],  # JFIF 33.1
        plain[:2] + adobe + plain[20:],  # instead of JFIF's segment: colours by an unknown code
    ):
        (tmp_path / "a.jpg").write_bytes(content)
        fast, slow = both(tmp_path / "a.jpg", monkeypatch)
        assert isinstance(slow, np.ndarray) and np.array_equal(fast, slow)
    assert capfd.readouterr().err == ""


def test_what_others_say_meanwhile_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def noisy(*given: object) -> np.ndarray:
        os.write(2, b"Corrupt JPEG data: 3 extraneous bytes\nsomebody else's\n")
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(cv2, "imdecode", noisy)
    assert opencv.decoded(b"x") is None
    assert capfd.readouterr().err == "somebody else's\n"


def test_an_error_of_opencv_leaves_the_file_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise cv2.error("Insufficient memory")

    monkeypatch.setattr(cv2, "imdecode", full)
    assert opencv.decoded(b"x") is None


def test_another_rounding_leaves_all_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of OpenCV with another libjpeg."""
    monkeypatch.setattr(images, "_readers", set())
    monkeypatch.setattr(cv2, "imdecode", lambda *given: np.zeros((37, 51, 3), np.uint8))
    only_reading()
    assert not images._readers
