"""Images are written whole, and read up to a limit."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt import images
from adapt.errors import InputError
from adapt.images import read_image, read_mask, write_png


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
