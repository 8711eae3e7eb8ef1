"""data.download: torchvision's downloads, of archives that the test makes and serves itself."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torchvision.datasets.voc as voc
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import SBDataset

from adapt.config import DataConfig
from adapt.data import load
from adapt.errors import InputError


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def packed(folder: Path, archive: Path, mode: str) -> str:
    """Pack a folder under its own name; returns the MD5 that torchvision checks."""
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=folder.name)
    return hashlib.md5(archive.read_bytes()).hexdigest()


@pytest.fixture
def served(
    tmp_path: Path, voc_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """VOC's and SBD's archives behind a server on this machine."""
    place = tmp_path / "server"
    place.mkdir()
    handler = partial(Silent, directory=str(place))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()

    def address(archive: Path) -> str:
        return f"http://127.0.0.1:{server.server_port}/{archive.name}"

    tree = voc_tree(place / "VOCdevkit/VOC2012", train=6, val=2)
    lists = tree / "ImageSets/Segmentation"
    names = (lists / "train.txt").read_text().split()
    (lists / "train.txt").write_text("".join(f"{n}\n" for n in names[:4]))
    sbd = place / "benchmark_RELEASE/dataset"
    for folder in ("cls", "img", "inst"):
        (sbd / folder).mkdir(parents=True)
    for name in names[4:]:
        mask = np.array(Image.open(tree / f"SegmentationClass/{name}.png"))
        (tree / f"SegmentationClass/{name}.png").unlink()
        savemat(sbd / f"cls/{name}.mat", {"GTcls": {"Segmentation": np.where(mask > 20, 0, mask)}})
        Image.open(tree / f"JPEGImages/{name}.jpg").save(sbd / f"img/{name}.jpg")
    (sbd / "train.txt").write_text(f"{names[4]}\n")
    (sbd / "val.txt").write_text(f"{names[5]}\n")
    entry = dict(voc.DATASET_YEAR_DICT["2012"])
    archive = place / entry["filename"]
    entry |= {"md5": packed(place / "VOCdevkit", archive, "w"), "url": address(archive)}
    monkeypatch.setitem(voc.DATASET_YEAR_DICT, "2012", entry)
    archive = place / SBDataset.filename
    digest = packed(place / "benchmark_RELEASE", archive, "w:gz")
    monkeypatch.setattr(SBDataset, "md5", digest)
    monkeypatch.setattr(SBDataset, "url", address(archive))
    yield place
    server.shutdown()


def config(tmp_path: Path, **changes: str) -> DataConfig:
    return DataConfig(name="voc", root=str(tmp_path / "data"), download=True, **changes)  # type: ignore[arg-type]


def test_voc_and_sbd_are_fetched_and_united(served: Path, tmp_path: Path) -> None:
    data = load(config(tmp_path, sbd=str(tmp_path / "data/sbd")), "train")
    assert len(data.samples) == 6 and data.labelled
    assert sorted({Path(str(s.y1)).suffix for s in data.samples}) == [".mat", ".png"]


def test_what_is_there_is_not_fetched_again(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = config(tmp_path, sbd=str(tmp_path / "data/sbd"), train_split="train")
    load(wanted, "train")
    assert capsys.readouterr().out.count("fetching") == 2
    for archive in served.glob("*.t*"):
        archive.unlink()
    assert len(load(wanted, "train").samples) == 4
    assert "fetching" not in capsys.readouterr().out


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


def test_other_data_sets_are_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.download is for data=voc only; data is camvid"):
        load(DataConfig(name="camvid", root=str(tmp_path), download=True), "train")
