"""R11: what cannot be read as a JPEG or PNG ends a run by its name; scan lists all of it before."""

import io
import json
import os
import resource
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from pngs import chunk, damaged, header, png
from tiny import curve, same
from warm import TRAINED, Warm

from adapt.data import load
from adapt.data.archives import MAX_BYTES
from adapt.data.images import image_header, image_size, read_image, read_indices, read_valid
from adapt.data.sampling import Stream
from adapt.data.tiff import read_tiff
from adapt.disk import checkpoint
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

Tree = Callable[..., Path]


def packed(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def refused(path: Path, words: str = ".") -> None:
    """By everything that reads images, with the path in front."""
    for read in (read_image, read_indices):
        with pytest.raises(InputError, match=words) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


KINDS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"}, "jpg": {"format": "JPEG"},
    "progressive": {"format": "JPEG", "progressive": True},
    "restarts": {"format": "JPEG", "restart_marker_blocks": 3},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_r11_a_cut_off_file_is_refused(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    """Also one that was closed again: most decoders fill what is missing with grey."""
    pixels = np.tile(pixels, (8, 8, 1))
    content, path = packed(pixels, **KINDS[kind]), tmp_path / "cut"
    end = {"PNG": chunk(b"IEND"), "JPEG": b"\xff\xd9"}[KINDS[kind]["format"]]
    for length in (0, 2, 30, len(content) // 3, len(content) * 2 // 3, len(content) - 13):
        for closed in (b"", end):
            path.write_bytes(content[:length] + closed)
            with pytest.raises(InputError, match=r"cut: (broken image|not a readable)"):
                read_image(path)
    if end == b"\xff\xd9":
        path.write_bytes(content[:-2])
        with pytest.raises(InputError, match=r"cut: broken image \(Premature end of JPEG"):
            read_image(path)
    path.write_bytes(content)
    assert read_image(path).shape == pixels.shape


def test_r11_any_changed_byte_of_a_png_is_noticed(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    content = packed(pixels, format="PNG")
    for at in range(len(content) - 12):  # the rest is the end, which holds nothing
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(InputError, match=r"a\.png"):
            read_image(path)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_r11_a_png_with_too_few_rows_is_refused(tmp_path: Path, interlaced: int) -> None:
    """Pillow leaves them black, without a word; black rows that are there are no missing ones."""
    rows = np.random.default_rng(0).integers(1, 256, (8, 8), dtype=np.uint8)
    path = png(tmp_path / "a.png", [r.tobytes() for r in rows], 8, 8, 0, height=9)
    refused(path, "fewer rows")
    data = zlib.compress(b"".join(b"\0" + r.tobytes() for r in rows[:-1]))
    path.write_bytes(header(8, 8, 8, 0, interlaced) + chunk(b"IDAT", data) + chunk(b"IEND"))
    refused(path)
    rows[-2:] = 0
    Image.fromarray(rows).save(path)
    assert np.array_equal(read_indices(path), rows)


def test_r11_what_is_no_image_says_what_it_is(tmp_path: Path) -> None:
    """Other formats under another name, and what a download may leave."""
    path = tmp_path / "disguised.jpg"
    contents = [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"<!DOCTYPE html>", "it is HTML"),
        (b"no image at all", "a readable image;"),
    ]
    for kind in ("GIF", "EPS", "ICO", "PPM"):
        contents.append((packed(np.zeros((4, 4, 3), np.uint8), format=kind), "image"))
    for content, words in contents:
        path.write_bytes(content)
        refused(path, f"not .*{words}.* JPEG, PNG, WebP, BMP and TIFF are read")
        with pytest.raises(InputError, match="not a readable image"):
            image_header(path)


def test_r11_animations_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    """Telephones write JPEGs with further pictures (MPO); every program shows the first."""
    image, other = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    image.save(tmp_path / "a.png", save_all=True, append_images=[other])
    refused(tmp_path / "a.png", "animation")
    image.save(tmp_path / "one.jpg")
    image.save(tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[other])
    assert np.array_equal(read_image(tmp_path / "two.jpg"), read_image(tmp_path / "one.jpg"))


def test_r11_what_is_no_regular_file_is_not_opened(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # opening one waits for ever
    for name in ("folder.png", "pipe.png"):
        refused(tmp_path / name, "not a file")
    for name in ("gone.png", "a\0b.png", "x" * 300 + ".png"):
        refused(tmp_path / name)
    path = tmp_path / "a.png"
    path.write_bytes(packed(pixels, format="PNG"))
    with path.open("ab") as stream:
        stream.truncate(MAX_BYTES + 1)  # a hole, which takes no room
    refused(path, f"at most {MAX_BYTES} are read")


@pytest.mark.parametrize("side", [12_000, 13_500])
def test_r11_absurdly_large_images_are_not_decoded(tmp_path: Path, side: int) -> None:
    """Above the limit, and so far above it that PIL refuses as well: a small file of one colour."""
    rows = zlib.compressobj(1)
    data = b"".join(rows.compress(b"\0" + bytes([77]) * side) for _ in range(side)) + rows.flush()
    path = tmp_path / "huge.png"
    path.write_bytes(header(side, side, 8, 0) + chunk(b"IDAT", data) + chunk(b"IEND"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_image, read_indices, image_header):
        with pytest.raises(InputError, match=r"huge\.png: .*pixels"):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "in KiB"


def test_r11_hundreds_of_damaged_files_end_in_an_array_or_a_refusal(
    tmp_path: Path, pixels: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    """And without a word of a decoder on standard error."""
    exif, pixels = Image.Exif(), np.tile(pixels, (8, 8, 1))
    exif[0x0112] = 6
    kinds = [*KINDS.values(), {"format": "JPEG", "exif": exif}, {"format": "PNG", "exif": exif}]
    wholes = [packed(pixels, **kind) for kind in kinds] + [packed(pixels[..., 0], format="PNG")]
    rng, path, outcomes = np.random.default_rng(0), tmp_path / "a.png", []
    for number in range(420):
        path.write_bytes(damaged(wholes[number % len(wholes)], rng))
        for read in (read_image, read_indices, read_valid):
            try:
                found = read(path)
            except InputError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
                outcomes.append("refused")
            else:
                assert found.dtype == np.uint8 and found.ndim == 2 + (read is read_image)
                assert image_size(path) == found.shape[:2]
                outcomes.append("read")
    assert capfd.readouterr().err == "" and outcomes.count("read") > 20


@pytest.mark.parametrize(
    "options", [{}, {"planarconfig": "separate"}, {"tile": (16, 16)}, {"compression": "zlib"}]
)
def test_r11_a_cut_off_tiff_is_refused(
    tmp_path: Path, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """The sources that index scripts convert; of pages that are gone tifffile only says so."""
    path = tmp_path / "a.tif"
    bands = np.random.default_rng(0).integers(0, 256, (6, 64, 48), dtype=np.uint8)
    tifffile.imwrite(path, bands, photometric="minisblack", **options)
    assert np.array_equal(read_tiff(path), np.moveaxis(bands, 0, -1))
    content = path.read_bytes()
    for share in (0.0, 0.02, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=r"a\.tif: not a readable TIFF"):
            read_tiff(path)
    assert capfd.readouterr().err == ""


# ---- the commands

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "train/train_000.jpg": lambda b: b[: len(b) // 2],
    "train/train_001.jpg": lambda b: b[: len(b) // 2] + b"\xff\xd9",
    "train/train_002.jpg": lambda b: b"",
    "train/train_003.jpg": lambda b: b"GIF89a" + b[6:],
    "val/val_000.jpg": lambda b: (
        header(20_000, 20_000, 8, 2) + chunk(b"IDAT", b"x") + chunk(b"IEND")
    ),
    "trainannot/train_004.png": lambda b: b[:-20],
    "valannot/val_001.png": lambda b: b.replace(b"IDAT", b"IDAU", 1),
}


@pytest.fixture
def photos(world: Path, tmp_path: Path, camvid_tree: Tree) -> Path:
    """CamVid with JPEG images."""
    root = camvid_tree(world / f"photos_{tmp_path.name}")
    for path in [*root.glob("train/*.png"), *root.glob("val/*.png")]:
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return root


@pytest.mark.system
def test_r11_scan_lists_all_that_train_would_stop_at(photos: Path, warm: Warm) -> None:
    for name, damage in BROKEN.items():
        (photos / name).write_bytes(damage((photos / name).read_bytes()))
    data = ("data=camvid", f"data.root={photos.name}")
    done = warm.run("scan.py", *data, "workers=1", "out=r11.json", status=1)
    found = json.loads((warm.cwd / "r11.json").read_text())["findings"]
    unreadable = {f["file"] for f in found if f["kind"] == "unreadable"}
    assert unreadable == {f"{photos.name}/{name}" for name in BROKEN}
    for name in BROKEN:
        assert f"error: unreadable: {photos.name}/{name}: " in done.stdout
    stopped = warm.run("train.py", *TRAINED, data[1], "run=r11_none", "steps=2", status=2)
    assert "Traceback" not in done.stderr + stopped.stderr
    assert any(f"{photos.name}/{name}: " in stopped.stderr for name in BROKEN)
    assert not (warm.cwd / "r11_none").exists(), "headers are looked at before all else"


@pytest.mark.system
def test_r11_train_stops_at_a_broken_image_with_all_before_saved(photos: Path, warm: Warm) -> None:
    """Its header is whole, so that only a worker finds out. Mended, the same command goes on."""
    settings = (*TRAINED, f"data.root={photos.name}", "steps=4", "workers=2")
    data = load(DataConfig(name="camvid", root=str(photos)), "train")
    order = Stream(data, DataConfig(), ["x1"], seed=0).order(0)
    broken = data.samples[order[5]].x1
    step = 5 // 2  # of two images each, the steps that end before it is needed
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    stopped = warm.run("train.py", *settings, "run=r11", status=2)
    broken.write_bytes(whole)
    said = stopped.stderr.strip()
    assert said.startswith(f"error: {photos.name}/train/{broken.name}: ")
    assert "Premature end" in said and "\n" not in said
    saved, warnings = checkpoint.newest(warm.cwd / "r11/checkpoints")
    assert saved is not None and saved.step == step and not warnings
    assert [line["step"] for line in curve(warm.cwd / "r11")] == list(range(1, step + 1))
    warm.run("train.py", *settings, "run=r11")
    warm.run("train.py", *settings, "run=r11_straight")
    assert same(warm.cwd / "r11", warm.cwd / "r11_straight")
    assert curve(warm.cwd / "r11") == curve(warm.cwd / "r11_straight")
