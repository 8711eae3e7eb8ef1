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

from adapt.data import load
from adapt.data.sampling import Decoder
from adapt.disk.runs import read_data
from adapt.errors import InputError
from adapt.evaluation.baselines import restyle_to_old
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import Reading
from adapt.evaluation.restyle import (
    MAKERS,
    counts,
    fda,
    histogram,
    matching_table,
    mean_amplitude,
    with_amplitude,
)
from adapt.evaluation.rows import collect, score_table
from adapt.networks.saved import load_model
from adapt.settings.choices import RESTYLES
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, ScheduleConfig
from adapt.settings.mapping import inherit_data
from adapt.training.train import train
from viz.report.tables import entries_of, lines_of

SIZES = [(8, 10), (9, 10), (9, 11), (33, 20)]


def images(number: int, size: tuple[int, int] = (12, 15), seed: int = 0) -> list[np.ndarray]:
    """Coarse noise of another brightness and contrast in each channel, and nothing clipped."""
    rng = np.random.default_rng(seed)
    low, high = rng.integers(20, 90, 3), rng.integers(120, 230, 3)
    return [rng.integers(low, high, (*size, 3)).astype(np.uint8) for _ in range(number)]


def test_equal_histograms_change_nothing() -> None:
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


def test_a_value_of_most_pixels_goes_to_the_middle_of_its_ranks() -> None:
    """White paper with a few black strokes becomes the old domain's grey, not its highlights."""
    paper = np.full((10, 20, 3), 255, np.uint8)
    paper[0] = 0  # a tenth
    old = np.repeat(np.arange(200, dtype=np.uint8).reshape(10, 20, 1), 3, 2)
    found = histogram([old], [paper])(paper)
    assert set(np.unique(found)) == {9, 109}  # ranks 0.05 and 0.55 of 0..199


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
@pytest.mark.parametrize("beta", [0.01, 0.13, 0.49])
def test_fda_is_the_full_shifted_transforms(size: tuple[int, int], beta: float) -> None:
    (image,), old = images(1, size, seed=4), images(3, size, seed=5)
    exact = slow_fda(image, old, beta)
    found = fda(old, [], beta)(image)
    assert np.abs(found - np.clip(exact, 0, 255)).max() < 0.5 + 1e-3
    assert np.abs(exact - image).max() > 5, "the case must change something"
    assert np.array_equal(fda([image, image], [], beta)(image), image), "its own amplitude"


def test_values_are_rounded_and_clipped() -> None:
    """With beta min(h, w) < 1 each channel is shifted by one number, its mean colour's change."""
    image = np.full((6, 6, 3), 10, np.uint8)
    image[::2] = 250
    bright, dark = np.full((6, 6, 3), 255, np.uint8), np.zeros((6, 6, 3), np.uint8)
    assert np.unique(fda([bright], [], 0.01)(image)).tolist() == [135, 255]  # 10 + 255 - 130
    assert np.unique(fda([dark], [], 0.01)(image)).tolist() == [0, 120]


def test_a_smaller_image_takes_the_same_cycles() -> None:
    """A wave of two cycles has the same amplitude a pixel in an image of any size."""

    def wave(height: int, width: int, level: float) -> np.ndarray:
        column = 128 + level * np.cos(2 * np.pi * 2 * np.arange(width) / width)
        return np.repeat(np.tile(column, (height, 1))[..., None], 3, 2).round().astype(np.uint8)

    amplitude, size, _ = mean_amplitude([wave(60, 80, 100.0)])
    found = with_amplitude(wave(24, 40, 10.0), amplitude, size, 0.1)
    assert np.abs(found.astype(int) - wave(24, 40, 100.0)).max() <= 4  # 10 cos(...) is rounded


