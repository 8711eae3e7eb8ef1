"""Pixels of the pictures, and charts that can be decoded."""

import io

import numpy as np
import pytest
from PIL import Image

from adapt.errors import InputError
from viz.figures import Bars, Layers, baseline_bars, heat, layer_chart, montage, training_curves
from viz.pictures import coloured, encode, error_view, most_changed, palette, shrunk


def test_wrong_pixels_are_white_and_void_ones_black() -> None:
    truth = np.array([[0, 1, 2, 255]], np.uint8)
    found = np.array([[0, 2, 2, 1]], np.uint8)
    view = error_view(found, truth, 3)
    colours = palette(3)
    expected = [colours[0].tolist(), [255, 255, 255], colours[2].tolist(), [0, 0, 0]]
    assert view[0].tolist() == expected
    with pytest.raises(InputError, match="against"):
        error_view(found, truth[:, :2], 3)


@pytest.mark.parametrize("classes", [2, 11, 21, 60])
def test_class_colours_are_distinct_and_neither_white_nor_black(classes: int) -> None:
    colours = palette(classes).astype(int)
    assert len({tuple(c) for c in colours.tolist()}) == classes
    for colour in colours:
        assert np.abs(colour - 255).sum() > 60 and colour.sum() > 60


def test_label_map_keeps_its_classes() -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    labels[1, 2] = 255
    view = coloured(labels, 5)
    assert view[1, 2].tolist() == [0, 0, 0]
    assert view[0, 1].tolist() == palette(5)[1].tolist()


def test_most_changed_channel_is_a_live_one() -> None:
    old = np.zeros((3, 4, 4))
    old[1], old[2] = 1.0, 1.0
    new = old.copy()
    new[0], new[2] = 0.01, 2.0
    assert most_changed(old, new) == 2


def test_heat_has_one_scale() -> None:
    low, high = heat([np.zeros((2, 2)), np.array([[0.0, 0.5], [1.0, 1.0]])])
    assert np.array_equal(low[0, 0], high[0, 0])
    assert not np.array_equal(high[0, 1], high[1, 1])


def test_shrunk_labels_are_not_mixed() -> None:
    picture = np.kron(np.array([[[0] * 3, [200] * 3]], np.uint8), np.ones((50, 50, 1), np.uint8))
    small = shrunk(picture, 20, labels=True)
    assert max(small.shape) == 20 and set(np.unique(small)) == {0, 200}
    assert shrunk(picture, 500) is picture


def test_encoding_loses_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    for shown in (picture, np.repeat(picture[:2, :2], 4, axis=0)):
        decoded = np.array(Image.open(io.BytesIO(encode(shown))).convert("RGB"))
        assert np.array_equal(decoded, shown)


def drawn(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def test_charts_show_their_values() -> None:
    """A taller bar has more coloured pixels; a missing method is no error."""
    low, high = (
        drawn(baseline_bars([Bars("mIoU", {"B0": {"a": (value, 0.0)}}, 90.0)], ["a"]))
        for value in (20.0, 80.0)
    )
    grey = np.array([0xB6, 0xBC, 0xC6])
    assert (high == grey).all(-1).sum() > 2 * (low == grey).all(-1).sum()
    panel = Layers(
        "mIoU", {"a": {"pool1": (1.0, 0.1), "pool5": (2.0, 0.0)}}, {"a": {"B2": (3.0, 0.0)}}
    )
    assert drawn(layer_chart([panel], ["pool1", "pool5"], {"pool1", "pool5"})).std() > 1
    records = [
        {"step": s, "loss": 1 / s, "lr": 0.1, "parts": {"x": {"raw": 1, "weighted": 1 / s}}}
        for s in (1, 2)
    ]
    scored = training_curves([*records, {"step": 2, "evaluation": {"miou": 3.0}}])
    assert drawn(scored).shape[1] == drawn(training_curves(records)).shape[1]
    assert drawn(montage({"a": np.zeros((8, 8, 3), np.uint8)})).std() > 1
