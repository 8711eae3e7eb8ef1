"""data.download: torchvision's downloads, of archives that the test makes and serves itself."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torchvision.datasets.voc as voc
from archives import SBD, VOC, make_archives, serving
from torchvision.datasets import SBDataset

from adapt.data import load
from adapt.errors import InputError
from adapt.settings.groups import DataConfig


@pytest.fixture
def served(
    tmp_path: Path, voc_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder that the addresses stand for from which torchvision downloads."""
    place = tmp_path / "server"
    place.mkdir()
    first, second = make_archives(place, voc_tree)
    with serving(place) as address:
        entry = {"md5": first.md5, "url": f"{address}/{VOC}"}
        monkeypatch.setitem(voc.DATASET_YEAR_DICT, "2012", voc.DATASET_YEAR_DICT["2012"] | entry)
        monkeypatch.setattr(SBDataset, "md5", second.md5)
        monkeypatch.setattr(SBDataset, "url", f"{address}/{SBD}")
        yield place


def config(tmp_path: Path, **changes: str) -> DataConfig:
    return DataConfig(name="voc", root=str(tmp_path / "data"), download=True, **changes)  # type: ignore[arg-type]


def test_voc_and_sbd_are_fetched_once_and_united(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = config(tmp_path, sbd=str(tmp_path / "data/sbd"))
    data = load(wanted, "train")
    assert len(data.samples) == 6 and data.labelled
    assert sorted({Path(str(s.y1)).suffix for s in data.samples}) == [".mat", ".png"]
    assert capsys.readouterr().out.count("fetching") == 2
    for archive in served.glob("*.t*"):
        archive.unlink()
    assert load(wanted, "train") == data and "fetching" not in capsys.readouterr().out


def test_without_a_connection_the_archive_and_its_place_are_named(
    served: Path, tmp_path: Path
) -> None:
    archive = served / "VOCtrainval_11-May-2012.tar"
    content = archive.read_bytes()
    archive.unlink()
    with pytest.raises(InputError) as refused:
        load(config(tmp_path, train_split="train"), "train")
    place = tmp_path / "data" / archive.name
    assert f"/{archive.name} on a machine" in str(refused.value)
    assert f"put it at {place}" in str(refused.value)
    place.write_bytes(content)
    assert len(load(config(tmp_path, train_split="train"), "train").samples) == 4


def test_a_damaged_archive_is_refused(served: Path, tmp_path: Path) -> None:
    archive = served / "VOCtrainval_11-May-2012.tar"
    archive.write_bytes(archive.read_bytes()[:-2000] + b"x" * 2000)
    with pytest.raises(InputError, match="cannot be had"):
        load(config(tmp_path, train_split="train"), "train")


@pytest.mark.parametrize("how", ["..", "absolute", "link"])
def test_an_archive_cannot_write_outside(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Were its checksum known to be right, too."""
    place = tmp_path / "data"
    with tarfile.open(served / VOC, "w") as tar:
        member = tarfile.TarInfo("../escaped" if how == ".." else f"{tmp_path}/escaped")
        if how == "link":
            member = tarfile.TarInfo("VOCdevkit")
            member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path)
            tar.addfile(member)
            member = tarfile.TarInfo("VOCdevkit/escaped")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"out"))
    digest = hashlib.md5((served / VOC).read_bytes()).hexdigest()
    monkeypatch.setitem(voc.DATASET_YEAR_DICT["2012"], "md5", digest)
    words = r"data\." if how == "absolute" else r"\.tar cannot be had \(.*(outside|link)"
    with pytest.raises(InputError, match=words):  # tar drops a leading slash: then no data is there
        load(config(tmp_path, train_split="train"), "train")
    assert not (tmp_path / "escaped").exists() and place.is_dir()


def test_other_data_sets_are_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.download is for voc, caltech256, food101 only"):
        load(DataConfig(name="camvid", root=str(tmp_path), download=True), "train")
