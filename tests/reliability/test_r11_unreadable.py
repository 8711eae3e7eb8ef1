"""R11: what cannot be read as a JPEG or PNG ends a run by its name; scan lists all of it before."""

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from campaigns.images import run
from PIL import Image
from pngs import chunk, header, png
from scans import command
from test_scripts import SMALL
from test_scripts import run as script
from tiny import curve, same

from adapt.data import load
from adapt.data.archives import MAX_BYTES
from adapt.data.images import image_header, image_size, read_image, read_indices
from adapt.data.sampling import Stream
from adapt.data.tiff import read_tiff
from adapt.disk import checkpoint
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

ROOT = Path(__file__).resolve().parents[2]
Tree = Callable[..., Path]


@pytest.fixture
def pixels() -> np.ndarray:
    """Non-square RGB (5, 9, 3) without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_r11_a_cut_off_file_is_refused_by_name(
    tmp_path: Path, pixels: np.ndarray, suffix: str, share: float
) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.tile(pixels, (8, 8, 1))).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"cut\.{suffix}"):
        read_image(path)


def test_r11_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: no such image"):
        read_image(tmp_path / "gone.png")


def refused(path: Path, words: str = ".") -> None:
    """By everything that reads images, with the path in front."""
    for read in (read_image, read_indices):
        with pytest.raises(InputError, match=words) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "EPS", "WEBP", "ICO", "PPM", "text"])
def test_r11_other_formats_in_disguise_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disguised.jpg"
    if kind == "text":
        path.write_text("no image at all")
    else:
        with path.open("wb") as stream:
            Image.new("RGB", (4, 4)).save(stream, format=kind)
    refused(path, r"disguised\.jpg: not a readable JPEG or PNG")
    with pytest.raises(InputError, match=r"disguised\.jpg: not a readable JPEG or PNG"):
        image_header(path)


def test_r11_what_a_download_may_leave_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for content, words in (
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "it is HTML"),
    ):
        path.write_bytes(content)
        refused(path, words)


@pytest.mark.parametrize("cut", [1, 4, 11, 12, 13, 30])
def test_r11_a_png_without_its_last_bytes_is_refused(
    tmp_path: Path, pixels: np.ndarray, cut: int
) -> None:
    """Pillow takes it as long as the pixels are there."""
    path = tmp_path / "cut.png"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-cut])
    refused(path, "cut off")
    with pytest.raises(InputError, match="cut off"):
        image_header(path)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_r11_a_jpeg_without_its_last_bytes_is_refused(
    tmp_path: Path, pixels: np.ndarray, cut: int
) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_r11_any_changed_byte_of_a_png_is_noticed(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises(InputError, match=r"a\.png"):
            read_image(path)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_r11_a_png_with_fewer_rows_than_its_header_says_is_refused(
    tmp_path: Path, interlaced: int
) -> None:
    """Pillow leaves them black, without a word."""
    rows = np.random.default_rng(0).integers(1, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(rows).save(tmp_path / "a.png")
    path = png(tmp_path / "a.png", [r.tobytes() for r in rows], 8, 8, 0, height=9)
    refused(path, "fewer rows")
    path.write_bytes(
        header(8, 8, 8, 0, interlaced)
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r.tobytes() for r in rows[:-1])))
        + chunk(b"IEND")
    )
    refused(path)


def test_r11_black_last_rows_are_no_missing_ones(tmp_path: Path, pixels: np.ndarray) -> None:
    pixels[-2:] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)


def test_r11_an_animation_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png", save_all=True, append_images=[image.rotate(90)])
    refused(tmp_path / "a.png", "animation")


def test_r11_a_picture_with_further_ones_behind_it_is_its_first(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    """Telephones write them (MPO); the first is what every program shows."""
    Image.fromarray(pixels).save(tmp_path / "one.jpg")
    second = Image.fromarray(255 - pixels)
    Image.fromarray(pixels).save(
        tmp_path / "two.jpg", format="MPO", save_all=True, append_images=[second]
    )
    assert np.array_equal(read_image(tmp_path / "two.jpg"), read_image(tmp_path / "one.jpg"))


def test_r11_neither_folders_nor_pipes_are_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # opening one waits for ever
    for name in ("folder.png", "pipe.png"):
        refused(tmp_path / name, "not a file")
    for name in ("a\0b.png", "x" * 300 + ".png"):
        refused(tmp_path / name)


@pytest.mark.parametrize("side", [12_000, 20_000])
def test_r11_absurdly_large_images_are_refused_before_they_are_decoded(
    tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit, and so far above it that PIL refuses as well."""
    path = tmp_path / "huge.png"
    path.write_bytes(header(side, side, 8, 0) + chunk(b"IDAT", b"x") + chunk(b"IEND"))

    def refuse(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    for read in (read_image, read_indices, image_header):
        with pytest.raises(InputError, match=r"huge\.png: .*pixels"):
            read(path)


MEMORY = """
import json, resource, sys
from pathlib import Path
from adapt.errors import InputError
from adapt.data.images import image_header, read_image, read_indices
from adapt.scan.measure import measure

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

found, before = {}, peak()
for path in map(Path, sys.argv[1:]):
    for read in (image_header, read_image, read_indices, lambda p: measure((p, "image", False))):
        try:
            read(path)
        except InputError as error:
            found[path.name] = str(error)
print(json.dumps({"refused": found, "grown": peak() - before}))
"""


def test_r11_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """One colour at 20,000x20,000, a text that unpacks to 16 MB, and a thousand chunks with a
    profile that does. Each is less than a megabyte, but for the first."""
    row = zlib.compressobj(9)
    data = b"".join(row.compress(b"\0" + bytes([77]) * 60_000) for _ in range(20_000)) + row.flush()
    files = {"colour.png": header(20_000, 20_000, 8, 2) + chunk(b"IDAT", data) + chunk(b"IEND")}
    bomb = zlib.compress(bytes(1 << 24), 9)
    small = chunk(b"IDAT", zlib.compress(b"\0\1" * 4)) + chunk(b"IEND")
    xmp = b"XML:com.adobe.xmp\0\1\0\0\0"
    files["text.png"] = header(1, 4, 8, 0) + chunk(b"iTXt", xmp + bomb) + small
    profile = chunk(b"iCCP", b"x\0\0" + bomb)
    files["profiles.png"] = header(1, 4, 8, 0) + 1001 * chunk(b"vpAg") + profile + small
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert len(content) < (1 << 20) or name == "colour.png"
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *(str(tmp_path / name) for name in files)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    assert found["refused"].keys() == files.keys()
    assert "pixels" in found["refused"]["colour.png"]
    assert found["grown"] < 64, found


def test_r11_profiles_and_texts_are_not_unpacked(tmp_path: Path, pixels: np.ndarray) -> None:
    """Pillow refuses these, though nobody needs what is in them."""
    bomb = zlib.compress(bytes(1 << 22))
    before = chunk(b"iCCP", b"x\0\0" + bomb) + chunk(b"zTXt", b"x\0\0" + bomb)
    path = png(tmp_path / "a.png", [r.tobytes() for r in pixels], 9, 8, 2, before, before)
    with pytest.raises(ValueError, match="too large"):
        Image.open(path).load()
    assert np.array_equal(read_image(path), pixels)


def test_r11_a_broken_profile_does_no_harm(tmp_path: Path, pixels: np.ndarray) -> None:
    """Pillow does not know a JPEG with half an ICC profile for an image."""
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path)
    plain, expected = path.read_bytes(), read_image(path)
    body = b"ICC_PROFILE\0"
    path.write_bytes(plain[:2] + struct.pack(">BBH", 0xFF, 0xE2, len(body) + 2) + body + plain[2:])
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(path)
    assert np.array_equal(read_image(path), expected)


