"""VOC 2012's and SBD's archives in small, and a server on this machine that has them."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat

VOC, SBD = "VOCtrainval_11-May-2012.tar", "benchmark.tgz"


class Archive(NamedTuple):
    path: Path
    md5: str


def packed(folder: Path, archive: Path, mode: str) -> Archive:
    """A folder under its own name."""
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=folder.name)
    return Archive(archive, hashlib.md5(archive.read_bytes()).hexdigest())


def make_archives(place: Path, voc_tree: Callable[..., Path]) -> tuple[Archive, Archive]:
    """VOC with 4 train and 2 val images, two more as images only, whose labels SBD has (one in
    each of its lists, beside one of VOC's train and one of VOC's val)."""
    tree = voc_tree(place / "VOCdevkit/VOC2012", train=6, val=2)
    lists = tree / "ImageSets/Segmentation"
    names, val = ((lists / f"{s}.txt").read_text().split() for s in ("train", "val"))
    (lists / "train.txt").write_text("".join(f"{n}\n" for n in names[:4]))
    sbd = place / "benchmark_RELEASE/dataset"
    for folder in ("cls", "img", "inst"):
        (sbd / folder).mkdir(parents=True)
    for name in names[4:]:
        mask = np.array(Image.open(tree / f"SegmentationClass/{name}.png"))
        (tree / f"SegmentationClass/{name}.png").unlink()
        content = np.where(mask > 20, 0, mask)  # SBD marks no borders
        savemat(sbd / f"cls/{name}.mat", {"GTcls": {"Segmentation": content}})
        Image.open(tree / f"JPEGImages/{name}.jpg").save(sbd / f"img/{name}.jpg")
    (sbd / "train.txt").write_text(f"{names[0]}\n{names[4]}\n")
    (sbd / "val.txt").write_text(f"{val[0]}\n{names[5]}\n")
    return (
        packed(place / "VOCdevkit", place / VOC, "w"),
        packed(place / "benchmark_RELEASE", place / SBD, "w:gz"),
    )


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(place: Path) -> Iterator[str]:
    """The address of a server that has the files of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(place)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
