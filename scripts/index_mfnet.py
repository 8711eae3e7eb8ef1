"""MFNet (Ha et al. 2017): road scenes whose PNG files have thermal as a fourth channel.

    images/<number>{D,N}.png     red, green, blue: x1; thermal: x2
    labels/<number>{D,N}.png     both sides
    {train,val,test}.txt         names

Written as PNG to x1/, x2/ and labels/ beside the list. Names of mirrored copies (`_flip`) are left
out: data.flip mirrors. Many pairs are not aligned to the pixel; see fra align.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

import numpy as np

from adapt.data.files import folder, lines
from adapt.data.images import read_image, read_mask
from adapt.data.index import arguments, converted_rows, run, write_index
from adapt.errors import InputError

CLASSES = (
    "unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "colour cone", "bump",
)  # fmt: skip


def colours(path: Path) -> np.ndarray:
    return read_image(path, (1, 2, 3))


def thermal(path: Path) -> np.ndarray:
    return read_image(path, (4, 4, 4))


def indices(path: Path) -> np.ndarray:
    return read_mask(path, len(CLASSES))


def main() -> None:
    given = arguments(__doc__ or "", split=("train", "val", "test"))
    images = folder(given.root / "images", "root (MFNet)")
    names = [n for n in lines(given.root / f"{given.split}.txt") if not n.endswith("_flip")]
    files = {name: images / f"{name}.png" for name in names}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise InputError(f"{given.root / given.split}.txt: no such file: {missing[0]}")
    labels = {name: given.root / "labels" / f"{name}.png" for name in names}
    sources = {"x1": files, "x2": files, "y1": {k: v for k, v in labels.items() if v.is_file()}}
    convert = {"x1": colours, "x2": thermal, "y1": indices}
    rows = converted_rows(given.out.parent, sources, convert)
    both = [row | ({"y2": row["y1"]} if "y1" in row else {}) for row in rows]
    write_index(given.out, both, CLASSES, "MFNet")


if __name__ == "__main__":
    run(main)
