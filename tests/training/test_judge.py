"""How a verdict is reached: counts against confusion matrices, the bootstrap, and what is said."""

from pathlib import Path

import numpy as np
import pytest
from tiny import adapting

from adapt.data.images import read_indices
from adapt.disk.files import read_json, write_json
from adapt.errors import InputError
from adapt.evaluation.metrics import confusion, ious, per_class, scores_of
from adapt.training.adapt import adapt
from adapt.training.resampling import RESAMPLES, mious, resampled
from adapt.training.verdict import (
    ADABN,
    AFTER,
    BEFORE,
    PICTURES,
    ROWS,
    VERDICT,
    conclude,
    read_verdict,
)

CLASSES = ("sky", "road", "car", "tree")


def counts_of(matrices: np.ndarray) -> np.ndarray:
    """Confusion matrices (..., C, C) -> counts (..., 3, C)."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return np.stack([hits, matrices.sum(axis=-1), matrices.sum(axis=-2)], axis=-2)


def random_matrices(pairs: int, rows: int) -> np.ndarray:
    """Of classes of which the last one is never said, and the third one rarely."""
    rng = np.random.default_rng(4)
    matrices = rng.integers(0, 50, (pairs, rows, 4, 4))
    matrices[..., 3, :] = matrices[..., 3] = 0
    matrices[2:, :, 2] = matrices[2:, :, :, 2] = 0
    return matrices


def test_scores_and_bootstrap_are_those_of_summed_confusion_matrices() -> None:
    matrices = random_matrices(7, 2)
    counts = counts_of(matrices)
    wanted = [scores_of(per_class(m)) for m in matrices.sum(axis=0)]
    assert mious(counts.sum(axis=0)) == pytest.approx([s.miou for s in wanted])
    assert ious(counts.sum(axis=0)) == pytest.approx(np.array([s.iou for s in wanted]), nan_ok=True)
    drawn = np.random.default_rng(0).multinomial(7, [1 / 7] * 7, RESAMPLES)
    slow = [
        [scores_of(per_class(sum(m * n for m, n in zip(matrices[:, row], times, strict=True)))).miou
         for row in (0, 1)]
        for times in drawn[:50]
    ]  # fmt: skip
    assert resampled(counts)[:50] == pytest.approx(np.array(slow))


def agreeing(*shares: list[float]) -> np.ndarray:
    """Counts of pairs of 100 pixels, half sky, half road; for each row each pair's agreement."""
    right = np.array(shares).T[..., None, None] * np.diag([50, 50, 0, 0])
    wrong = (1 - np.array(shares)).T[..., None, None] * 50 * np.eye(4)[[1, 0, 3, 2]]
    wrong[..., 2:, :] = 0
    return counts_of(np.rint(right + wrong).astype(int))


@pytest.mark.parametrize(
    ("before", "adabn", "after", "conclusion"),
    [
        ([0.4] * 12, [0.5] * 12, [0.8] * 12, "worth using"),
        ([0.4] * 12, [0.8] * 12, [0.8] * 12, "worth using"),
        ([0.8] * 12, [0.4] * 12, [0.4] * 12, "not worth using"),
        ([0.5] * 12, [0.1] * 12, [0.5] * 12, "not worth using"),
        ([0.1] * 5 + [0.5] * 7, [0.1] * 12, [0.9] * 5 + [0.48] * 7, "not worth using"),
        ([0.5] * 12, [0.1] * 12, [0.9, 0.9, 0.9] + [0.5] * 9, "unclear"),
        ([0.4] * 9, [0.1] * 9, [0.8] * 9, "unclear"),
    ],
)
def test_conclusions(
    before: list[float], adabn: list[float], after: list[float], conclusion: str
) -> None:
    """Gains everywhere; AdaBN as good; losses; no change; a gain of few pairs while most lose; a
    gain of few pairs while most stay; too few pairs. (Four classes, so that two are few: sky and
    road alone would be a degeneracy, hence a tree in every pair.)"""
    counts = agreeing(before, adabn, after)
    counts[..., 2] += 10  # on which all agree
    found = conclude(counts, list(ROWS), CLASSES, 5)
    assert found.conclusion == conclusion, found
    assert found.adabn_is_as_good == (adabn == after and len(before) > 9)
    assert ("fewer than 10" in str(found)) == (len(before) < 10)


