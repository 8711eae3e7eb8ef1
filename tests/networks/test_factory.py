"""A user's own network: called as it wants to be, imported only when the command names it."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks import factory as factories
from adapt.networks.saved import load_model, save_model
from adapt.settings.groups import NetworkConfig

SOURCE = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("ran").touch()
def fixed(): return nn.Conv2d(3, 4, 1)
def counted(num_classes, bias=True): return nn.Conv2d(3, num_classes, 1, bias=bias)
def chained(num_classes): return nn.Sequential(counted(num_classes))
def other(width): return nn.Conv2d(3, width, 1)
def nothing(): return 3
def scripted():
    import torch
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1)))
def ends(): raise SystemExit(0)
def empty(): return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 0, 1))
value = 5
def lazy(): return nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyConv2d(4, 1))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the folder where the command was started."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factories, "_permitted", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def made(factory: str, classes: int = 5, **changes: object) -> nn.Module:
    factories.permit(factory)
    return build_network(NetworkConfig(factory=factory, **changes), classes)  # type: ignore[arg-type]


def test_the_number_of_classes_goes_to_a_factory_that_asks_for_it(module: str) -> None:
    assert made(f"{module}:counted").out_channels == 5
    assert made(f"{module}:fixed").out_channels == 4
    assert made(f"{module}:counted", arguments={"num_classes": 7}).out_channels == 7
    assert made(f"{module}:counted", arguments={"bias": False}).bias is None


def test_a_factory_is_imported_only_when_the_command_names_it(module: str, tmp_path: Path) -> None:
    """Also that of a run, which records it."""
    factory = f"{module}:chained"
    with pytest.raises(InputError, match=f"if you trust it, give network.factory={factory}"):
        build_network(NetworkConfig(factory=factory), 2)
    assert not (tmp_path / "ran").exists()
    config = NetworkConfig(factory=factory, aliases={"pool5": "0"})
    net = made(factory, 2, aliases=config.aliases)
    assert (tmp_path / "ran").exists()
    save_model(tmp_path / "run", net, config, ("a", "b"))
    found = load_model(tmp_path / "run")
    assert (found.network, found.classes, found.net.aliases) == (config, ("a", "b"), net.aliases)
    assert torch.equal(found.net[0].weight, net[0].weight)  # type: ignore[index]
    factories._permitted.clear()
    with pytest.raises(InputError, match=f"network.factory={factory}"):
        load_model(tmp_path / "run")


@pytest.mark.parametrize(
    ("factory", "classes", "changes", "message"),
    [
        ("{}:missing", 5, {}, "has no attribute 'missing'"),
        ("{}:other", 5, {}, r"called with \{\}: .*width"),
        ("{}:fixed", 5, {"arguments": {"width": 3}}, "called with {'width': 3}"),
        ("{}:nothing", 5, {}, "returned a int, no nn.Module"),
        ("{}:counted", 0, {}, r"takes num_classes: name the classes \(data.classes"),
        ("{}:fixed", 5, {"width": 0.5}, "network.width"),
        ("{}:fixed", 5, {"aliases": {"pool5": "deep"}}, "network.aliases.pool5"),
        ("no_such:net", 5, {}, r"No module named 'no_such' \(looked in /"),
        ("no_colon", 5, {}, r"give package\.module:function"),
        ("..{}:fixed", 5, {}, r"give package\.module:function"),
        ("{}:value", 5, {}, "is a value of type int, no function"),
        ("{}:ends", 5, {}, r"ends the program \(SystemExit: 0\) instead of returning"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said(
    module: str, factory: str, classes: int, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        made(factory.format(module), classes, **changes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scripted", "the network is TorchScript"),
        ("lazy", "1 is lazy: .*run an image through"),
        ("empty", "1: weight is 0x4x1x1: it has no elements"),
    ],
)
def test_networks_that_cannot_be_tapped_are_refused(module: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"network.factory={module}:{name}: {message}"):
        made(f"{module}:{name}")