def test_r11_a_file_of_gigabytes_is_not_read(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    with path.open("ab") as stream:
        stream.truncate(MAX_BYTES + 1)  # a hole, which takes no room
    refused(path, f"at most {MAX_BYTES} are read")


def test_r11_scans_without_end_are_not_decoded(tmp_path: Path, pixels: np.ndarray) -> None:
    """Each scan of a progressive JPEG is a pass over the whole image: minutes from a small file."""
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, progressive=True)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    assert read_image(path).shape == pixels.shape
    path.write_bytes(content[:last] + 250 * content[last:-2] + content[-2:])
    with pytest.raises(InputError, match="scans"):
        read_image(path)


def test_r11_a_header_is_read_without_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (7, 5)).save(tmp_path / name)

    def refuse(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert {image_size(tmp_path / name) for name in ("a.png", "a.jpg")} == {(5, 7)}


def tiff(path: Path, **options: Any) -> bytes:
    bands = np.random.default_rng(0).integers(0, 256, (6, 64, 48), dtype=np.uint8)
    tifffile.imwrite(path, bands, photometric="minisblack", **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    "options",
    [{}, {"planarconfig": "separate"}, {"tile": (16, 16)}, {"compression": "zlib"}],
    ids=["pages", "planes", "tiles", "packed"],
)
def test_r11_a_cut_off_tiff_is_refused(
    tmp_path: Path, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """The sources that index scripts convert; of pages that are gone tifffile only says so."""
    path = tmp_path / "a.tif"
    content = tiff(path, **options)
    assert read_tiff(path).shape == (64, 48, 6)
    for share in (0.0, 0.02, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=r"a\.tif: not a readable TIFF"):
            read_tiff(path)
    assert capfd.readouterr().err == ""


def test_r11_a_tiff_of_endless_pages_or_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)  # the page after it is itself
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif: pages in a circle"):
        read_tiff(path)
    struct.pack_into("<I", content, start + 2 + 12 * count, 0)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, entry)[0] in (256, 257):  # columns and rows
            struct.pack_into("<HHII", content, entry, content[entry] + 256, 4, 1, 60_000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="decodes to 3600000000 bytes"):
        read_tiff(path)


