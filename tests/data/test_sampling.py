"""Batches are a pure function of (seed, epoch, index), and the files of a sample stay together."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from adapt.data import DataSet, Sample
from adapt.data.augment import resize
from adapt.data.images import write_png
from adapt.data.sampling import Batch, Decoder, Stream, batches
from adapt.errors import InputError
from adapt.settings.groups import DataConfig

HEIGHT, WIDTH, COUNT = 20, 28, 5
FIELDS = ("x1", "x2", "y1", "valid")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Samples whose files all encode the position: x1 = (row, column, sample), x2 = 255 - x1,
    y = row, valid = (row + column) even. Any file that is moved by itself shows."""
    root = tmp_path_factory.mktemp("samples")
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
    samples = []
    for i in range(COUNT):
        x1 = np.dstack([row, column, np.full_like(row, i)])
        made = {"x1": x1, "x2": 255 - x1, "y1": row, "valid": 255 * ((row + column) % 2 == 0)}
        files = {field: root / f"{i}_{field}.png" for field in made}
        for field, array in made.items():
            write_png(files[field], array.astype(np.uint8))
        samples.append(Sample(f"s{i}", **files))
    return DataSet("pairs", "train", tuple(f"row{i}" for i in range(HEIGHT)), (), tuple(samples))


def config(**changes: Any) -> DataConfig:
    return DataConfig(**{"crop": [12, 16], **changes})


def drawn(data: DataSet, steps: range, batch: int = 3, workers: int = 0) -> list[Batch]:
    stream = Stream(data, config(), FIELDS, seed=0)
    return list(batches(stream, batch, steps.start, steps.stop, workers))


STEPS = range(2 * COUNT)  # of three samples each: six epochs


@pytest.fixture(scope="module")
def straight(data: DataSet) -> list[Batch]:
    return drawn(data, STEPS)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_as_documented_and_images_are_not_transposed(
    data: DataSet, workers: int
) -> None:
    """Networks run channels last, as files are decoded."""
    for batch in drawn(data, STEPS[:4], workers=workers):
        assert batch["name"] == [f"s{int(i)}" for i in batch["x1"][:, 2, 0, 0]]
        assert {k: tuple(v.shape) for k, v in batch.items() if k != "name"} == {
            "x1": (3, 3, 12, 16), "x2": (3, 3, 12, 16), "y": (3, 12, 16), "valid": (3, 12, 16)
        }  # fmt: skip
        assert all(v.dtype == torch.uint8 for k, v in batch.items() if k != "name")
        for side in ("x1", "x2"):
            assert batch[side].is_contiguous(memory_format=torch.channels_last)


def test_the_batch_size_only_divides_the_same_sequence(
    data: DataSet, straight: list[Batch]
) -> None:
    singly = drawn(data, range(3 * len(STEPS)), batch=1)
    for field in ("x1", "x2", "y", "valid"):
        joined = torch.cat([b[field] for b in singly])
        assert torch.equal(joined, torch.cat([b[field] for b in straight]))


def test_every_epoch_holds_every_sample_once_in_an_order_of_its_own(data: DataSet) -> None:
    stream = Stream(data, config(), ["x1"], seed=3)
    epochs = [[stream[e * COUNT + i]["name"] for i in range(COUNT)] for e in range(6)]
    assert all(sorted(epoch) == [f"s{i}" for i in range(COUNT)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_leave_the_global_random_state_alone(data: DataSet) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn(data, range(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_all_files_of_a_sample_get_one_geometry(straight: list[Batch]) -> None:
    mirrored = set()
    for batch in straight:
        rows, columns = batch["x1"][:, 0], batch["x1"][:, 1]
        assert torch.equal(batch["x2"], 255 - batch["x1"])
        assert torch.equal(batch["y"], rows)
        assert torch.equal(batch["valid"], ((rows + columns) % 2 == 0).to(torch.uint8))
        # A crop is a window: rows rise by one, columns rise or, mirrored, fall by one.
        assert (rows.int().diff(dim=1) == 1).all()
        for image in columns.int():
            steps = image.diff(dim=1).unique().tolist()
            assert steps in ([1], [-1])
            mirrored.add(steps[0])
    assert mirrored == {1, -1}


def test_samples_without_a_valid_mask_are_valid_everywhere_beside_others(data: DataSet) -> None:
    """A CSV may leave cells of its `valid` column empty."""
    mixed = replace(data, samples=(data.samples[0], replace(data.samples[1], valid=None)))
    (batch,) = batches(Stream(mixed, config(), FIELDS, seed=0), 2, 0, 1)
    share = {n: v.float().mean().item() for n, v in zip(batch["name"], batch["valid"], strict=True)}
    assert share == {"s0": 0.5, "s1": 1.0}


@pytest.mark.parametrize("size", [(10, 14), (33, 50)])
def test_resized_labels_are_never_mixtures(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    label = rng.choice(np.array([0, 7, 255], np.uint8), (HEIGHT, WIDTH))
    found = resize({"y": label, "valid": label}, list(size))
    # Pixel centres: output i shows the input that its centre falls into.
    rows = ((np.arange(size[0]) + 0.5) * HEIGHT / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * WIDTH / size[1]).astype(int)
    for key in ("y", "valid"):
        assert np.array_equal(found[key], label[np.ix_(rows, columns)])


def test_one_number_is_the_shorter_side_and_the_shape_stays() -> None:
    for shape, wanted in (((30, 60), (20, 40)), ((61, 30), (41, 20)), ((8, 8), (20, 20))):
        assert resize({"x1": np.zeros((*shape, 3), np.uint8)}, [20])["x1"].shape[:2] == wanted
    for wrong in ([0], [1, 2, 3]):
        with pytest.raises(InputError, match=r"data\.resize"):
            DataConfig(resize=wrong)


def test_shrunk_images_are_averages_of_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    found = resize({"x1": image}, [4, 4])["x1"]
    wanted = image.reshape(4, 2, 4, 3, 3).mean(axis=(1, 3))
    assert found.shape == (4, 4, 3)
    assert np.abs(found - wanted).max() <= 0.5 + 1e-6  # rounding to 8 bits


def test_the_cache_changes_nothing_but_the_reading(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Stream(data, config(resize=[16, 24]), FIELDS, seed=0)
    cached = Stream(data, config(resize=[16, 24], cache=True), FIELDS, seed=0)
    positions = range(2 * COUNT)
    for p in positions:
        assert all(torch.equal(cached[p][k], plain[p][k]) for k in ("x1", "x2", "y", "valid"))

    def refuse(decoder: Decoder, sample: Sample, name: str) -> np.ndarray:
        raise AssertionError("it was read again")

    monkeypatch.setattr(Decoder, "read", refuse)
    assert len([cached[p] for p in positions]) == len(positions)
