"""Networks on disk: plain weights, verified, never partly loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import edit_record

from adapt.disk.files import sha256
from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.saved import load_model, save_model
from adapt.settings.groups import NetworkConfig

CONFIG = NetworkConfig(width=1 / 32, batch_norm=True)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path, build_network(CONFIG, 3), CONFIG, ("a", "b", "c"))
    return tmp_path


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Other weights with a digest that agrees."""
    save_file(tensors, folder / "model.safetensors")
    edit_record(folder / "model.json", sha256=sha256(folder / "model.safetensors"))


def test_weights_load_into_the_bare_class(saved: Path) -> None:
    bare = DeepLabVGG16(3, width=1 / 32, batch_norm=True)
    bare.load_state_dict(load_file(saved / "model.safetensors"))
    loaded = load_model(saved)
    for key, value in loaded.net.state_dict().items():
        assert torch.equal(value, bare.state_dict()[key])
    assert loaded.digest == sha256(saved / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.bias"), "missing: classifier.bias"),
        (lambda t: t.update(stray=torch.ones(1)), "not in the network: stray"),
        (lambda t: t.update({"classifier.bias": torch.ones(7)}), r"\(7,\) instead of \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(saved: Path, change, message: str) -> None:
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    rewrite(saved, tensors)
    with pytest.raises(InputError, match=message):
        load_model(saved)


def test_altered_file_is_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"model\.safetensors: altered or damaged: its SHA-256"):
        load_model(saved)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: (p / "model.safetensors").unlink(), "has not finished"),
        (lambda p: (p / "model.json").unlink(), "has not finished"),
        (lambda p: (p / "model.json").write_text('{"format": 7}'), "format 7; this is 2"),
    ],
)
def test_incomplete_model_is_explained(saved: Path, break_it, message: str) -> None:
    break_it(saved)
    with pytest.raises(InputError, match=message):
        load_model(saved)
    with pytest.raises(InputError, match="no such run folder"):
        load_model(saved / "gone")