def test_fda_never_reads_the_new_domain_and_nothing_is_read_twice() -> None:
    assert tuple(MAKERS) == RESTYLES
    old, new = images(2, seed=8), images(2, seed=9)

    def untouchable() -> Iterator[np.ndarray]:
        yield pytest.fail("the new domain was read")

    image = new[0]
    found = MAKERS["fda"](iter(old), untouchable(), 0.1)(image)
    assert np.array_equal(found, fda(old, [], 0.1)(image))
    found = MAKERS["histogram"](iter(old), iter(new), 0.1)(image)
    assert np.array_equal(found, histogram(old, new)(image))


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


@pytest.mark.parametrize(("name", "workers"), [("histogram", 0), ("fda", 2)])
def test_evaluation_is_that_of_images_restyled_beforehand(
    world: Path, tmp_path: Path, asked: Callable[..., dict], name: str, workers: int
) -> None:
    """By hand: the tables and spectra of both training splits, the images written to disk."""
    old, new = (
        [np.array(Image.open(path)) for path in sorted((world / domain / "train").iterdir())]
        for domain in ("d1", "d2")
    )
    restyle, made = MAKERS[name](old, new, 0.1), tmp_path / "made"
    shutil.copytree(world / "d2", made)
    for path in (made / "val").iterdir():
        Image.fromarray(restyle(np.array(Image.open(path)))).save(path)
    wanted = asked(made)
    found = asked(world / "d2", restyle=name, restyle_beta=0.1, workers=workers)
    assert (found["restyle"], found["restyle_beta"]) == (name, 0.1 if name == "fda" else None)
    assert found["confusion"] == wanted["confusion"] != asked(world / "d2")["confusion"]
    assert found["agreement"] == wanted["agreement"], "the teacher sees x1 as it is"


def test_what_a_warp_leaves_black_is_not_counted(world: Path, shifted: str) -> None:
    given = DataConfig(target=str(world / "d2"), transforms=shifted)
    data = inherit_data(given, read_data(world / "teacher"))
    training = load(data, "train")
    reading = Reading(data, load_model(world / "teacher").network, 2, 0)
    made = restyle_to_old("histogram", 0.1, reading, training, load(data, "val"))
    read = map(Decoder(training, data, ["x1", "x2", "valid"]), training.samples)
    old, new = zip(*((r["x1"], r["x2"][r["valid"] != 0][None]) for r in read), strict=True)
    wanted = matching_table(counts(new), counts(old))
    assert (made.keywords["table"] == wanted).all()  # type: ignore[attr-defined]


def test_images_of_several_sizes_are_evaluated(
    world: Path, tmp_path: Path, asked: Callable[..., dict]
) -> None:
    """They have no mean spectrum, so the training images are brought to one size."""
    for domain in ("d1", "d2"):
        shutil.copytree(world / domain, tmp_path / domain)
        for folder in ("train", "trainannot", "val", "valannot"):
            path = sorted((tmp_path / domain / folder).iterdir())[0]
            Image.open(path).resize((40, 48), Image.Resampling.NEAREST).save(path)
    for name in ("histogram", "fda"):
        found = asked(tmp_path / "d2", root=tmp_path / "d1", restyle=name, restyle_beta=0.1)
        assert np.sum(found["confusion"]) > 0
    with pytest.raises(InputError, match="no mean spectrum"):
        mean_amplitude([*images(1, (8, 8)), *images(1, (8, 9))])


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
    assert [(line.label, line.objective) for line in lines_of(entries_of(rows))] == [
        (label, False) for label in ("B0", "AdaBN", "histogram", "fda (restyle_beta=0.01)",
        "fda (restyle_beta=0.2)", "AdaBN+histogram")
    ]  # fmt: skip
    printed = [line.split()[1] for line in score_table(rows).splitlines()[1:]]
    assert printed[:3] == ["B0", "AdaBN", "histogram"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restyle": "fourier"}, r"Choices: '' \(empty\), histogram, fda"),
        ({"restyle": "fda", "restyle_beta": 0.5}, "restyle_beta is 0.5"),
        ({"restyle": "fda", "domain": "d1"}, "give domain=d2"),
    ],
)
def test_wrong_settings_are_named(world: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(EvaluateConfig(device="cpu", teacher=str(world / "teacher"), **settings))
