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

VOC_FOLDER = Path(DATASET_YEAR_DICT["2012"]["base_dir"])


def download(config: DataConfig) -> None:
    """Fetch a data set's archive below data.root (VOC's SBD into data.sbd where it is given); what
    is there already is left alone.

    Raises:
        InputError: another data set, or no connection; the message says which file to put where.
    """
    if config.name not in DOWNLOADS:
        known = ", ".join(DOWNLOADS)
        raise InputError(f"data.download is for {known} only; data is {config.name}")
    DOWNLOADS[config.name](config)


def caltech256(config: DataConfig) -> None:
    root, archive = Path(config.root), "256_ObjectCategories.tar"
    if not any((p / "256_ObjectCategories").is_dir() for p in (root, root / "caltech256")):
        fetch(
            lambda: Caltech256(root, download=True),
            "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
            root / "caltech256" / archive,
            "about 1.2 GB",
        )


def food101(config: DataConfig) -> None:
    root = Path(config.root)
    if not any((p / "meta").is_dir() for p in (root, root / "food-101")):
        fetch(
            lambda: Food101(root, download=True),
            Food101._URL,
            root / "food-101.tar.gz",
            "about 5 GB",
        )


def voc(config: DataConfig) -> None:
    """VOC 2012's archive, and SBD's."""
    root = Path(config.root)
    places = (root, root / VOC_FOLDER.name, root / VOC_FOLDER)
    if not any((place / "JPEGImages").is_dir() for place in places):
        entry = DATASET_YEAR_DICT["2012"]
        fetch(
            lambda: VOCSegmentation(root, year="2012", image_set="train", download=True),
            entry["url"],
            root / entry["filename"],
            "about 2 GB",
        )
    sbd = Path(config.sbd)
    if config.sbd and not (sbd / "cls").is_dir():
        fetch(lambda: sbdataset(sbd), SBDataset.url, sbd / SBDataset.filename, "about 1.4 GB")


def sbdataset(folder: Path) -> None:
    """torchvision moves SBD's files out of benchmark_RELEASE/dataset into `folder`; it refuses a
    folder that a broken download has left there."""
    shutil.rmtree(folder / "benchmark_RELEASE", ignore_errors=True)
    SBDataset(folder, image_set="train", mode="segmentation", download=True)


def fetch(get: Callable[[], object], url: str, file: Path, size: str) -> None:
    """Run a download of torchvision, which holds the archive against its MD5 and unpacks it;
    members that would lie outside are refused, links that lead there too."""
    if hasattr(tarfile, "data_filter"):  # from 3.11.4 on; torchvision asks for it itself now
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    file.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching {file.name} ({size}) into {file.parent}")
    try:
        get()
    except (URLError, HTTPException, OSError, RuntimeError, tarfile.TarError) as error:
        raise InputError(
            f"data.download: {file.name} cannot be had ({error}). Fetch {url} on a machine with a "
            f"network, put it at {file} and start the same command again: it is unpacked from there"
        ) from None


DOWNLOADS = {"voc": voc, "caltech256": caltech256, "food101": food101}
"""Adding a download is one function and one line here."""
