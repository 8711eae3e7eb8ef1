"""Networks on disk: plain weights, verified, never partly loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import edit_record, flip

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


@pytest.mark.parametrize("changes", [{}, {"seal": "5a"}, {"format": 1}], ids=str)
def test_weights_load_into_the_bare_class(saved: Path, changes: dict) -> None:
    """Descriptions of earlier versions, some of which carry a seal, are read as well."""
    edit_record(saved / "model.json", **changes)
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
    save_file(tensors, saved / "model.safetensors")
    edit_record(saved / "model.json", sha256=sha256(saved / "model.safetensors"))
    with pytest.raises(InputError, match=message):
        load_model(saved)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda p: flip(p / "model.safetensors"),
            "altered, damaged or of another run: its SHA-256",
        ),
        (lambda p: (p / "model.safetensors").unlink(), "has not finished"),
        (lambda p: (p / "model.json").unlink(), "has not finished"),
        (lambda p: edit_record(p / "model.json", format=7), "format 7; this is 2"),
        (lambda p: edit_record(p / "model.json", classes=None), r"model\.json: it has no classes"),
        (lambda p: (p / "model.json").write_text("{"), r"model\.json: broken JSON"),
    ],
)
def test_what_is_damaged_or_incomplete_is_explained(saved: Path, break_it, message: str) -> None:
    break_it(saved)
    with pytest.raises(InputError, match=message):
        load_model(saved)
    with pytest.raises(InputError, match="no such run folder"):
        load_model(saved / "gone")
