"""Restyling: identities, slow oracles, and what it may look at."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import teaching

from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.restyle import (
    MAKERS,
    counts,
    fda,
    histogram,
    matching_table,
    mean_amplitude,
    with_amplitude,
)
from adapt.evaluation.rows import collect, text_table
from adapt.settings.choices import RESTYLES
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, ScheduleConfig, ShiftConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import StudyConfig
from adapt.study.grid import Study
from adapt.training.train import train
from viz.report.tables import entries_of, lines_of

SIZES = [(8, 10), (9, 10), (8, 11), (9, 11), (33, 20)]


def images(number: int, size: tuple[int, int] = (12, 15), seed: int = 0) -> list[np.ndarray]:
    """Coarse noise of another brightness and contrast in each channel, and nothing clipped."""
    rng = np.random.default_rng(seed)
    low, high = rng.integers(20, 90, 3), rng.integers(120, 230, 3)
    return [rng.integers(low, high, (*size, 3)).astype(np.uint8) for _ in range(number)]


# Histogram


def test_equal_histograms_change_nothing() -> None:
    """Also where one data set has every image several times, in another order."""
    old = images(3)
    new = [old[2], old[0], old[1]] * 2
    restyle = histogram(old, new)
    assert all(np.array_equal(restyle(image), image) for image in old)


def test_matching_table_by_a_slow_loop() -> None:
    new, old = images(2, seed=1), images(3, (7, 9), seed=2)
    table = matching_table(counts(new), counts(old))
    assert table.shape == (3, 256) and table.dtype == np.uint8
    for channel in range(3):
        source = np.sort(np.concatenate([i[..., channel].ravel() for i in new]))
        target = np.sort(np.concatenate([i[..., channel].ravel() for i in old]))
        for value in range(256):
            middle = int((source <= value).sum() + (source < value).sum())  # of 2 len(source)
            wanted = next(
                v
                for v in range(256)
                if 2 * (target <= v).sum() * len(source) >= middle * len(target)
            )
            assert table[channel, value] == wanted


def test_matched_data_set_has_the_old_histogram() -> None:
    """Every one of 180 values a channel occurs once in `old` and in `new`, brighter by 40."""
    values = np.stack([np.arange(20, 200)] * 3, 1).reshape(12, 15, 3)
    old = [np.random.default_rng(0).permutation(values.reshape(-1, 3)).reshape(12, 15, 3)]
    restyle = histogram([i.astype(np.uint8) for i in old], [(values + 40).astype(np.uint8)])
    assert np.array_equal(restyle((values + 40).astype(np.uint8)), values)


def test_a_value_of_most_pixels_goes_to_the_middle_of_its_ranks() -> None:
    """White paper with a few black strokes becomes the old domain's grey, not its highlights."""
    paper = np.full((10, 20, 3), 255, np.uint8)
    paper[0] = 0  # a tenth
    old = np.repeat(np.arange(200, dtype=np.uint8).reshape(10, 20, 1), 3, 2)
    found = histogram([old], [paper])(paper)
    assert set(np.unique(found)) == {9, 109}  # ranks 0.05 and 0.55 of 0..199


