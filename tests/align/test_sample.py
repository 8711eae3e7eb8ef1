"""What a sample of pairs tells: where x2 lies, whether both show one scene, and how bright."""

import csv
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import settings_of
from textures import of_other_sensor, pair, texture, write_pairs

from adapt.align.estimate import Compared, Frame, estimate
from adapt.align.gradients import around, correlation, features, quarter
from adapt.align.models import moved_by
from adapt.align.sample import (
    GIVEN,
    GRID,
    LONGEST,
    Light,
    Look,
    Sampled,
    command,
    cure,
    doubts_of,
    light_of,
    misalignment,
    sampled,
)
from adapt.data import load
from adapt.data.images import write_png
from adapt.data.samples import Sample
from adapt.data.warp import COLUMNS
from adapt.settings.groups import DataConfig
from transforms.gegl_ripple import ripple

SIZE = (120, 160)
OFF = moved_by(12, -8)


def found_in(root: Path, **changes: Any) -> Sampled:
    places = {"root": str(root / "OLD"), "target": str(root / "NEW")}
    data = DataConfig(name="pairs", **places | changes)
    return sampled(load(data, "train").samples, data)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs whose x2 lies (12, -8) off x1, and the homographies that say so."""
    root = write_pairs(tmp_path_factory.mktemp("home"), [OFF] * 4, SIZE)
    with (root / "true.csv").open("w", newline="") as stream:
        rows = [(f"{n}.png", f"{n}.png", 1, *OFF.ravel(), 1) for n in range(4)]
        csv.writer(stream).writerows([COLUMNS, *rows])
    return root


@pytest.mark.parametrize(
    ("settings", "shift", "size"),
    [
        ({}, (12, -8), SIZE),
        ({"resize": [60, 80]}, (6, -4), (60, 80)),
        ({"resize": [120, 120]}, (9, -8), (120, 120)),
        ({"resize": [120, 120], "fit": "crop"}, (12, -8), (120, 120)),
        ({"resize": [160, 160], "fit": "pad"}, (12, -8), (160, 160)),
        ({"resize": [240], "crop": [64, 64]}, (24, -16), (240, 320)),
        ({"transforms": "true.csv"}, (0, 0), SIZE),
    ],
)
def test_an_offset_is_that_of_what_a_network_sees(
    home: Path, settings: dict[str, Any], shift: tuple[float, float], size: tuple[int, int]
) -> None:
    if "transforms" in settings:
        settings = {"transforms": str(home / "true.csv")}
    found = found_in(home, **settings).misalignment
    assert (found.pairs, found.accepted, found.size) == (4, 4, size)
    np.testing.assert_allclose(found.shift, shift, atol=0.5)
    assert found.systematic == any(shift) and found.deviation < 0.5


def compared(number: int, shift: tuple[int, int]) -> Compared:
    old, new = pair(number, moved_by(*shift), SIZE)
    found = estimate(old, new, np.eye(3))
    return Compared(Sample(str(number), Path()), Frame(SIZE, SIZE, SIZE), found)


def test_pairs_that_are_shaken_or_few_share_no_offset() -> None:
    shaken = misalignment([compared(n, (14 * (-1) ** n + 2, 0)) for n in range(6)])
    assert shaken.accepted == 6 and shaken.deviation > 10 and not shaken.systematic
    moved = [compared(n, (9, 5)) for n in range(4)]
    assert misalignment(moved).systematic and not misalignment(moved[:3]).systematic


@pytest.mark.parametrize("bent", [False, True], ids=["aligned", "rippled"])
def test_two_scenes_are_told_from_one_that_cannot_be_aligned(tmp_path: Path, bent: bool) -> None:
    """Of twelve pairs three get the x2 of another; then all do."""
    news = []
    for number in range(12):
        image = texture(number, SIZE)
        write_png(tmp_path / f"OLD/{number:02d}.png", image)
        image = ripple(image, amplitude=8.0, period=40.0) if bent else image
        news.append(of_other_sensor(image, number))

    def with_partners(order: list[int]) -> Sampled:
        for number, other in enumerate(order):
            write_png(tmp_path / f"NEW/{number:02d}.png", news[other])
        return found_in(tmp_path)

    right = with_partners([*range(12)])
    assert right.misalignment.accepted == 12 or (bent and right.misalignment.accepted < 3)
    assert right.strange == [] and right.doubt == 0 and "none seems" in right.content
    some = with_partners([0, 6, 2, 3, 4, 5, 9, 7, 8, 1, 10, 11])
    assert some.strange == ["01", "06", "09"] and not some.lost
    assert some.content == "these seem to show two scenes: 01, 06, 09"
    every = with_partners([*range(5, 12), *range(5)])
    assert every.lost and every.doubt is not None and every.doubt > 0.25
    assert "the names do not belong together" in every.content


def test_doubts_are_those_of_a_loop() -> None:
    """Of ten pairs, two of one x1, whose second images do not count for each other."""
    looks = []
    for number in range(10):
        scene = min(number, 8)
        images = (texture(n, GRID) for n in (scene, scene if number % 3 else 40 + number))
        nothing = replace(compared(0, (0, 0)), sample=Sample(str(number), Path(str(scene))))
        first, second = map(features, images)
        looks.append(Look(nothing, (GRID, GRID), (Light(0, 0, 0),) * 2, (first, second)))
    fits = np.array(
        [
            [around(correlation(a.edges[0], b.edges[1]), quarter(a.edges[0])).max() for b in looks]
            for a in looks
        ]
    )
    expected = []
    for i in range(10):
        better, others = 0, 0
        for j in range(10):
            if min(i, 8) != min(j, 8):
                others += 2
                mine = fits[i, i] - fits[i].mean() - fits[:, i].mean()
                better += fits[i, j] - fits[i].mean() - fits[:, j].mean() > mine
                better += fits[j, i] - fits[j].mean() - fits[:, i].mean() > mine
        expected.append(better / others)
    np.testing.assert_allclose(doubts_of(looks), expected)
    assert max(expected) > 0.1 and min(expected) == 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_light_is_in_shares_of_the_range(kind: type) -> None:
    top = np.iinfo(kind).max
    image = np.zeros((8, LONGEST, 3), kind)
    image[:2], image[2:4] = top, top // 2
    found = light_of(image)
    assert (found.black, found.white) == (0.5, 0.25)
    assert found.mean == pytest.approx(0.375, abs=1 / 255)
    large = cv2.resize(image, None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST)
    assert light_of(large) == found


def test_the_command_has_the_settings_that_were_given() -> None:
    data = DataConfig(
        name="pairs", root="/a b/seed=3", target="NEW", bands=[4, 1, 2], range_x2=[0.5, 9.0],
        follow_links=True, resize=[60, 80], transforms="old.csv", share=0.5,
    )  # fmt: skip
    align, setting = cure(data)
    fra, name, *given = shlex.split(align)
    read = settings_of(name, *given)
    assert (fra, name, read.out, read.data.transforms) == ("fra", "align", "alignment", "")
    assert [getattr(read.data, f) for f in GIVEN] == [getattr(data, f) for f in GIVEN]
    assert setting == "data.transforms=alignment/alignment.csv"
    assert command("scan", DataConfig(name="scenes")) == "fra scan data=scenes"
