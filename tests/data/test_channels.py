"""Images of 16 bits and of any number of channels, from the file to what a network sees."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

import adapt
from adapt.data import Sample, load
from adapt.data.augment import PairedAugmentation, resize
from adapt.data.images import as_rgb, png, read_image, read_mask, write_png
from adapt.data.objects import Pairs, offer
from adapt.data.sampling import Stream, check_sizes, collate
from adapt.data.warp import warped
from adapt.errors import InputError
from adapt.evaluation.restyle import fda, histogram
from adapt.networks.preprocessing import normalise
from adapt.scan.command import check
from adapt.settings.commands import DistortConfig, ScanConfig
from adapt.settings.groups import DataConfig, NetworkConfig, ShiftConfig
from adapt.shift.distort import make_distorted

RNG = np.random.default_rng(2)


def scenes(folder: Path, count: int, channels: int, kind: type = np.uint16) -> list[np.ndarray]:
    """Smooth images (24, 32, C), as TIFFs in a new folder."""
    folder.mkdir()
    high, made = np.iinfo(kind).max, []
    for number in range(count):
        coarse = [RNG.random((3, 4)).astype(np.float32) for _ in range(channels)]
        image = np.dstack([cv2.resize(part, (32, 24)) for part in coarse])
        made.append((image * high).astype(kind))
        path = folder / f"{number}.tif"
        tifffile.imwrite(path, made[-1], photometric="minisblack", planarconfig="contig")
    return made


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_sizes_and_augmentation_treat_each_channel_like_an_image_of_its_own(
    channels: int, kind: type
) -> None:
    high = np.iinfo(kind).max
    coarse = (RNG.random((5, 6)).astype(np.float32) for _ in range(channels))
    image = (np.dstack([cv2.resize(part, (40, 30)) for part in coarse]) * high).astype(kind)
    config = DataConfig(
        crop=[26, 44], scale=[0.7, 1.3], rotate=20, blur_x1=1.5, jitter_x1=0.3 * (channels == 1)
    )
    augment = PairedAugmentation(config)
    for change in (
        lambda a: resize({"x1": a}, [15, 20])["x1"],
        lambda a: resize({"x1": a}, [45, 66])["x1"],
        lambda a: warped(a, np.array([[0.9, 0.1, 3.2], [0, 1.1, -1.5], [0, 0, 1]]), (28, 33)),
        lambda a: warped(a, np.diag([2.5, 2.5, 1]), (12, 16)),
        lambda a: augment({"x1": a}, 5)["x1"],
        lambda a: augment({"x1": a}, 6)["x1"],
    ):
        found = change(image)
        apart = np.dstack([change(image[..., i : i + 1]) for i in range(channels)])
        assert found.dtype == kind and found.shape[2] == channels
        assert np.abs(found.astype(int) - apart).max() <= 8 * high / 255


@pytest.mark.parametrize("key", ["x1", "x2"])
def test_colours_that_are_none_are_not_changed(key: str) -> None:
    augment = PairedAugmentation(DataConfig(**{f"jitter_{key}": 0.2}))
    with pytest.raises(InputError, match=rf"data\.jitter_{key} changes .*; {key} has 4 channels"):
        augment({key: np.zeros((8, 8, 4), np.uint8)}, 0)


def test_16_bits_are_augmented_and_normalised_as_the_same_picture_of_8(tmp_path: Path) -> None:
    """257 times a value of 8 bits is the same share of all; also both in one batch."""
    for side in ("old", "new"):
        (tmp_path / side).mkdir()
    for name in "abcd":
        image = cv2.resize(RNG.integers(0, 256, (5, 6, 3)).astype(np.uint8), (40, 30))
        write_png(tmp_path / "old" / f"{name}.png", image)
        deep = image.astype(np.uint16) * 257
        content = cv2.imencode(".png", deep[..., ::-1])[1].tobytes() if name < "c" else png(image)
        (tmp_path / "new" / f"{name}.png").write_bytes(content)
    config = DataConfig(
        "pairs", str(tmp_path / "old"), str(tmp_path / "new"), crop=[20, 24], scale=[0.8, 1.2],
        jitter_x1=0.0, resize=[28, 36],
    )  # fmt: skip
    stream = Stream(load(config, "train"), config, ["x1", "x2"], seed=3)
    batch = collate([stream[place] for place in range(4)])
    assert batch["x1"].dtype == torch.uint8 and batch["x2"].dtype == torch.uint16
    old, new = (normalise(batch[key], NetworkConfig()) for key in ("x1", "x2"))
    assert torch.allclose(old, new, atol=0.6 / 255 / 0.22 * 2)
    plain = NetworkConfig(mean=[0.0] * 3, std=[1.0] * 3)
    assert torch.equal(
        normalise(torch.full((1, 3, 1, 1), 7, dtype=torch.uint8), plain),
        normalise(torch.full((1, 3, 1, 1), 7 * 257).to(torch.uint16), plain),
    )


def test_sides_have_bands_and_ranges_of_their_own(tmp_path: Path) -> None:
    old, new = scenes(tmp_path / "old", 3, 3, np.uint8), scenes(tmp_path / "new", 3, 5)
    config = DataConfig(
        "pairs", str(tmp_path / "old"), str(tmp_path / "new"), flip=False, bands=[3, 2, 1],
        bands_x2=[5, 1, 2], range_x2=[0, 32_767], cache=True,
    )  # fmt: skip
    stream = Stream(load(config, "train"), config, ["x1", "x2"], seed=0)
    for place in (0, 1, 2, 3, 4, 5):
        item = stream[place]
        number = int(item["name"])
        assert np.array_equal(item["x1"].permute(1, 2, 0), old[number][..., ::-1])
        wanted = np.minimum(new[number][..., [4, 0, 1]] * (65_535 / 32_767), 65_535).round()
        assert np.array_equal(item["x2"].permute(1, 2, 0), wanted)
    with pytest.raises(InputError, match=r"new.*5 bands; data\.bands=\[3, 2, 9\]"):
        read_image(tmp_path / "new" / "0.tif", [3, 2, 9])


def test_what_is_not_used_is_said_once_with_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = []
    for name in "abc":
        image = RNG.integers(0, 256, (8, 8, 4 if name < "c" else 3), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        samples.append(Sample(name, tmp_path / f"{name}.png"))
    data = adapt.data.DataSet("mine", "train", (), (), tuple(samples))
    check_sizes(data, DataConfig(), ["x1"])
    said = capsys.readouterr().out
    assert said == f"mine: 2 files have an alpha channel; it is not used (first: {samples[0].x1})\n"
    check_sizes(replace(data, samples=data.samples[:2]), DataConfig(bands=[4, 1, 2]), ["x1"])
    assert not capsys.readouterr().out


@pytest.mark.parametrize("make", [histogram, fda])
def test_restyling_works_channel_by_channel_and_across_depths(make: Any) -> None:
    """New images that are old ones at half the brightness, in 16 bits, come back."""
    old = [cv2.resize(RNG.integers(0, 256, (4, 4, 3)).astype(np.uint8), (32, 24)) for _ in "ab"]
    old = [np.dstack([image, image[..., :1]]) for image in old]
    new = [image.astype(np.uint16) * 128 for image in old]
    found = make(old, new, 0.1)(new[0])
    before = np.abs(new[0] / 65_535 - old[0] / 255).mean()
    after = np.abs(found / np.iinfo(found.dtype).max - old[0] / 255).mean()
    assert found.shape == (24, 32, 4) and after < 0.5 * before
    with pytest.raises(InputError, match="some images have 8 bits a value, others 16"):
        make([old[0], new[0]], new, 0.1)


def test_a_scan_knows_bands_depths_and_what_is_unused(tmp_path: Path) -> None:
    """Two bands of one file are no pair of equal images, and a dark 12-bit camera is told."""
    bands = scenes(tmp_path / "old", 20, 4)
    for number, image in enumerate(bands):
        rgba = np.dstack([as_rgb(image), as_rgb(image)[..., 0]])
        Image.fromarray(rgba).save(tmp_path / "old" / f"a{number}.png")
        tifffile.imwrite(tmp_path / "old" / f"{number}.tif", image >> 4, photometric="minisblack",
                         planarconfig="contig")  # fmt: skip
    rows = [f"old/{i}.tif,old/{i}.tif" for i in range(20)]
    (tmp_path / "list.csv").write_text("\n".join(["x1,x2", *rows]))
    data = DataConfig("pairs", pairs=str(tmp_path / "list.csv"), bands=[1], bands_x2=[4])
    findings, summary = check(ScanConfig(data=data, workers=1))
    assert [f.line for f in findings if f.kind in ("unshifted", "unreadable")] == []
    assert summary["modes"] == {"image TIFF 4 x uint16": 20}
    dark = [f.remedy.split()[1] for f in findings if f.kind == "range"]
    assert dark == ["data.range=[0,4095]", "data.range_x2=[0,4095]"]
    data = replace(data, pairs="", root=str(tmp_path / "old"), bands_x2=[])
    findings, _ = check(ScanConfig(data=replace(data, bands=[]), workers=1, pairs=False))
    kinds = [f.kind for f in findings]
    assert kinds.count("unreadable") == 20 and kinds.count("ignored") == 1


def test_labels_of_colours_are_read_and_move_with_their_images(tmp_path: Path) -> None:
    """What a filter moved is again a picture of these colours, with void where it shows nothing."""
    colours, values = [[9, 9, 9], [200, 0, 0], [0, 0, 7]], RNG.integers(0, 3, (24, 32))
    values[:4] = 2
    for folder, pixels in (
        ("old", RNG.integers(0, 256, (24, 32, 3), np.uint8)),
        ("labels", np.array(colours, np.uint8)[values]),
    ):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "a.png", pixels)
    config = DataConfig(
        "pairs", str(tmp_path / "old"), labels=str(tmp_path / "labels"), classes=["a", "b"],
        colors=colours, void=[2], flip=False,
    )  # fmt: skip
    data = load(config, "train")
    assert np.array_equal(Stream(data, config, ["y1"], 0)[0]["y"], np.array([0, 1, 255])[values])
    shift = ShiftConfig("ripple", {"amplitude": 6.0, "abyss_policy": "black"})
    given = DistortConfig(config, shift, out=str(tmp_path / "new"), labels="moved", workers=1)
    make_distorted(given)
    moved = next(p for p in (tmp_path / "new").rglob("*.png") if Image.open(p).mode == "P")
    found = read_mask(moved, 2, [2], (), colours)
    assert set(np.unique(found)) == {0, 1, 255} and not np.array_equal(found, values)
    with pytest.raises(InputError, match=r"labels would get 255 .* no colour in data\.colors"):
        make_distorted(replace(given, data=replace(config, void=[])))
    with pytest.raises(InputError, match=r"data\.colors has 2 colours, .* up to 2"):
        load(replace(config, colors=colours[:2]), "train")


def test_filters_that_are_for_rgb_refuse_others_by_name(tmp_path: Path) -> None:
    scenes(tmp_path / "deep", 1, 3)
    scenes(tmp_path / "bands", 1, 4, np.uint8)
    given = DistortConfig(shift=ShiftConfig("photocopy"), out=str(tmp_path / "out"), workers=1)
    for folder, bands, words in (
        ("deep", [], "3 channels of uint16"), ("bands", [1, 2, 3, 4], "4 channels of uint8")
    ):  # fmt: skip
        data = DataConfig("pairs", str(tmp_path / folder), bands=bands)
        with pytest.raises(InputError, match=rf"0\.tif: photocopy is for 8-bit RGB; .* {words}"):
            make_distorted(replace(given, data=data, out=str(tmp_path / f"out_{folder}")))


def test_objects_of_python_go_the_way_of_files(tmp_path: Path) -> None:
    """Arrays keep their channels, Pillow's images are as files of their mode."""
    deep = RNG.integers(0, 65_536, (8, 9, 4)).astype(np.uint16)
    grey = Image.fromarray(deep[..., 0] >> 8).convert("L")
    items = [(deep, torch.from_numpy(deep).permute(2, 0, 1)), (grey, grey.convert("LA"))]
    config = replace(DataConfig("pairs", flip=False), pairs=offer(Pairs(items)))
    stream = Stream(load(config, "train"), config, ["x1", "x2"], seed=0)
    found = {item["name"]: item for item in (stream[0], stream[1])}
    for side in ("x1", "x2"):
        assert np.array_equal(found["00000000"][side].permute(1, 2, 0), deep)
        assert np.array_equal(found["00000001"][side].permute(1, 2, 0), np.dstack([grey] * 3))
    config = replace(config, bands_x2=[4, 1], range_x2=[0, 100])
    item = Stream(load(config, "train"), config, ["x1", "x2"], seed=0).decode(
        load(config, "train").samples[0]
    )
    wanted = np.minimum(deep[..., [3, 0]] * 655.35, 65_535).round()
    assert np.array_equal(item["x1"], deep) and np.array_equal(item["x2"], wanted)
    items[0] = (deep.astype(np.int32), deep)
    with pytest.raises(InputError, match=r"pairs\[00000000\]: x1: is int32 .*data\.range"):
        Stream(load(config, "train"), config, ["x1"], seed=0).decode(
            load(config, "train").samples[0]
        )


