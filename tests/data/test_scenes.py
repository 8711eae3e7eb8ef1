"""The procedural scenes: determinism, masks, what tells the classes apart, the files."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from adapt.data import scenes
from adapt.data.scenes import BORDER, CLASSES, draw_scene, write_scenes
from adapt.errors import InputError

Scene = tuple[np.ndarray, np.ndarray]
Measure = Callable[[np.ndarray, np.ndarray], float]


@pytest.fixture(scope="module")
def many() -> list[Scene]:
    return [draw_scene(5, index) for index in range(80)]


def median_by_class(many: list[Scene], measure: Measure) -> dict[str, float]:
    """Median of a measure of (image, region) over the large inner objects of each class.

    A region is a boolean map (H, W) of one object without its outermost pixels.
    """
    values: dict[str, list[float]] = {name: [] for name in CLASSES[1:]}
    for image, mask in many:
        for label, name in enumerate(CLASSES[1:], start=1):
            region = mask == label
            outer = region[[0, -1]].any() or region[:, [0, -1]].any()
            if not outer and region.sum() > 250:
                values[name].append(measure(image, region))
    assert min(len(found) for found in values.values()) >= 5
    return {name: float(np.median(found)) for name, found in values.items()}


def luminance(image: np.ndarray, region: np.ndarray) -> float:
    return float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[region].mean())


def redness(image: np.ndarray, region: np.ndarray) -> float:
    return float(image[region, 0].mean() - image[region, 1].mean())


def solidity(image: np.ndarray, region: np.ndarray) -> float:
    """Share of the convex hull that the object fills."""
    hull = cv2.convexHull(np.argwhere(region).astype(np.int32))
    return float(region.sum()) / cv2.contourArea(hull)


def coherence(image: np.ndarray, region: np.ndarray) -> float:
    """1 if all grey gradients inside the object share one direction, 0 if they have none."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float), (0, 0), 1)
    core = cv2.erode(region.astype(np.uint8), np.ones((7, 7))) > 0
    dy, dx = (gradient[core] for gradient in np.gradient(grey))
    xx, yy, xy = (dx * dx).sum(), (dy * dy).sum(), (dx * dy).sum()
    return float(np.hypot(xx - yy, 2 * xy) / (xx + yy))


def test_equal_arguments_give_equal_scenes() -> None:
    np.random.seed(0)  # noqa: NPY002 - the global generator must make no difference
    image, mask = draw_scene(3, 7)
    np.random.seed(1)  # noqa: NPY002
    again, mask_again = draw_scene(3, 7)
    assert image.tobytes() == again.tobytes() and mask.tobytes() == mask_again.tobytes()
    for other in ((3, 8), (4, 7), (7, 3)):
        other_image, other_mask = draw_scene(*other)
        assert (image != other_image).mean() > 0.5 and (mask != other_mask).mean() > 0.05


@pytest.mark.parametrize("size", [(96, 128), (97, 131), (33, 50), (16, 90), (140, 60)])
def test_any_size(size: tuple[int, int]) -> None:
    for index in range(8):
        image, mask = draw_scene(0, index, size)
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*size, 3) and mask.shape == size
        assert image.std() > 10
        assert set(np.unique(mask)) <= {*range(len(CLASSES)), BORDER}
        assert len(np.unique(mask)) >= 4


@pytest.mark.parametrize("bad", [(0, 0, (15, 128)), (0, 0, (96, 8)), (-1, 0), (0, -1)])
def test_bad_arguments(bad: tuple) -> None:
    with pytest.raises(ValueError):
        draw_scene(*bad)


def test_every_class_is_common(many: list[Scene]) -> None:
    labels = np.stack([mask for _, mask in many[:40]])
    assert set(np.unique(labels)) == {*range(len(CLASSES)), BORDER}
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    assert share[1 : len(CLASSES)].min() >= 0.01
    assert 0.4 < share[0] < 0.8


