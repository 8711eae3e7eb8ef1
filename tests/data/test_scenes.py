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
    """Median of a measure of (image, region (H, W)) over the large inner objects of each class."""
    values: dict[str, list[float]] = {name: [] for name in CLASSES[1:]}
    for image, mask in many:
        for label, name in enumerate(CLASSES[1:], start=1):
            region = mask == label
            outer = region[[0, -1]].any() or region[:, [0, -1]].any()
            if not outer and region.sum() > 250:
                values[name].append(measure(image, region))
    assert min(len(found) for found in values.values()) >= 5
    return {name: float(np.median(found)) for name, found in values.items()}


def redness(image: np.ndarray, region: np.ndarray) -> float:
    return float(image[region, 0].mean() - image[region, 1].mean())


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


def test_texture_and_colour_tell_classes_of_one_shape_apart(many: list[Scene]) -> None:
    direction, red = median_by_class(many, coherence), median_by_class(many, redness)
    assert direction["striped_egg"] > 0.6 > 0.35 > direction["dotted_egg"]
    assert direction["fish"] > 0.5 and direction["butterfly"] < 0.5
    assert red["autumn_leaf"] > 25 > -5 > red["green_leaf"]


def test_written_data_set(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "scenes"
    write_scenes(root, train=3, val=2, seed=9, size=(40, 56))
    lists = root / "ImageSets" / "Segmentation"
    train, val = ((lists / f"{split}.txt").read_text() for split in ("train", "val"))
    assert train == "scene_000000\nscene_000001\nscene_000002\n"
    assert val == "scene_000003\nscene_000004\n"
    names = [*train.split(), *val.split()]
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
        palette = labels.getpalette() or []
        assert palette[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0] and palette[-3:] == [224, 224, 192]


def test_an_interrupted_call_leaves_nothing_and_an_existing_root_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "scenes"

    def fails_later(seed: int, index: int, size: tuple[int, int]) -> Scene:
        if index == 2:
            assert len(list(tmp_path.glob(".scenes.new/JPEGImages/*.png"))) == 2
            assert not root.exists()
            raise KeyboardInterrupt
        return draw_scene(seed, index, size)

    monkeypatch.setattr(scenes, "draw_scene", fails_later)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(root, train=3, val=1, seed=0, size=(32, 32))
    assert list(tmp_path.iterdir()) == []
    root.mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_scenes(root, train=1, val=1, seed=0, size=(32, 32))
    assert list(tmp_path.rglob("*")) == [root]