def test_pictures_of_any_image(tmp_path: Path) -> None:
    image = RNG.integers(0, 65_536, (4, 5, 6)).astype(np.uint16)
    assert np.array_equal(as_rgb(image), image[..., :3] >> 8)
    assert np.array_equal(as_rgb(image[..., :2]), image[..., [0, 1, 1]] >> 8)
    assert as_rgb(image[..., :1].astype(np.float32)).max() == 255


def test_a_network_of_four_channels_is_adapted_alike_from_8_and_16_bits(tmp_path: Path) -> None:
    """Near infrared as a fourth band, from files to the verdict and its pictures."""
    for side in ("old", "new"):
        (tmp_path / f"{side}16").mkdir()
        for number, image in enumerate(scenes(tmp_path / side, 12, 4, np.uint8)):
            deep, path = image.astype(np.uint16) * 257, tmp_path / f"{side}16" / f"{number}.tif"
            tifffile.imwrite(path, deep, photometric="minisblack", planarconfig="contig")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 1))
    curves: list[list[float]] = [[], []]
    results = [
        adapt.fit(
            net, (tmp_path / f"old{bits}", tmp_path / f"new{bits}"), taps=["1"], steps=3, batch=2,
            mean=[0.5] * 4, std=[0.25] * 4, device="cpu", lr=0.1,
            on_step=lambda done, curve=curve: curve.append(done["loss"]),
            settings={"data.bands": [1, 2, 3, 4], "precision": "fp32"},
        )
        for bits, curve in zip(("", "16"), curves, strict=True)
    ]  # fmt: skip
    assert np.allclose(*curves, rtol=1e-5) and len(curves[0]) == 3
    assert str(results[0].verdict) == str(results[1].verdict)
    with pytest.raises(InputError, match=r"images have 3 channel\(s\), .*data\.bands says"):
        adapt.fit(net, (tmp_path / "old", tmp_path / "new"), taps=["1"], steps=1, device="cpu",
                  mean=[0.5] * 4, std=[0.25] * 4, settings={"data.bands": [1, 2, 3]})  # fmt: skip