def test_border_parts_all_labels_and_nothing_else(many: list[Scene]) -> None:
    between = total = 0
    for _, mask in many:
        for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            assert not ((one != other) & (one != BORDER) & (other != BORDER)).any()
        # The smallest and the largest label within two pixels of the border differ.
        low = cv2.erode(mask, np.ones((5, 5)))
        high = cv2.dilate(np.where(mask == BORDER, 0, mask), np.ones((5, 5)))
        between += ((low < high) & (mask == BORDER)).sum()
        total += (mask == BORDER).sum()
        assert 0.02 < (mask == BORDER).mean() < 0.15
    # The rest is where an object or a gap is narrower than its two lines.
    assert between > 0.97 * total


def test_texture_contour_and_colour_each_tell_some_classes_apart(many: list[Scene]) -> None:
    direction, shape = median_by_class(many, coherence), median_by_class(many, solidity)
    red, light = median_by_class(many, redness), median_by_class(many, luminance)
    assert direction["striped_egg"] > 0.6 > 0.35 > direction["dotted_egg"]
    assert abs(shape["striped_egg"] - shape["dotted_egg"]) < 0.05
    assert abs(light["striped_egg"] - light["dotted_egg"]) < 30
    assert direction["fish"] > 0.5 and direction["butterfly"] < 0.5
    assert shape["striped_egg"] > shape["fish"] + 0.1
    assert shape["dotted_egg"] > shape["butterfly"] + 0.1
    assert shape["star"] < 0.8
    assert red["autumn_leaf"] > 25 > -5 > red["green_leaf"]
    assert light["autumn_leaf"] > light["green_leaf"] + 40
    assert abs(shape["autumn_leaf"] - shape["green_leaf"]) < 0.05


def test_written_data_set(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "scenes"
    write_scenes(root, train=3, val=2, seed=9, size=(40, 56))
    lists = root / "ImageSets" / "Segmentation"
    train, val = ((lists / f"{split}.txt").read_text() for split in ("train", "val"))
    assert train == "scene_000000\nscene_000001\nscene_000002\n"
    assert val == "scene_000003\nscene_000004\n"
    names = [*train.split(), *val.split()]
    for folder in ("JPEGImages", "SegmentationClass"):
        assert sorted(path.name for path in (root / folder).iterdir()) == [
            f"{name}.png" for name in names
        ]
    assert json.loads((root / "scenes.json").read_text()) == {
        "format": 1, "seed": 9, "size": [40, 56], "train": 3, "val": 2, "classes": list(CLASSES)
    }  # fmt: skip
    assert [path.name for path in root.parent.iterdir()] == ["scenes"]

    for index, name in enumerate(names):
        image, mask = draw_scene(9, index, (40, 56))
        stored = Image.open(root / "JPEGImages" / f"{name}.png")
        assert stored.mode == "RGB" and np.array_equal(np.array(stored), image)
        labels = Image.open(root / "SegmentationClass" / f"{name}.png")
        assert labels.mode == "P" and np.array_equal(np.array(labels), mask)
        palette = labels.getpalette()
        assert palette is not None
        assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
        assert palette[-3:] == [224, 224, 192]


def test_an_existing_root_is_refused_and_kept(tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    root.mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_scenes(root, train=1, val=1, seed=0, size=(32, 32))
    assert list(tmp_path.rglob("*")) == [root]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_call_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def fails_later(seed: int, index: int, size: tuple[int, int]) -> Scene:
        if index == 2:
            assert len(list(tmp_path.glob("scenes.tmp-*/JPEGImages/*.png"))) == 2
            assert not (tmp_path / "scenes").exists()
            raise interruption
        return draw_scene(seed, index, size)

    monkeypatch.setattr(scenes, "draw_scene", fails_later)
    with pytest.raises(interruption):
        write_scenes(tmp_path / "scenes", train=3, val=1, seed=0, size=(32, 32))
    assert list(tmp_path.iterdir()) == []