def test_channels_are_matched_each_on_its_own() -> None:
    new = images(2, seed=3)
    old = [np.stack([i[..., 0], i[..., 1] // 2, 255 - i[..., 2]], 2) for i in new]
    restyle = histogram(old, new)
    for image in new:
        assert np.array_equal(
            restyle(image)[..., :2], np.stack([image[..., 0], image[..., 1] // 2], 2)
        )
    # 255 - v turns ranks around, so the brightest pixels stay the brightest
    order = np.argsort(new[0][..., 2].ravel(), kind="stable")
    assert (np.diff(restyle(new[0])[..., 2].ravel()[order].astype(int)) >= 0).all()


# Fourier domain adaptation


def slow_fda(image: np.ndarray, old: list[np.ndarray], beta: float) -> np.ndarray:
    """With numpy's full transform, shifted so that frequency 0 is in the middle, in float64."""
    height, width = image.shape[:2]
    reach = int(np.floor(beta * min(height, width)))
    result = np.empty(image.shape)
    for channel in range(3):
        shifted = np.fft.fftshift(np.fft.fft2(image[..., channel].astype(float)))
        target = np.mean(
            [np.abs(np.fft.fftshift(np.fft.fft2(o[..., channel].astype(float)))) for o in old], 0
        )
        middle = height // 2, width // 2
        for dy, dx in product(range(-reach, reach + 1), repeat=2):
            place = middle[0] + dy, middle[1] + dx
            shifted[place] = target[place] * np.exp(1j * np.angle(shifted[place]))
        back = np.fft.ifft2(np.fft.ifftshift(shifted))
        assert np.abs(back.imag).max() < 1e-9
        result[..., channel] = back.real
    return result


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("beta", [0.01, 0.13, 0.3, 0.49])
def test_fda_is_the_full_shifted_transforms(size: tuple[int, int], beta: float) -> None:
    (image,), old = images(1, size, seed=4), images(3, size, seed=5)
    exact = slow_fda(image, old, beta)
    found = fda(old, [], beta)(image)
    assert np.abs(found - np.clip(exact, 0, 255)).max() < 0.5 + 1e-3
    assert np.abs(exact - image).max() > 5, "the case must change something"


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_images_own_amplitude_leaves_it(size: tuple[int, int]) -> None:
    for image in images(2, size):
        assert np.array_equal(fda([image, image], [], 0.3)(image), image)


def test_smallest_window_moves_the_mean_colour_alone() -> None:
    """beta min(h, w) < 1: frequency 0 only, so each channel is shifted by one number."""
    (image,), old = images(1, (20, 30), seed=6), images(4, (20, 30), seed=7)
    found = fda(old, [], 0.04)(image).astype(int) - image
    wanted = np.mean([o.mean((0, 1)) for o in old], 0) - image.mean((0, 1))
    assert np.array_equal(found, np.broadcast_to(np.rint(wanted), found.shape))


def test_values_are_rounded_and_clipped() -> None:
    image = np.full((6, 6, 3), 10, np.uint8)
    image[::2] = 250
    bright, dark = np.full((6, 6, 3), 255, np.uint8), np.zeros((6, 6, 3), np.uint8)
    assert fda([bright], [], 0.01)(image).max() == 255
    assert fda([dark], [], 0.01)(image).min() == 0
    assert fda([bright], [], 0.01)(image)[1, 0, 0] == 135  # 10 + 255 - 130


def test_a_smaller_image_takes_the_same_cycles() -> None:
    """A wave of two cycles has the same amplitude a pixel in an image of any size."""

    def wave(height: int, width: int, level: float) -> np.ndarray:
        column = 128 + level * np.cos(2 * np.pi * 2 * np.arange(width) / width)
        return np.repeat(np.tile(column, (height, 1))[..., None], 3, 2).round().astype(np.uint8)

    amplitude, size = mean_amplitude([wave(60, 80, 100.0)])
    found = with_amplitude(wave(24, 40, 10.0), amplitude, size, 0.1)
    assert np.abs(found.astype(int) - wave(24, 40, 100.0)).max() <= 4  # 10 cos(...) is rounded


def test_images_of_several_sizes_have_no_mean() -> None:
    with pytest.raises(InputError, match="no mean spectrum"):
        mean_amplitude([*images(1, (8, 8)), *images(1, (8, 9))])


# The table


def test_fda_never_reads_the_new_domain_and_nothing_is_read_twice() -> None:
    old, new = images(2, seed=8), images(2, seed=9)

    def untouchable() -> Iterator[np.ndarray]:
        yield pytest.fail("the new domain was read")

    image = new[0]
    found = MAKERS["fda"](iter(old), untouchable(), 0.1)(image)
    assert np.array_equal(found, fda(old, [], 0.1)(image))
    found = MAKERS["histogram"](iter(old), iter(new), 0.1)(image)
    assert np.array_equal(found, histogram(old, new)(image))


def test_the_makers_are_the_choices_of_the_settings() -> None:
    assert tuple(MAKERS) == RESTYLES


# The command


@pytest.fixture
def asked(world: Path, tmp_path: Path) -> Callable[..., dict]:
    """Evaluate a teacher that tells images apart on a domain; returns the recorded figures."""
    teacher = tmp_path / "runs" / "teacher"
    train(teaching(world, run=str(teacher), steps=30, schedule=ScheduleConfig(lr=0.1)))

    def ask(target: Path, **settings: object) -> dict:
        data = DataConfig(root=str(settings.pop("root", world / "d1")), target=str(target))
        config = EvaluateConfig(
            teacher=str(teacher), data=data, domain="d2", device="cpu", precision="fp32"
        )
        return json.loads(evaluate(replace(config, **settings)).read_text())  # type: ignore[arg-type]

    return ask


def test_old_domain_restyled_to_itself_scores_as_it_is(
    world: Path, asked: Callable[..., dict]
) -> None:
    found = asked(world / "d1", restyle="histogram")
    assert found["confusion"] == asked(world / "d1")["confusion"]
    assert found["agreement"]["miou"] == 100
    assert (found["restyle"], found["restyle_beta"]) == ("histogram", None)


@pytest.mark.parametrize("name", ["histogram", "fda"])
def test_evaluation_is_that_of_images_restyled_beforehand(
    world: Path, tmp_path: Path, asked: Callable[..., dict], name: str
) -> None:
    """By hand: the tables and spectra of both training splits, the images written to disk."""
    names = {
        split: sorted(p.name for p in (world / "d2" / split).iterdir())
        for split in ("train", "val")
    }
    old, new = (
        [np.array(Image.open(world / d / "train" / n)) for n in names["train"]]
        for d in ("d1", "d2")
    )
    restyle = MAKERS[name](old, new, 0.1)
    made = tmp_path / "made"
    shutil.copytree(world / "d2", made)
    for n in names["val"]:
        image = np.array(Image.open(made / "val" / n))
        Image.fromarray(restyle(image)).save(made / "val" / n)
    wanted = asked(made)
    found = asked(world / "d2", restyle=name, restyle_beta=0.1)
    assert found["confusion"] == wanted["confusion"] != asked(world / "d2")["confusion"]
    assert found["agreement"] == wanted["agreement"], "the teacher sees x1 as it is"
    assert (
        found["confusion"]
        == asked(world / "d2", restyle=name, restyle_beta=0.1, workers=2)["confusion"]
    )


def test_the_partners_of_the_scored_images_are_never_looked_at(
    world: Path, tmp_path: Path, asked: Callable[..., dict]
) -> None:
    other = tmp_path / "d1"
    shutil.copytree(world / "d1", other)
    for path in (other / "val").iterdir():
        Image.fromarray(255 - np.array(Image.open(path))).save(path)
    for name in ("histogram", "fda"):
        found = [asked(world / "d2", restyle=name, root=r) for r in (world / "d1", other)]
        assert found[0]["confusion"] == found[1]["confusion"]
        assert found[0]["agreement"] != found[1]["agreement"]


def test_images_of_several_sizes_are_evaluated(
    world: Path, tmp_path: Path, asked: Callable[..., dict]
) -> None:
    for domain in ("d1", "d2"):
        shutil.copytree(world / domain, tmp_path / domain)
        for split in ("train", "val"):
            for folder in (split, f"{split}annot"):
                path = sorted((tmp_path / domain / folder).iterdir())[0]
                Image.open(path).resize((40, 48), Image.Resampling.NEAREST).save(path)
    for name in ("histogram", "fda"):
        found = asked(tmp_path / "d2", root=tmp_path / "d1", restyle=name, restyle_beta=0.1)
        assert np.sum(found["confusion"]) > 0


def test_files_and_tables_tell_restylings_apart(
    world: Path, tmp_path: Path, asked: Callable[..., dict]
) -> None:
    for settings in (
        {}, {"restyle": "fda"}, {"restyle": "fda", "restyle_beta": 0.2}, {"adabn": True},
        {"restyle": "histogram"}, {"restyle": "histogram", "adabn": True},
    ):  # fmt: skip
        asked(world / "d2", **settings)
    rows = collect(tmp_path / "runs")
    stems = {Path(r.metrics).stem.removeprefix("metrics_camvid_d2_d2_val"): r.method for r in rows}
    assert stems == {
        "": "B0", "_fda": "fda", "_fda0.2": "fda", "_adabn": "AdaBN", "_histogram": "histogram",
        "_adabn_histogram": "AdaBN+histogram",
    }  # fmt: skip
    assert [r.distortion for r in rows if r.method != "B0"] == [None] * 5
    lines = lines_of(entries_of(rows))
    assert [line.label for line in lines] == [
        "B0", "AdaBN", "histogram", "fda (restyle_beta=0.01)", "fda (restyle_beta=0.2)",
        "AdaBN+histogram",
    ]  # fmt: skip
    assert not any(line.objective for line in lines)
    printed = [line.split()[1] for line in text_table(rows).splitlines()[1:]]
    assert printed[:3] == ["B0", "AdaBN", "histogram"]


def test_study_plans_them_where_they_are_asked_for() -> None:
    config = StudyConfig(
        data=DataConfig(name="camvid", root="photos"),
        shifts={"a": ShiftConfig("ripple")},
        objectives={"pool5": ObjectiveConfig("pool5", RegressionConfig(1.0, {"pool5": 1.0}))},
    )
    plain = [cell.name for cell in Study(config).cells()]
    asked = [*config.baselines, "fda", "histogram"]
    found = list(Study(replace(config, baselines=asked)).cells())
    added = [cell for cell in found if cell.name not in plain]
    assert [cell.result.name for cell in added] == [
        f"metrics_camvid_d2_a_val_{name}.json" for name in ("histogram", "fda")
    ]
    assert [cell.name for cell in found if cell.name in plain] == plain


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restyle": "fourier"}, r"Choices: '' \(empty\), histogram, fda"),
        ({"restyle": "fda", "restyle_beta": 0.5}, "restyle_beta is 0.5"),
        ({"restyle": "fda", "restyle_beta": 0.0}, "restyle_beta is 0.0"),
        ({"restyle": "fda", "domain": "d1"}, "give domain=d2"),
    ],
)
def test_wrong_settings_are_named(
    world: Path, asked: Callable[..., dict], settings: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        asked(world / "d2", **settings)
