"""Homographies by pair: the warp, what it leaves uncovered, and the loader that applies them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from textures import texture

from adapt.data import load
from adapt.data.images import IGNORE, read_image, write_png
from adapt.data.sampling import Decoder, check_sizes
from adapt.data.targets import of_old
from adapt.data.warp import COLUMNS, covered, read_transforms, resizing, warped
from adapt.disk.tables import csv_of
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

MATRIX = np.array([[1.02, -0.03, 6.4], [0.05, 0.98, -7.7], [1e-4, -5e-5, 1.0]])


def test_a_warp_is_opencvs_by_the_inverse_where_the_image_shows_something() -> None:
    image = texture(0, (60, 80))
    expected = cv2.warpPerspective(image, np.linalg.inv(MATRIX), (70, 50))
    inside = covered(MATRIX, (60, 80), (50, 70))
    inner = cv2.erode(inside, np.ones((3, 3), np.uint8)) == 1  # its border mixes with black there
    found = warped(image, MATRIX, (50, 70))
    assert inner.mean() > 0.6 and np.abs(found.astype(int) - expected)[inner].max() <= 1
    assert not found[inside == 0].any() and found[inside == 1].all()


def test_channels_and_16_bits_are_warped_alike() -> None:
    image = np.random.default_rng(0).integers(0, 60_000, (30, 40, 5), dtype=np.uint16)
    found = warped(image, MATRIX, (30, 40))
    singles = [warped(image[..., [k]], MATRIX, (30, 40)) for k in range(5)]
    assert singles[0].shape == (30, 40, 1) and found.dtype == np.uint16
    apart = found.astype(float) - np.concatenate(singles, axis=2)
    assert np.abs(apart).max() < 60_000 / 32  # of many channels OpenCV counts in 1/32 pixel


def test_what_is_covered_is_what_lies_within_the_source() -> None:
    y, x = np.indices((50, 70))
    u, v, w = np.tensordot(MATRIX, np.stack([x, y, np.ones_like(x)]), axes=1)
    within = (u / w > -0.5) & (u / w < 79.5) & (v / w > -0.5) & (v / w < 59.5)
    assert (covered(MATRIX, (60, 80), (50, 70)) != within).mean() < 0.01  # OpenCV counts in 1/32


def test_a_warp_that_shrinks_does_so_by_area() -> None:
    """Stripes of one pixel become grey instead of a pattern."""
    stripes = np.zeros((64, 96, 3), np.uint8)
    stripes[:, ::2] = 200
    found = warped(stripes, resizing((16, 24), (64, 96)), (16, 24))
    assert np.abs(found.astype(int) - 100).max() <= 1


@pytest.fixture
def pairs(tmp_path: Path) -> DataConfig:
    """Two pairs with labels: the second x2 is larger, and has labels of its own in `NEW_LABELS`."""
    for number, (old, new) in enumerate([((40, 56), (40, 56)), ((40, 56), (80, 112))]):
        write_png(tmp_path / "OLD" / f"{number}.png", texture(number, old))
        write_png(tmp_path / "NEW" / f"{number}.png", texture(9 + number, new))
        write_png(tmp_path / "LABELS" / f"{number}.png", np.full(old, number, np.uint8))
    return DataConfig(
        name="pairs",
        root=str(tmp_path / "OLD"),
        target=str(tmp_path / "NEW"),
        labels=str(tmp_path / "LABELS"),
        classes=["a", "b"],
        transforms=str(tmp_path / "alignment.csv"),
        flip=False,
    )


SHIFT = [1.0, 0, 10, 0, 1, 0, 0, 0, 1]
LARGER = [2.0, 0, 0.5, 0, 2, 0.5, 0, 0, 1]


def write_table(config: DataConfig, *rows: list[object]) -> None:
    Path(config.transforms).write_text(csv_of([COLUMNS, *rows]))


def test_the_loader_warps_x2_and_says_where_it_shows_nothing(pairs: DataConfig) -> None:
    write_table(pairs, ["1.png", "1.png", 0, *LARGER, 0.1], ["0.png", "0.png", 1, *SHIFT, 0.9])
    data = load(pairs, "train")
    check_sizes(data, pairs, ["x1", "x2", "y2"])
    read = Decoder(data, pairs, ["x1", "x2", "y2", "valid"])
    shifted, larger = (read(sample) for sample in data.samples)
    x2 = read_image(data.samples[0].x2 or Path())
    np.testing.assert_array_equal(shifted["x2"][:, :46], x2[:, 10:])
    np.testing.assert_array_equal(shifted["valid"], np.arange(56) < 46 + np.zeros((40, 1), int))
    assert set(np.unique(shifted["y"][:, 46:])) == {IGNORE} and not shifted["y"][:, :46].any()
    big = read_image(data.samples[1].x2 or Path())
    halved = cv2.resize(big, (56, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(larger["x2"].astype(int) - halved).max() <= 1 and larger["valid"].all()
    alone = Decoder(data, pairs, ["x2"])(data.samples[0])  # as evaluation reads it
    np.testing.assert_array_equal(alone["x2"], shifted["x2"])
    assert alone.keys() == {"x2"}
    assert [s.x1 for s in load(of_old(pairs), "train").samples] == [s.x1 for s in data.samples]


def test_labels_of_x2_move_with_it(pairs: DataConfig) -> None:
    write_table(pairs, *([f"{n}.png", f"{n}.png", 1, *SHIFT, 1.0] for n in (0, 1)))
    data = load(pairs, "train")
    own = Path(pairs.root).parent / "own.png"
    write_png(own, np.tile(np.arange(56, dtype=np.uint8) // 28, (40, 1)))
    data = replace(data, samples=(replace(data.samples[0], y2=own),))
    found = Decoder(data, pairs, ["x2", "y2"])(data.samples[0])["y"]
    expected = np.repeat([0, 1, IGNORE], [18, 28, 10])
    np.testing.assert_array_equal(found, np.tile(expected, (40, 1)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["0.png", "0.png", 1, *SHIFT, 1.0]], r"has no row for 1 of 2 pairs: 1; its columns"),
        ([["0.png", "0.png", 1, *SHIFT[:-1], "", 1.0]], r"csv:2: not a homography .* h22 $"),
        ([["0.png", "0.png", 1, *[0] * 8, 1, 1.0]], "csv:2: not a homography that can be inverted"),
    ],
)  # fmt: skip
def test_tables_that_lack_something_are_refused(
    pairs: DataConfig, rows: list[list[object]], message: str
) -> None:
    write_table(pairs, *rows)
    with pytest.raises(InputError, match=message):
        load(pairs, "train")


def test_a_table_without_its_columns_is_refused(pairs: DataConfig) -> None:
    path = Path(pairs.transforms)
    path.write_text("x1,x2,h00\n")
    with pytest.raises(InputError, match=r"alignment.csv: the header lacks h01, h02, h10"):
        read_transforms(path)