def test_r11_broken_files_in_hundreds(tmp_path: Path) -> None:
    """The campaign of tests/campaigns/images.py in short."""
    found = run(300, seed=7, workers=1, keep=tmp_path / "kept")
    assert found["count"] == 300 and found["failed"] == []
    assert found["reader"]["read_image: decoded"] > 10, "nothing but refusals proves little"


# ---- the commands

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "train/train_000.jpg": lambda b: b[: len(b) // 2],
    "train/train_001.jpg": lambda b: b[:-2],
    "train/train_002.jpg": lambda b: b"",
    "train/train_003.jpg": lambda b: b"GIF89a" + b[6:],
    "val/val_000.jpg": lambda b: (
        header(20_000, 20_000, 8, 2) + chunk(b"IDAT", b"x") + chunk(b"IEND")
    ),
    "trainannot/train_004.png": lambda b: b[:-1],
    "valannot/val_001.png": lambda b: b.replace(b"IDAT", b"IDAU", 1),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, camvid_tree: Tree) -> Path:
    """CamVid with JPEG images."""
    root = camvid_tree(tmp_path_factory.mktemp("r11") / "photos")
    for path in [*root.glob("train/*.png"), *root.glob("val/*.png")]:
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return root


@pytest.mark.system
def test_r11_scan_lists_all_that_train_would_stop_at(photos: Path) -> None:
    whole = {name: (photos / name).read_bytes() for name in BROKEN}
    place = photos.parent
    try:
        for name, damage in BROKEN.items():
            (photos / name).write_bytes(damage(whole[name]))
        done = command("data=camvid", "data.root=photos", "workers=2", cwd=place)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        found = json.loads((place / "scan.json").read_text())["findings"]
        unreadable = {f["file"] for f in found if f["kind"] == "unreadable"}
        assert unreadable == {f"photos/{name}" for name in BROKEN}
        for name in BROKEN:
            assert f"error: unreadable: photos/{name}: " in done.stdout
        stopped = script("train.py", "data=camvid", "data.root=photos", "run=runs/none",
                         "steps=2", *SMALL, cwd=place, ok=False)  # fmt: skip
        assert stopped.returncode == 2 and "Traceback" not in stopped.stderr
        assert any(f"photos/{name}: " in stopped.stderr for name in BROKEN)
        assert not (place / "runs/none").exists(), (
            "headers are looked at before anything is written"
        )
    finally:
        for name, content in whole.items():
            (photos / name).write_bytes(content)


@pytest.mark.system
def test_r11_train_stops_at_a_broken_image_with_all_steps_before_it_saved(photos: Path) -> None:
    """Its header is whole, so that only a worker finds out: no skipping, no second attempt. Mended,
    the same command goes on to what it would have been."""
    place = photos.parent
    settings = ["data=camvid", "data.root=photos", "steps=4", *SMALL, "workers=2", "log_every=1"]
    data = load(DataConfig(name="camvid", root=str(photos)), "train")
    order = Stream(data, DataConfig(), ["x1"], seed=0).order(0)
    broken = data.samples[order[5]].x1
    step = 5 // 2  # of two images each, the steps that end before it is needed
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    try:
        stopped = script("train.py", *settings, "run=runs/r", cwd=place, ok=False)
    finally:
        broken.write_bytes(whole)
    assert stopped.returncode == 2
    said = stopped.stderr.strip()
    assert said.startswith(f"error: photos/train/{broken.name}: ")
    assert "truncated" in said and "\n" not in said
    saved, warnings = checkpoint.newest(place / "runs/r/checkpoints")
    assert saved is not None and saved.step == step and not warnings
    assert [line["step"] for line in curve(place / "runs/r")] == list(range(1, step + 1))
    script("train.py", *settings, "run=runs/r", cwd=place)
    script("train.py", *settings, "run=runs/straight", cwd=place)
    assert same(place / "runs/r", place / "runs/straight")
    assert curve(place / "runs/r") == curve(place / "runs/straight")
