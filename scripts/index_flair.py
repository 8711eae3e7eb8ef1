"""FLAIR-HUB (Garioud et al. 2025), also its toy set: today's aerial images and those of the past.

    D<nnn>-<year>_AERIAL_RGBI/<roi>/…_AERIAL_RGBI_<roi>_<r>-<c>.tif            x1, four bands, 0.2 m
    D<nnn>-195X_AERIAL-RLT_PAN/<roi>/…_AERIAL-RLT_PAN_<roi>_<r>-<c>.tif        x2, grey, about 0.4 m
    D<nnn>-<year>_SPOT_RGBI/<roi>/…                                            x2 with --new spot
    D<nnn>-<year>_AERIAL_LABEL-COSIA/<roi>/…                                   y1, today's

The old photographs are enlarged to today's 512x512. Seventy years lie between: what stands there
has changed, and no mask says where, so labels are today's only and serve as a rough check. Written
as PNG to x1/, past/ or spot/, and labels/ beside the list.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

import cv2
import numpy as np

from adapt.data.files import folder
from adapt.data.images import IGNORE
from adapt.data.index import arguments, converted_rows, run, write_index
from adapt.data.tiff import read_tiff
from adapt.errors import InputError

CLASSES = (
    "building", "greenhouse", "swimming pool", "impervious surface", "pervious surface",
    "bare soil", "water", "snow", "herbaceous vegetation", "agricultural land", "plowed land",
    "vineyard", "deciduous", "coniferous", "brushwood", "clear cut", "ligneous", "mixed", "other",
)  # fmt: skip
NEW = {"past": "AERIAL-RLT_PAN", "spot": "SPOT_RGBI"}
SIDE = 512


def patches(root: Path, kind: str) -> dict[str, Path]:
    """<department>_<roi>_<row>-<column> -> file, of one modality."""
    found = {}
    for where in sorted(folder(root, "root (FLAIR-HUB)").rglob(f"*_{kind}")):
        for path in sorted(where.rglob("*.tif")):
            department = where.name.split("-")[0]
            found[f"{department}_{path.stem.split(f'_{kind}_')[-1]}"] = path
    return found


def colours(path: Path) -> np.ndarray:
    image = read_tiff(path)
    if image.dtype != np.uint8:
        low, high = np.percentile(image[..., :3], (1, 99))  # SPOT has 16 bits
        image = np.clip((image - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    smooth = cv2.INTER_AREA if image.shape[0] > SIDE else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=smooth)


def indices(path: Path) -> np.ndarray:
    mask = read_tiff(path)[..., 0]
    wrong = np.setdiff1d(mask, [*range(len(CLASSES)), IGNORE])
    if wrong.size:
        raise InputError(f"{path}: values {wrong.tolist()} are no class of FLAIR-HUB")
    return mask.astype(np.uint8)


def main() -> None:
    given = arguments(__doc__ or "", new=tuple(NEW))
    kinds = {"x1": "AERIAL_RGBI", "x2": NEW[given.new], "y1": "AERIAL_LABEL-COSIA"}
    sources = {column: patches(given.root, kind) for column, kind in kinds.items()}
    convert = {"x1": colours, "x2": colours, "y1": indices}
    rows = converted_rows(given.out.parent, sources, convert, given.new)
    write_index(given.out, rows, CLASSES, "FLAIR-HUB")


if __name__ == "__main__":
    run(main)
