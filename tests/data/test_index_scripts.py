"""The scripts that write pair lists of public data sets: what they refuse, and by which name."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image

from adapt.data.index import read_tiff
from adapt.errors import InputError


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (1, 2, 3)).save(path)
    return path


def tiff(path: Path, *shape: int, value: int = 99) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full(shape, value, np.uint8))
    return path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """An index script as a module; it changes sys.path as a script does."""

    def load(name: str) -> ModuleType:
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.delitem(sys.modules, f"scripts.index_{name}", raising=False)
        return import_module(f"scripts.index_{name}")

    return load


def vkitti(index: Callable[[str], ModuleType], place: Path, *options: str) -> None:
    module = index("vkitti2")
    sys.argv = ["index_vkitti2.py", str(place), *options]
    module.main()


def test_index_scripts_name_what_does_not_belong(
    index: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    photo(tmp_path / "rgb_anon/fog/train/GOPR0475/x_rgb_anon.png")
    with pytest.raises(InputError, match=r"x_rgb_anon\.png: its clear .* missing: .*x_rgb_ref"):
        index("acdc").rows(tmp_path, "fog", "train")
    with pytest.raises(InputError, match=r"flair\.tif: values \[99\] are no class"):
        index("flair").indices(tiff(tmp_path / "flair.tif", 8, 8))
    with pytest.raises(InputError, match=r"etm\.tif: uint8 \(8, 8, 2\)"):
        index("nlcd").colours(tiff(tmp_path / "etm.tif", 2, 8, 8), (2, 1, 0))
    with pytest.raises(InputError, match=r"codes\.tif: 99 is no NLCD code"):
        index("nlcd").indices(tiff(tmp_path / "codes.tif", 8, 8))
    with pytest.raises(InputError, match=r"classgt\.png: has colours that are no class"):
        index("vkitti2").indices(photo(tmp_path / "classgt.png"))
    with pytest.raises(InputError, match=r"variation 15-deg-left .*Choices: fog, morning"):
        vkitti(index, tmp_path, "--variation", "15-deg-left")
    photo(tmp_path / "v/Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg")
    with pytest.raises(InputError, match=r"rgb_00000\.jpg: its fog .* missing: .*Scene01/fog"):
        vkitti(index, tmp_path / "v")


def test_tiffs_need_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=r"pip install '\.\[geo\]'"):
        read_tiff(Path("a.tif"))
