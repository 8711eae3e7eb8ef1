"""VOC 2012, SBD, Caltech-256 and Food-101 by torchvision, for those with a network."""

import shutil
import tarfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets import Caltech256, Food101, SBDataset, VOCSegmentation
from torchvision.datasets.voc import DATASET_YEAR_DICT

from adapt.errors import InputError
from adapt.machine.runtime import say
from adapt.settings.groups import DataConfig


def download(config: DataConfig) -> None:
    """Fetch a data set's archive below data.root (VOC's SBD into data.sbd where it is given); what
    is there already is left alone. Without a connection an InputError says which file to put
    where."""
    if config.name not in DOWNLOADS:
        known = ", ".join(DOWNLOADS)
        raise InputError(f"data.download is for {known} only; data is {config.name}")
    DOWNLOADS[config.name](config)


def caltech256(config: DataConfig) -> None:
    root, images = Path(config.root), "256_ObjectCategories"
    if any((place / images).is_dir() for place in (root, root / "caltech256")):
        return
    url = f"https://data.caltech.edu/records/nyy15-4j048/files/{images}.tar"
    fetch(lambda: Caltech256(root, download=True), url, root / "caltech256", "about 1.2 GB")


def food101(config: DataConfig) -> None:
    root = Path(config.root)
    if not any((place / "meta").is_dir() for place in (root, root / "food-101")):
        fetch(lambda: Food101(root, download=True), Food101._URL, root, "about 5 GB")


def voc(config: DataConfig) -> None:
    """VOC 2012's archive, and SBD's."""
    root, sbd, about = Path(config.root), Path(config.sbd), DATASET_YEAR_DICT["2012"]
    places = (root, root / "VOC2012", root / about["base_dir"])
    if not any((place / "JPEGImages").is_dir() for place in places):
        fetch(
            lambda: VOCSegmentation(root, year="2012", image_set="train", download=True),
            about["url"], root, "about 2 GB",
        )  # fmt: skip
    if config.sbd and not (sbd / "cls").is_dir():
        # torchvision refuses the folder that a broken download has left
        shutil.rmtree(sbd / "benchmark_RELEASE", ignore_errors=True)
        fetch(
            lambda: SBDataset(sbd, image_set="train", mode="segmentation", download=True),
            SBDataset.url, sbd, "about 1.4 GB",
        )  # fmt: skip


def fetch(get: Callable[[], object], url: str, folder: Path, size: str) -> None:
    """Run a download of torchvision, which compares the archive with its MD5 and unpacks it;
    members that would lie outside are refused, and links that lead there too."""
    if hasattr(tarfile, "data_filter"):  # from 3.11.4 on; torchvision asks for it itself now
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    folder.mkdir(parents=True, exist_ok=True)
    name = url.rpartition("/")[2]
    say(f"fetching {name} ({size}) into {folder}")
    try:
        get()
    except (URLError, HTTPException, OSError, RuntimeError, tarfile.TarError) as error:
        raise InputError(
            f"data.download: {name} cannot be had ({error}). Fetch {url} on a machine with a "
            f"network, put it at {folder / name} and start the same command again: it is unpacked "
            "from there"
        ) from None


DOWNLOADS = {"voc": voc, "caltech256": caltech256, "food101": food101}
"""Adding a download is one function and one line here."""
