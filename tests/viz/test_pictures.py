"""Pixels of the pictures, and charts that can be decoded."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from adapt.errors import InputError
from viz.figures import heat, picture_grid
from viz.pictures import coloured, encode, error_view, most_changed, palette, shrunk
from viz.report.charts import baseline_bars, layer_chart
from viz.report.curves import at_best, learning_curves, training_curves, weights_of
from viz.report.error_panels import panel, widest_gaps, window
from viz.report.tables import Stat


def test_labels_have_their_colours_wrong_pixels_are_white_and_void_ones_black() -> None:
    truth = np.array([[0, 1, 2, 255]], np.uint8)
    found = np.array([[0, 2, 2, 1]], np.uint8)
    first, second, third = palette(3).tolist()
    assert coloured(truth, 3)[0].tolist() == [first, second, third, [0, 0, 0]]
    assert error_view(found, truth, 3)[0].tolist() == [first, [255] * 3, third, [0, 0, 0]]
    with pytest.raises(InputError, match="against"):
        error_view(found, truth[:, :2], 3)


@pytest.mark.parametrize("classes", [2, 11, 21, 60])
def test_class_colours_are_distinct_and_neither_white_nor_black(classes: int) -> None:
    colours = palette(classes).astype(int)
    assert len({tuple(c) for c in colours.tolist()}) == classes
    for colour in colours:
        assert np.abs(colour - 255).sum() > 60 and colour.sum() > 60


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


def drawn(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def test_encoding_loses_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    for image in (picture, np.repeat(picture[:2, :2], 4, axis=0)):
        assert np.array_equal(drawn(encode(image)), image)


def test_charts_show_their_values() -> None:
    """A taller bar has more coloured pixels; a missing method is no error."""
    clean = {"teacher": {"": Stat(90.0, 0.0, 1)}}
    low, high = (
        drawn(baseline_bars({"mIoU": clean | {"B0": {"a": Stat(value, 0.0, 1)}}}, ["a"]))
        for value in (20.0, 80.0)
    )
    grey = np.array([0xB6, 0xBC, 0xC6])
    assert (high == grey).all(-1).sum() > 2 * (low == grey).all(-1).sum()
    names = ("pool1", "pool5", "B2")
    scores = {name: {"a": Stat(i, 0.1, 2)} for i, name in enumerate(names)}
    with_line, without = (
        drawn(layer_chart({"mIoU": scores}, names[:2], ["a"], joined)) for joined in (names, ())
    )
    assert not np.array_equal(with_line, without)
    records = [
        {"step": s, "loss": 1 / s, "lr": 0.1, "parts": {"x": {"raw": 1, "weighted": 1 / s}}}
        for s in (1, 2)
    ]
    scored = training_curves([*records, {"step": 2, "evaluation": {"miou": 3.0}}])
    assert drawn(scored).shape[1] == drawn(training_curves(records)).shape[1]
    parts = [{"regression/a": {"raw": s, "weighted": w}, "kd": {"raw": 1, "weighted": s}}
             for s, w in ((0, 0), (2, 1), (4, 8))]  # fmt: skip
    lines = [{"step": s, "loss": 1.0, "parts": part} for s, part in enumerate(parts)]
    assert str(weights_of(lines)) == "{'regression/a': [nan, 0.5, 2.0]}"
    assert weights_of(lines[:2]) == weights_of(records) == {}, "fixed ones are not drawn"
    assert not np.array_equal(drawn(training_curves(lines)), drawn(training_curves(lines[:2])))
    assert drawn(picture_grid([("", [("a", np.zeros((8, 8, 3), np.uint8))])])).std() > 1


def shown(uri: str) -> np.ndarray:
    return drawn(base64.b64decode(uri.partition(",")[2]))


def test_error_panels_show_the_widest_gaps_and_zoom_where_penalties_differ() -> None:
    nan = float("nan")
    scores = {"l2": {"a": 10.0, "b": 50.0, "c": 60.0, "d": nan},
              "l1": {"a": 12.0, "b": 20.0, "c": 59.0, "d": 1.0},
              "sp": {"a": 52.0, "b": 51.0, "c": 60.0, "d": 9.0}}  # fmt: skip
    assert widest_gaps(scores, 2) == ["a", "b"] and widest_gaps(scores, 9) == ["a", "b", "c"]
    truth = np.random.default_rng(0).integers(0, 3, (20, 32)).astype(np.uint8)
    truth[0] = 255
    said = {name: truth.copy() for name in ("l2", "sp")}
    for found in said.values():
        found[:, :9] = 7  # wrong under both, and void in the first row
    said["sp"][12:16, 20:27] = 7
    rows, columns = window(list(said.values()), truth, 3)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (5, 8)
    right = [np.where(truth == 255, False, found == truth) for found in said.values()]
    disputed = right[0] != right[1]
    counts = {(y, x): disputed[y : y + 5, x : x + 8].sum() for y in range(16) for x in range(25)}
    assert counts[rows.start, columns.start] == max(counts.values()) == 28
    made = panel(np.full((10, 16, 3), 90, np.uint8), truth, said, 3)
    for name, found in said.items():
        view = error_view(found, truth, 3)
        assert np.array_equal(shown(made["whole"][name]), view)
        assert np.array_equal(shown(made["zoom"][name])[::32, ::32], view[rows, columns])


def test_learning_curves_mark_the_best_step_of_each_run() -> None:
    """Of a run with two heads, and one that was never scored by labels."""

    def scored(step: int, miou: float, loss: float) -> list[dict]:
        own = {"parts/miou": miou, "parts/loss": loss}
        return [
            {"step": step, "loss": 1.0, "lr": 0.1},
            {"step": step, "evaluation": own, "training": {"parts/miou": miou + 10}},
        ]

    raw = [*scored(1, 20.0, 2.0), *scored(2, 30.0, 1.0), *scored(3, 30.0, 1.5)]
    student = [{"step": s, "evaluation": {"agreement_miou": 50.0 - s}} for s in (1, 2)]
    heads, *table = at_best({"raw": raw, "student": student})
    assert table == [("raw", "parts/mIoU", "2", "30.0", "40.0", "1.000", "-"),
                     ("student", "agreement", "1", "49.0", "-", "-", "-")]  # fmt: skip
    assert len(heads) == 7
    one, two = (drawn(learning_curves(runs)) for runs in ({"a": raw}, {"a": raw, "b": raw[:4]}))
    blue, orange = ([0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00])
    assert (one == blue).all(-1).any() and not (one == orange).all(-1).any()
    assert (two == orange).all(-1).any()
    without = [{k: v for k, v in line.items() if k != "training"} for line in raw]
    bare = drawn(learning_curves({"a": without}))
    assert (bare == blue).all(-1).sum() < (one == blue).all(-1).sum()
