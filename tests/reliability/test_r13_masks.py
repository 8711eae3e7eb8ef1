"""R13: masks are indices, read without colour conversion, and nothing else passes for one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from scipy.io import savemat
from tiny import teaching

from adapt.data.images import IGNORE, read_indices, read_mask
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.training.train import train


@pytest.mark.parametrize("mode", ["L", "P"])
def test_r13_masks_hold_their_indices_whatever_the_palette(tmp_path: Path, mode: str) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(8, 32)
    mask = Image.fromarray(indices)
    if mode == "P":
        mask.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    mask.save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png", 255)
    assert found.dtype == np.uint8 and np.array_equal(found, indices)


def test_r13_void_becomes_ignore_and_labels_out_of_range_are_counted(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 10, 11, 255, 12, 12]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", 11, (11, 12)).tolist() == [[0, 10, *[IGNORE] * 4]]
    words = r"m\.png: label 11 \(1 pixels\), 12 \(2 pixels\) is out of range; classes are 0\.\.10"
    with pytest.raises(InputError, match=words):
        read_mask(tmp_path / "m.png", 11)


def sbd_file(path: Path, mask: np.ndarray) -> Path:
    savemat(path, {"GTcls": {"Segmentation": mask}}, do_compression=True)
    return path


def test_r13_sbd_masks_hold_their_indices_and_no_other_values(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 21, (5, 9), dtype=np.uint8)
    for kind in (np.uint8, np.float64):
        assert np.array_equal(read_mask(sbd_file(tmp_path / "a.mat", mask.astype(kind)), 21), mask)
    with pytest.raises(InputError, match=r"a\.mat: label .* is out of range"):
        read_mask(tmp_path / "a.mat", 20)
    for value in (300.0, -1.0, 3.5):
        path = sbd_file(tmp_path / "a.mat", np.full((4, 4), value))
        with pytest.raises(InputError, match=r"a\.mat: .*0\.\.255"):
            read_indices(path)


BROKEN: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "other": (lambda p, _: savemat(p, {"GTinst": np.zeros((2, 2))}), "not an SBD class file"),
    "cut": (lambda p, whole: p.write_bytes(whole[: len(whole) // 2]), "not an SBD class file"),
    "flipped": (
        lambda p, whole: p.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]),
        "not an SBD class file",
    ),
    "empty": (lambda p, _: p.write_bytes(b""), "not an SBD class file"),
    "absent": (lambda p, _: p.unlink(), "no such file"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_r13_a_mat_file_of_something_else_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    mask = np.random.default_rng(0).integers(0, 21, (40, 56), dtype=np.uint8)
    path = sbd_file(tmp_path / "a.mat", mask)
    change, words = BROKEN[damage]
    change(path, path.read_bytes())
    with pytest.raises(InputError, match=rf"a\.mat: {words}"):
        read_mask(path, 21)


# ---- in training


@pytest.fixture
def place(camvid_tree: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with a data set `d1` of its own."""
    camvid_tree(tmp_path / "d1", train=4, val=1)
    return tmp_path


@pytest.mark.parametrize("every", [True, False])
def test_r13_masks_of_void_alone_give_a_loss_of_0(place: Path, every: bool) -> None:
    """The mean over no pixel would be NaN; beside another image it is over the other's pixels."""
    for number, path in enumerate(sorted((place / "d1/trainannot").iterdir())):
        if every or not number:
            void = np.full(np.array(Image.open(path)).shape, (255, 11)[number % 2], np.uint8)
            Image.fromarray(void).save(path)
    run = train(teaching(place, steps=3))
    lines = [line for line in read_metrics(run) if "loss" in line]
    assert len(lines) == 3
    if every:
        assert {(line["loss"], line["grad_norm"]) for line in lines} == {(0.0, 0.0)}
    assert all((line["loss"] > 0) != every and line["loss"] < 20 for line in lines)
    tensors = load_file(run / "model.safetensors")
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())


WRONG: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "another size": (lambda a: a[:-1], r"sizes \(H, W\) differ: .*\(40, 56\).*\(39, 56\)"),
    "value C": (lambda a: np.where(a, a, 12).astype(np.uint8), r"label 12 \(\d+ pixels\) is out"),
    "RGB": (lambda a: np.stack([a, a, a + 1], axis=2), r"data\.colors"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("workers", [0, 2])
def test_r13_training_stops_at_a_wrong_mask(place: Path, wrong: str, workers: int) -> None:
    change, words = WRONG[wrong]
    path = place / "d1/trainannot/train_002.png"
    Image.fromarray(change(np.array(Image.open(path)))).save(path)
    with pytest.raises(InputError, match=words) as stopped:
        train(teaching(place, steps=2, workers=workers))
    assert str(path) in str(stopped.value) and "Traceback" not in str(stopped.value)
