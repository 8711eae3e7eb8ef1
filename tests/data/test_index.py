"""Index scripts of public paired sets, on small trees of their layouts."""

import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from adapt.data import DataSet, load
from adapt.data.images import IGNORE, read_image, read_indices, read_mask
from adapt.data.tiff import read_tiff
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = ("acdc", "vkitti2", "nlcd", "flair", "msrs", "mfnet", "cwfid")
RNG = np.random.default_rng(0)
Index = Callable[..., str]


def saved(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return pixels


def noise(path: Path, *shape: int, values: int = 256) -> np.ndarray:
    return saved(path, RNG.integers(0, values, shape or (20, 30, 3), dtype=np.uint8))


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Index:
    """Runs a script; what it prints, or says of an error."""

    def run(script: str, root: Path, *options: str, ok: bool = True) -> str:
        path = SCRIPTS / f"index_{script}.py"
        monkeypatch.setattr(sys, "argv", [str(path), str(root), *options])
        monkeypatch.setattr(sys, "path", [*sys.path])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            assert not ok and end.code == 2
        said = capsys.readouterr()
        assert bool(said.err) != ok, said.err
        return said.out if ok else said.err

    return run


def read(root: Path, classes: int) -> DataSet:
    names = [f"class {i}" for i in range(classes)]
    return load(DataConfig(name="pairs", pairs=str(root / "pairs.csv"), classes=names), "all")


def test_acdc(index: Index, tmp_path: Path) -> None:
    for condition in ("fog", "night", "rain", "snow"):
        for number in range(2):
            name = f"GOPR0475_frame_{number:06d}"
            noise(tmp_path / f"rgb_anon/{condition}/train/GOPR0475/{name}_rgb_anon.png")
            noise(tmp_path / f"rgb_anon/{condition}/train_ref/GOPR0475/{name}_rgb_ref_anon.png")
            for part, kind in (("train", "gt"), ("train_ref", "gt_ref")):
                label = tmp_path / f"gt/{condition}/{part}/GOPR0475/{name}_{kind}_labelTrainIds.png"
                noise(label, 20, 30, values=19)
    said = index("acdc", tmp_path)
    assert "8 pairs, 8 with labels" in said and 'data.classes=["road","sidewalk",' in said
    data = read(tmp_path, 19)
    for sample in data.samples:
        assert "_ref/" in str(sample.x1) and "_ref/" not in str(sample.x2)
        assert sample.x2 is not None and sample.y2 is not None and sample.y2 != sample.y1
        assert sample.x1.name.split("_rgb")[0] == sample.x2.name.split("_rgb")[0]
        assert read_mask(sample.y2, 19).max() < 19
    assert "2 pairs" in index("acdc", tmp_path, "--condition", "night")
    next((tmp_path / "rgb_anon/fog/train_ref").rglob("*.png")).unlink()
    assert "its clear partner is missing" in index("acdc", tmp_path, ok=False)


def test_virtual_kitti_2(index: Index, tmp_path: Path) -> None:
    colours = np.array([(210, 0, 200), (255, 127, 80), (0, 0, 0)], np.uint8)
    for number in range(3):
        for variation in ("clone", "fog"):
            noise(tmp_path / f"Scene01/{variation}/frames/rgb/Camera_0/rgb_{number:05d}.jpg")
        ids = RNG.integers(0, 3, (20, 30))
        ids[0, :3] = range(3)
        label = f"Scene01/clone/frames/classSegmentation/Camera_0/classgt_{number:05d}.png"
        saved(tmp_path / label, colours[ids])
    assert "3 pairs, 3 with labels" in index("vkitti2", tmp_path)
    sample = read(tmp_path, 14).samples[2]
    assert "/clone/" in str(sample.x1) and "/fog/" in str(sample.x2) and sample.y1 is not None
    assert np.array_equal(read_mask(sample.y1, 14), np.array([0, 12, IGNORE])[ids])
    assert "turns the camera" in index("vkitti2", tmp_path, "--variation", "15-deg-left", ok=False)
    assert "partner is missing" in index("vkitti2", tmp_path, "--variation", "rain", ok=False)


def test_nlcd_l(index: Index, tmp_path: Path) -> None:
    codes = np.array([0, 11, 41, 95], np.uint8)
    for place in ("0000005", "0000009"):
        scene = f"{place}/LE07_{place}"
        old = noise(tmp_path / f"ssl4eo_l_etm_sr_benchmark/{scene}/all_bands.tif", 6, 16, 18)
        other = f"ssl4eo_l_oli_sr_benchmark/{place}/LC08_{place}/all_bands.tif"
        new = noise(tmp_path / other, 7, 16, 18)
        ids = RNG.integers(0, 4, (16, 18))
        saved(tmp_path / f"ssl4eo_l_etm_nlcd/{scene}/nlcd_2019.tif", codes[ids])
    said = index("nlcd", tmp_path)
    assert "2 pairs, 2 with labels" in said
    words = shlex.split(said.split("Next:")[1])[2:-2]
    given = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(words)}
    assert len(given["data.classes"]) == 20, "names with commas are one class each"
    sample = read(tmp_path, 20).samples[1]
    assert sample.x2 is not None and sample.y1 is not None
    assert np.array_equal(read_image(sample.x1), np.moveaxis(old[[2, 1, 0]], 0, -1))
    assert np.array_equal(read_image(sample.x2), np.moveaxis(new[[3, 2, 1]], 0, -1))
    assert np.array_equal(read_mask(sample.y1, 20), np.array([IGNORE, 0, 7, 19])[ids])
    mask = next((tmp_path / "ssl4eo_l_etm_nlcd").rglob("*.tif"))
    tifffile.imwrite(mask, np.full((16, 18), 33, np.uint8))
    for made in (tmp_path / "labels").iterdir():
        made.unlink()
    assert "33 is no NLCD code" in index("nlcd", tmp_path, ok=False)


