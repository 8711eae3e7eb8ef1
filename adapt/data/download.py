"""VOC 2012 and SBD by torchvision, for those with a network."""

import shutil
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets import SBDataset, VOCSegmentation
from torchvision.datasets.voc import DATASET_YEAR_DICT

from adapt.config import DataConfig
from adapt.errors import InputError
from adapt.runtime import say

VOC_FOLDER = Path(DATASET_YEAR_DICT["2012"]["base_dir"])


def download(config: DataConfig) -> None:
    """Fetch VOC 2012's archive below data.root, and SBD's into data.sbd where it is given; what is
    there already is left alone.

    Raises:
        InputError: another data set, or no connection; the message says which file to put where.
    """
    if config.name != "voc":
        raise InputError(f"data.download is for data=voc only; data is {config.name}")
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
    """Run a download of torchvision, which checks the archive and unpacks it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching {file.name} ({size}) into {file.parent}")
    try:
        get()
    except (URLError, HTTPException, OSError, RuntimeError) as error:
        raise InputError(
            f"data.download: {file.name} cannot be had ({error}). Fetch {url} on a machine with a "
            f"network, put it at {file} and start the same command again: it is unpacked from there"
        ) from None
