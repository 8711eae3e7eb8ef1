"""Augmentation: what moves moves alike on all sides, colours change on one side at a time."""

from itertools import combinations
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch
from commands import ROOT, python
from tiny import adapting

from adapt.data.augment import FILL, WINDOW, PairedAugmentation, flips, own, window
from adapt.data.images import IGNORE
from adapt.data.sampling import Stream, batches
from adapt.errors import InputError
from adapt.networks.preprocessing import as_input
from adapt.networks.taps import forward
from adapt.objective.distances import relative_distance
from adapt.settings.groups import DataConfig
from adapt.training.setup import prepare, resolve
from adapt.training.train import masks_of, one_step

H, W = 48, 64
GEOMETRY = DataConfig(scale=[0.5, 2.0], rotate=10.0, crop=[40, 40])


def coordinates() -> np.ndarray:
    """uint8 (H, W, 3): row, column and 255 at every pixel, so that a pixel says where it was."""
    rows, columns = np.mgrid[0:H, 0:W]
    return np.stack([2 * rows, 2 * columns, np.full((H, W), 255)], axis=2).astype(np.uint8)


def sample() -> dict[str, np.ndarray]:
    """Both images with the same pixels, a label that follows from the place, all valid."""
    rows, columns = np.mgrid[0:H, 0:W]
    label = ((rows // 12) * 4 + columns // 16).astype(np.uint8)
    return {
        "x1": coordinates(), "x2": coordinates(), "y": label, "valid": np.ones((H, W), np.uint8),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_all_sides_keep_their_pixels_together(seed: int) -> None:
    """Where a pixel of x1 came from is written in it: x2 says the same, and the label fits. What no
    image covers is void and not valid."""
    found = PairedAugmentation(GEOMETRY)(sample(), seed)
    assert all(array.shape[:2] == (40, 40) for array in found.values())
    assert np.array_equal(found["x1"], found["x2"])
    assert set(np.unique(found["valid"])) <= {0, 1}
    inside, outside = found["valid"] == 1, found["valid"] == 0
    place = found["x1"].astype(float)
    rows, columns = place[..., 0] / 2, place[..., 1] / 2
    sure = inside & (found["x1"][..., 2] == 255)  # no mixture with the fill
    away = (np.abs((rows + 0.5) % 12 - 6) < 4.5) & (np.abs((columns + 0.5) % 16 - 8) < 6.5)
    sure &= away  # nearest and linear may fall on two sides of a label's edge
    assert sure.any()
    wanted = (rows // 12) * 4 + columns // 16
    assert np.array_equal(found["y"][sure], wanted[sure].astype(np.uint8))
    assert np.array_equal(found["y"] == IGNORE, outside)
    assert set(np.unique(found["y"])) <= {*range(16), IGNORE}, "labels are never mixed"
    core = outside & np.roll(outside, 1, 0) & np.roll(outside, 1, 1)
    core &= np.roll(outside, -1, 0) & np.roll(outside, -1, 1)
    assert (found["x1"][core] == FILL).all()


@pytest.mark.parametrize("crop", [[40, 40], [H, W], [60, 30], [31, 77], [55, 71]])
def test_windows_are_those_of_albumentations(crop: list[int]) -> None:
    """The same draws and the same padding as its RandomCrop."""
    steps = [A.RandomCrop(*crop, pad_if_needed=True, fill=FILL, fill_mask=IGNORE)]
    usual = A.Compose(steps, additional_targets={"x2": "image", "y": "mask", "valid": "mask"})
    augment, arrays = PairedAugmentation(DataConfig(crop=crop, flip=False)), sample()
    rng = np.random.default_rng(0)
    arrays |= {k: rng.integers(0, 256, (H, W, 3), dtype=np.uint8) for k in ("x1", "x2")}
    for seed in [*range(40), 2**32 - 1]:
        found = augment(arrays, seed)
        usual.set_random_seed(own(seed, WINDOW))
        wanted = usual(**{"image" if k == "x1" else k: v for k, v in arrays.items()})
        wanted["valid"] = wanted["valid"] == 1
        for key, array in found.items():
            assert np.array_equal(array, wanted["image" if key == "x1" else key]), (seed, key)


def test_draws_do_not_depend_on_each_other() -> None:
    """Row and column of the window, mirroring, scale and rotation: each two of them, high and low,
    meet in about a quarter of the samples."""
    crop, count = [H // 2, W // 2], 400
    drawn = []
    for seed in range(count):
        moved = window({"x1": coordinates()}, crop, own(seed, WINDOW))["x1"]
        turned = PairedAugmentation(DataConfig(scale=[0.5, 2.0], flip=False))
        height = turned({"x1": coordinates()}, seed)["x1"].shape[0]
        rotated = PairedAugmentation(DataConfig(rotate=20.0, flip=False))
        left, right = rotated({"x1": coordinates()}, seed)["x1"][H // 2, [W // 4, -W // 4], 0]
        row, column = (int(moved[0, 0, axis]) for axis in (0, 1))
        drawn.append([row, column, flips(seed), height, int(left) - int(right)])
    values = np.array(drawn, float)
    high = values > np.median(values, axis=0).clip(max=values.max(axis=0) - 1)
    for a, b in combinations(range(high.shape[1]), 2):
        assert 0.15 < (high[:, a] & high[:, b]).mean() < 0.35, (a, b)


@pytest.mark.parametrize("config", [{"crop": [40, 40], "blur_x2": 2.0}, {"flip": False}, {}])
def test_what_is_augmented_stays_as_it_is(config: dict) -> None:
    """data.cache gives the same arrays again."""
    arrays, augment = sample(), PairedAugmentation(DataConfig(jitter_x1=0.3, **config))
    before = {key: array.copy() for key, array in arrays.items()}
    for seed in range(10):
        augment(arrays, seed)
    assert all(np.array_equal(arrays[key], before[key]) for key in before)


@pytest.mark.parametrize("scale", [[0.5, 0.8], [0.8, 1.2], [1.2, 2.0]])
def test_scaled_labels_lie_on_their_pixels(scale: list[float]) -> None:
    """Where a label comes from is, on average, where its pixel comes from: nothing is shifted."""
    columns = np.broadcast_to(np.arange(W), (H, W)).astype(np.uint8)
    arrays = {"x1": np.repeat(4 * columns[..., None], 3, axis=2), "y": columns}
    apart, heights = [], []
    for seed in range(60):
        found = PairedAugmentation(DataConfig(scale=scale, flip=False))(arrays, seed)
        heights.append(found["y"].shape[0] / H)
        inner = np.s_[:, 4:-4]  # enlarged images end in copies of their edge
        apart.append(np.mean(found["y"][inner] - found["x1"][inner][..., 0] / 4))
    assert abs(np.mean(apart)) < 0.1 and np.abs(apart).max() <= 0.5  # at half the size a tie
    assert scale[0] - 0.02 <= min(heights) < scale[0] * 1.15
    assert scale[1] + 0.02 >= max(heights) > scale[1] * 0.9


def test_rotation_turns_by_at_most_what_is_asked() -> None:
    angles = []
    for seed in range(40):
        config = DataConfig(rotate=10.0, flip=False)
        found = PairedAugmentation(config)(sample(), seed)["x1"].astype(float)
        centre = found[20:28, 26:38]
        down = np.diff(centre[..., 0], axis=0).mean(), np.diff(centre[..., 1], axis=0).mean()
        angles.append(np.degrees(np.arctan2(down[1], down[0])))
    assert -11 < min(angles) < -7 and 7 < max(angles) < 11  # one level is half a pixel here


def jittered(**changes: float) -> dict[str, np.ndarray]:
    config = DataConfig(crop=[40, 40], **changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    arrays = sample() | {"x1": image, "x2": image}
    return PairedAugmentation(config)(arrays, 5)


def test_photometry_is_drawn_for_each_side_and_moves_nothing() -> None:
    plain, both = jittered(), jittered(jitter_x1=0.4, jitter_x2=0.4, blur_x1=1, blur_x2=1)
    assert np.array_equal(plain["x1"], plain["x2"])
    assert not np.array_equal(both["x1"], both["x2"])
    assert np.array_equal(plain["y"], both["y"])
    for one, other in (("x1", "x2"), ("x2", "x1")):
        alone = jittered(**{f"jitter_{one}": 0.4, f"blur_{one}": 1.0})
        assert np.array_equal(alone[one], both[one]), "whatever the other side has"
        assert np.array_equal(alone[other], plain[other])

    blurred = jittered(blur_x2=3.0)["x2"].astype(float)
    assert blurred.std() < 0.9 * plain["x2"].std()
    assert blurred.mean() == pytest.approx(plain["x2"].mean(), abs=2)


def test_images_of_floating_point_are_blurred_and_not_cut_off() -> None:
    """They are normalised, so that half of their values lie below 0; nobody knows their colours."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 2, (H, W, 3)).astype(np.float32)
    arrays = sample() | {"x1": image, "x2": image}
    augmented = PairedAugmentation(DataConfig(blur_x2=3.0, flip=False))(arrays, 5)
    assert np.array_equal(augmented["x1"], image)
    assert augmented["x2"].min() < -0.1 and augmented["x2"].std() < 0.9 * image.std()
    assert augmented["x2"].mean() == pytest.approx(image.mean(), abs=0.02)
    shifted = PairedAugmentation(DataConfig(blur_x2=3.0, flip=False))(
        arrays | {"x2": 10 * image + 4}, 5
    )
    assert np.allclose(shifted["x2"], 10 * augmented["x2"] + 4, atol=1e-3)
    with pytest.raises(InputError, match=r"data\.jitter_x2 changes .* x2 has floating point"):
        PairedAugmentation(DataConfig(jitter_x2=0.3))(arrays, 5)


def test_padding_is_not_regressed(world: Path, tmp_path: Path) -> None:
    """The loss of a step is that of the cells which the batch's own mask leaves."""
    data = DataConfig(target=str(world / "d2"), scale=[0.5, 0.6], rotate=10.0, crop=[32, 40])
    config, start, teacher = resolve(adapting(world, tmp_path / "run", data=data))
    setup = prepare(config, start, teacher)
    source = Stream(setup.data, config.data, setup.fields, config.seed)
    batch = next(batches(source, config.batch, 0, 1))
    assert (batch["valid"] == 0).any() and batch["valid"].any()
    assert setup.teacher is not None
    found = {}
    for key, net in (("x1", setup.teacher), ("x2", setup.student)):
        shown = as_input(batch[key], config.network)
        with torch.no_grad():
            found[key] = forward(net, shown, ["pool3"])["pool3"]
        if net is setup.student:  # the pass has moved its statistics
            setup.student.load_state_dict(start.net.state_dict() if start else {})
    wanted = relative_distance(found["x2"], found["x1"], batch["valid"])
    assert one_step(setup, batch, 0)["loss"] == pytest.approx(wanted.item(), rel=1e-5)
    everywhere = relative_distance(found["x2"], found["x1"])
    assert abs(everywhere - wanted) > 1e-3 * wanted


def test_a_mask_that_masks_nothing_costs_nothing() -> None:
    ones, some = torch.ones(2, 3, 3), torch.tensor([[[1, 0]]])
    assert masks_of({"valid": ones, "y": some, "name": []}) == ["y"]
    assert masks_of({"valid": some}) == ["valid"] and masks_of({"x2": some}) == []


@pytest.mark.system
def test_starting_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """albumentations looks for a newer version of itself unless it is told not to."""
    code = (
        "import socket\n"
        "def asked(*_): raise SystemExit('asked the network')\n"
        "socket.getaddrinfo = socket.socket.connect = asked\n"
        "import adapt, albumentations"
    )
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
    assert python("-c", code, cwd=ROOT).stderr == ""