def test_msrs(index: Index, tmp_path: Path) -> None:
    for name in ("00001D", "00002N"):
        for kind in ("vi", "ir"):
            noise(tmp_path / f"train/{kind}/{name}.png")
        noise(tmp_path / f"train/Segmentation_labels/{name}.png", 20, 30, values=9)
    said = index("msrs", tmp_path, "--time", "night")
    assert "1 pairs, 1 with labels" in said and 'data.classes=["unlabelled","car",' in said
    assert "2 pairs" in index("msrs", tmp_path)
    sample = read(tmp_path, 9).samples[1]
    assert sample.x2 is not None and sample.y1 == sample.y2
    assert (sample.x1.parent.name, sample.x2.parent.name) == ("vi", "ir")
    (tmp_path / "train/ir/00002N.png").unlink()
    assert "its thermal partner is missing" in index("msrs", tmp_path, ok=False)


def test_mfnet(index: Index, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("00001D\n00001D_flip\n00002N\n")
    for name in ("00001D", "00002N"):
        image = noise(tmp_path / f"images/{name}.png", 20, 30, 4)
        mask = noise(tmp_path / f"labels/{name}.png", 20, 30, values=9)
    assert "2 pairs, 2 with labels" in index("mfnet", tmp_path)
    sample = read(tmp_path, 9).samples[1]
    assert sample.x2 is not None and sample.y1 is not None and sample.y1 == sample.y2
    assert np.array_equal(read_image(sample.x1), image[..., :3])
    assert np.array_equal(read_image(sample.x2), np.repeat(image[..., 3:], 3, axis=2))
    assert np.array_equal(read_mask(sample.y1, 9), mask)
    (tmp_path / "x2/00002N.png").unlink()
    content = (tmp_path / "images/00002N.png").read_bytes()
    at = len(content) // 2  # a flipped byte, as of a bad disk
    damaged = content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
    (tmp_path / "images/00002N.png").write_bytes(damaged)
    assert "00002N.png: broken image" in index("mfnet", tmp_path, ok=False)
    (tmp_path / "train.txt").write_text("00003D\n")
    assert "no such file" in index("mfnet", tmp_path, ok=False)


def test_cwfid(index: Index, tmp_path: Path) -> None:
    """Red is found in the third channel and near infrared in the first, by what plants are."""
    colours = np.array([(0, 0, 0), (0, 255, 0), (255, 0, 0)], np.uint8)
    for name in ("001", "002"):
        image = noise(tmp_path / f"images/{name}_image.png")
        mask = RNG.integers(0, 3, (20, 30))
        image[mask > 0, 2] //= 4
        image[mask == 0, 0] //= 4
        saved(tmp_path / f"images/{name}_image.png", image)
        saved(tmp_path / f"annotations/{name}_annotation.png", colours[mask])
    said = index("cwfid", tmp_path)
    assert "red is channel 3 of the images, near infrared channel 1" in said
    assert "2 pairs, 2 with labels" in said and 'data.classes=["soil","crop","weed"]' in said
    sample = read(tmp_path, 3).samples[1]
    assert sample.x2 is not None and sample.y1 is not None and sample.y1 == sample.y2
    assert np.array_equal(read_image(sample.x1), np.repeat(image[..., 2:], 3, axis=2))
    assert np.array_equal(read_image(sample.x2), np.repeat(image[..., :1], 3, axis=2))
    assert np.array_equal(read_mask(sample.y1, 3), mask)
    (tmp_path / "annotations/002_annotation.png").unlink()
    assert "002 lacks its image or its annotation" in index("cwfid", tmp_path, ok=False)


def test_flair_hub(index: Index, tmp_path: Path) -> None:
    for row in range(2):
        patch = f"AA-S1-32_{row}-7"
        kinds = ("2021_AERIAL_RGBI", "195X_AERIAL-RLT_PAN", "2021_AERIAL_LABEL-COSIA")
        new, old, label = (tmp_path / f"D004-{k}/AA-S1-32/D004-{k}_{patch}.tif" for k in kinds)
        today, mask = noise(new, 512, 512, 4), noise(label, 512, 512, values=19)
        saved(old, np.full((256, 256), 40 * (row + 1), np.uint8))
    assert "2 pairs, 2 with labels" in index("flair", tmp_path)
    sample = read(tmp_path, 19).samples[1]
    assert sample.name.endswith("D004_AA-S1-32_1-7")
    assert sample.x2 is not None and sample.y1 is not None
    assert np.array_equal(read_image(sample.x1), today[..., :3])
    past = read_image(sample.x2)
    assert past.shape == (512, 512, 3) and set(np.unique(past)) == {80}
    assert np.array_equal(read_mask(sample.y1, 19), mask)
    made = (tmp_path / "x1/D004_AA-S1-32_0-7.png").stat().st_mtime_ns
    index("flair", tmp_path)
    assert (tmp_path / "x1/D004_AA-S1-32_0-7.png").stat().st_mtime_ns == made, "made once"
    spot = tmp_path / f"D004-2021_SPOT_RGBI/AA-S1-32/D004-2021_SPOT_RGBI_{patch}.tif"
    saved(spot, np.full((64, 64, 3), 7, np.uint8))
    assert "1 pairs" in index("flair", tmp_path, "--new", "spot")
    sample = read(tmp_path, 19).samples[0]
    assert sample.x2 is not None and set(np.unique(read_image(sample.x2))) == {7}, "not the past"


def test_pixels_that_do_not_belong_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the scripts' functions; whole trees of them are above."""
    photo, codes, two = (tmp_path / n for n in ("p.png", "codes.tif", "two.tif"))
    saved(photo, np.full((8, 12, 3), (1, 2, 3), np.uint8))
    saved(codes, np.full((8, 8), 99, np.uint8))
    saved(two, np.full((2, 8, 8), 99, np.uint8))
    monkeypatch.setattr(sys, "path", [*sys.path])
    scripts = {name: runpy.run_path(f"{SCRIPTS}/index_{name}.py") for name in NAMES}
    with pytest.raises(InputError, match=r"codes\.tif: values \[99\] are no class"):
        scripts["flair"]["indices"](codes)
    with pytest.raises(InputError, match=r"two\.tif: uint8 \(8, 8, 2\)"):
        scripts["nlcd"]["colours"](two, (2, 1, 0))
    with pytest.raises(InputError, match=r"p\.png: has colours that are no class"):
        scripts["vkitti2"]["indices"](photo)


def test_tiffs_need_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    for read in (read_tiff, read_image, read_indices):
        with pytest.raises(InputError, match=r"a\.tif: .*pip install '\.\[geo\]'"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("script", NAMES)
def test_an_empty_folder_is_named(index: Index, script: str, tmp_path: Path) -> None:
    assert str(tmp_path) in index(script, tmp_path, ok=False)
    assert not (tmp_path / "pairs.csv").exists()
