"""ACDC (Sakaridis et al. 2021): each adverse image with the clear one of the same place.

    rgb_anon/<condition>/<split>/<sequence>/<name>_rgb_anon.png      x2
    rgb_anon/<condition>/<split>_ref/<sequence>/<name>_rgb_ref_anon.png   x1
    gt/<condition>/<split>[_ref]/<sequence>/<name>_gt[_ref]_labelTrainIds.png

The two were taken on different days: they do not match to the pixel.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.data.files import folder
from adapt.data.index import Row, arguments, run, write_index
from adapt.data.segmentation import CITYSCAPES_LABELS
from adapt.errors import InputError

CONDITIONS = ("all", "fog", "night", "rain", "snow")


def rows(root: Path, condition: str, split: str) -> list[Row]:
    found = []
    for new in sorted(folder(root / "rgb_anon" / condition / split, "root (ACDC)").rglob("*.png")):
        name, sequence = new.name.removesuffix("_rgb_anon.png"), new.parent.name
        old = root / f"rgb_anon/{condition}/{split}_ref/{sequence}/{name}_rgb_ref_anon.png"
        if not old.is_file():
            raise InputError(f"{new}: its clear partner is missing: {old}")
        labels = {
            "y1": root / f"gt/{condition}/{split}_ref/{sequence}/{name}_gt_ref_labelTrainIds.png",
            "y2": root / f"gt/{condition}/{split}/{sequence}/{name}_gt_labelTrainIds.png",
        }
        there = {column: path for column, path in labels.items() if path.is_file()}
        found.append({"x1": old, "x2": new, **there})
    return found


def main() -> None:
    given = arguments(__doc__ or "", condition=CONDITIONS, split=("train", "val", "test"))
    chosen = CONDITIONS[1:] if given.condition == "all" else (given.condition,)
    found = [row for c in chosen for row in rows(given.root, c, given.split)]
    write_index(given.out, found, list(CITYSCAPES_LABELS.values()), "ACDC")


if __name__ == "__main__":
    run(main)
