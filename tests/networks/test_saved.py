"""Networks on disk: plain weights, verified, never partly loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import edit_record

from adapt.disk.files import sha256
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
