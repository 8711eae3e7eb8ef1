"""MSRS (Tang et al. 2022): visible and thermal road scenes by day (D) and night (N), aligned.

<split>/vi/<number>{D,N}.png                     x1
<split>/ir/<number>{D,N}.png                     x2
<split>/Segmentation_labels/<number>{D,N}.png    both sides
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from adapt.data.files import folder
from adapt.data.index import Row, arguments, run, write_index
from adapt.errors import InputError

CLASSES = (
    "unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "colour cone", "bump",
)  # fmt: skip
"""Of MFNet, from which MSRS comes."""
TIMES = {"all": "", "day": "D", "night": "N"}


def rows(root: Path, split: str, time: str) -> list[Row]:
    found = []
    for old in sorted(folder(root / split / "vi", "root (MSRS)").glob(f"*{TIMES[time]}.png")):
        new = root / split / "ir" / old.name
        if not new.is_file():
            raise InputError(f"{old}: its thermal partner is missing: {new}")
        label = root / split / "Segmentation_labels" / old.name
        there = {"y1": label, "y2": label} if label.is_file() else {}
        found.append({"x1": old, "x2": new, **there})
    return found


def main() -> None:
    given = arguments(__doc__ or "", split=("train", "test"), time=tuple(TIMES))
    write_index(given.out, rows(given.root, given.split, given.time), CLASSES, "MSRS")


if __name__ == "__main__":
    run(main)