@pytest.mark.parametrize(
    ("start", "conclusion", "said"),
    [
        ("start", "worth using", "the teacher itself is as good on the new images"),
        ("untrained", "not worth using", "better than the teacher itself on 0 (0 %), worse on 12"),
    ],
)
def test_new_weights_are_nobodys_alternative(start: str, conclusion: str, said: str) -> None:
    """A student of another network that gains on its start, and does not reach the teacher."""
    counts = agreeing([0.8] * 12, [0.2] * 12, [0.5] * 12)
    counts[..., 2] += 10
    found = conclude(counts, ["teacher", BEFORE, AFTER], CLASSES, 5, start)
    assert found.conclusion == conclusion and said in str(found)
    assert found.teacher and found.before and found.teacher > found.before
    low, high = found.intervals["gain"]
    assert (low > 0) == (start == "start") and high < 50


def test_what_nothing_can_be_concluded_from_is_named() -> None:
    good = agreeing([0.4] * 12, [0.8] * 12)
    rows = [BEFORE, AFTER]
    assert "the teacher uses 2 of its 4 classes" in str(conclude(good, rows, CLASSES, 5))
    assert conclude(good[..., :2], rows, CLASSES[:2], 5).conclusion == "worth using"
    assert conclude(good[..., :2], rows, CLASSES[:2], 0).reasons == [
        "the run has 0 steps, so that nothing was trained"
    ]
    masked = good.copy()
    masked[3:] = 0
    found = conclude(masked, rows, CLASSES, 5)
    assert found.reasons[0] == "fewer than 10 held-out pairs: 3 of 12 have a valid pixel"
    nothing = conclude(good * 0, rows, CLASSES, 5)
    assert nothing.before is None and "nan" not in str(nothing)


def test_rare_classes_that_gain_what_a_frequent_one_loses_are_told_apart() -> None:
    """Ten of 1,000 pixels are road, which `before` never says: the student finds them, and takes 30
    of sky for road as well."""
    before, after = np.zeros((2, 3, 4), int)
    before[0, 0], before[1, :2], before[2, 0] = 990, (990, 10), 1000
    after[0, :2], after[1, :2], after[2, :2] = (960, 10), (990, 10), (960, 40)
    counts = np.stack([np.stack([before, after])] * 12)
    counts[..., 2] += 10  # on which both agree
    found = conclude(counts, [BEFORE, AFTER], CLASSES, 5)
    assert found.worse == 12 and found.intervals["gain"][0] > 0
    assert found.conclusion == "unclear" and "rare classes gain" in str(found)


def test_kept_pictures_hold_what_was_compared(world: Path, tmp_path: Path) -> None:
    """All three pairs are kept, so that their maps give the verdict's own scores."""
    run = adapt(adapting(world, tmp_path / "run", steps=2))
    found = read_verdict(run)
    assert found and len(found.pictures) == found.pairs == 3
    for row in (BEFORE, AFTER):
        total = sum(
            confusion(*(read_indices(folder / f"{v}.png") for v in ("teacher_x1", row)), 11)
            for folder in (run / PICTURES / name for name in found.pictures)
        )
        assert scores_of(per_class(np.asarray(total))).miou == pytest.approx(getattr(found, row))
    assert found.no_adabn == "" and found.adabn is not None and ADABN in found.agreement


def test_verdicts_of_version_0_1_are_read_and_broken_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / VERDICT
    assert read_verdict(tmp_path) is None
    write_json(path, {"pairs": 37, "before": 26.2, "after": 51.9, "better": 37, "worse": 0})
    old = read_verdict(tmp_path)
    assert old and "made by version 0.1" in str(old) and "51.9 after" in str(old)
    for change, said in (
        ({"conclusion": "great"}, "conclusion: 'great' is not known"),
        ({"pictures": ["../x"]}, "pictures must be names"),
        ({"intervals": {"gain": [1.0]}}, "gain has a wrong number of values"),
        ({"pairs": None}, "pairs is None"),
    ):
        write_json(path, read_json(path) | {"pairs": 37} | change)
        with pytest.raises(InputError, match=said):
            read_verdict(tmp_path)
        write_json(path, {"pairs": 37, "before": 26.2, "after": 51.9, "better": 37, "worse": 0})
