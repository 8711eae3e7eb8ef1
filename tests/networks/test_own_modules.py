"""A user's modules named as this project's: theirs while their network is made, ours afterwards."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

import transforms
from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks import factory as factories
from adapt.networks.own_modules import OURS, ROOT, OwnFirst
from adapt.settings.groups import NetworkConfig

NET = """
from torch import nn
from transforms import scale
from viz.parts import Scaled
from adapt.networks.deeplab_vgg16 import DeepLabVGG16

def own(): return Scaled(scale(2))
def ours(): return DeepLabVGG16
def inside():
    from transforms import late
    return late()
def nothing():
    import no_such_module
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with transforms.py, a package viz without __init__, and data in adapt/."""
    (tmp_path / "transforms.py").write_text(
        "from torch import nn\ndef scale(n): return 10 * n\ndef late(): return nn.Conv2d(3, 7, 1)\n"
    )
    (tmp_path / "viz").mkdir()
    (tmp_path / "viz/parts.py").write_text(
        "from torch import nn\nclass Scaled(nn.Conv2d):\n"
        "    def __init__(self, n): super().__init__(3, n, 1)\n"
    )
    (tmp_path / "adapt").mkdir()
    (tmp_path / "adapt/image.png").touch()
    name = f"net_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factories, "_permitted", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def made(factory: str) -> object:
    factories.permit(factory)
    return build_network(NetworkConfig(factory=factory), 5)


def test_the_users_modules_win_while_the_network_is_made(module: str) -> None:
    """Also inside the factory, and a second time; then the names mean what they meant before."""
    before = {k: m for k, m in sys.modules.items() if k.split(".")[0] in ("adapt", "transforms")}
    for factory, channels in (("own", 20), ("inside", 7), ("own", 20)):
        net = made(f"{module}:{factory}")
        assert net.out_channels == channels  # type: ignore[attr-defined]
        assert sys.modules["transforms"] is transforms
        assert {k: sys.modules[k] for k in before} == before


def test_what_is_imported_after_the_network_is_this_projects(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in an editable installation, whose finder comes after the path."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("transforms", "viz")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(ROOT))])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, OwnFirst(ROOT, list(OURS))])
    made(f"{module}:own")
    assert import_module("viz.figures").STYLE.name == "style.mplstyle"
    assert import_module("transforms.painting")


def test_this_projects_modules_are_there_for_a_factory_too(module: str) -> None:
    """A folder of data that has the package's name hides nothing."""
    from adapt.networks.deeplab_vgg16 import DeepLabVGG16

    with pytest.raises(InputError, match=r"returned a type, no nn\.Module"):
        made(f"{module}:ours")
    assert sys.modules[module].DeepLabVGG16 is DeepLabVGG16


def test_what_cannot_be_imported_late_is_said(module: str) -> None:
    words = r"No module named 'no_such_module' \(of adapt, transforms, viz only what is imported"
    with pytest.raises(InputError, match=words):
        made(f"{module}:nothing")


@pytest.mark.parametrize(
    ("patterns", "trusted"),
    [("{}:*", True), ("nets:*, {}:own", True), ("*", True), ("", False), ("{}", False),
     ("{}:ow", False), ("x{}:*,:own", False)],
)  # fmt: skip
def test_factories_can_be_trusted_once(
    module: str, patterns: str, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRA_TRUST", patterns.format(module))
    config = NetworkConfig(factory=f"{module}:own")
    if trusted:
        assert build_network(config, 5)
        return
    with pytest.raises(InputError, match=f"or set FRA_TRUST={module}:own in the environment"):
        build_network(config, 5)
    assert module not in sys.modules
