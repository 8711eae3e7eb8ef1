"""NLCD-L of SSL4EO-L (Stewart et al. 2023): Landsat 7 and Landsat 8-9 over the same place.

    ssl4eo_l_etm_sr_benchmark/<place>/<scene>/all_bands.tif    x1, 6 bands
    ssl4eo_l_oli_sr_benchmark/<place>/<scene>/all_bands.tif    x2, 7 bands
    ssl4eo_l_etm_nlcd/<place>/…/*.tif                          y1, NLCD codes

Red, green and blue are bands 3, 2, 1 of ETM+ and 4, 3, 2 of OLI, as the files have them (8 bits):
no stretch, which would hide what differs between the sensors. Written as PNG to x1/, x2/ and
labels/ beside the list.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

from functools import partial

import numpy as np

from adapt.data.files import folder
from adapt.data.images import IGNORE
from adapt.data.index import Row, arguments, converted, read_tiff, run, write_index
from adapt.errors import InputError, listing

CLASSES = {
    11: "open water", 12: "perennial ice or snow", 21: "developed, open space",
    22: "developed, low intensity", 23: "developed, medium intensity",
    24: "developed, high intensity", 31: "barren land", 41: "deciduous forest",
    42: "evergreen forest", 43: "mixed forest", 51: "dwarf scrub", 52: "shrub or scrub",
    71: "grassland", 72: "sedge", 73: "lichens", 74: "moss", 81: "pasture or hay",
    82: "cultivated crops", 90: "woody wetlands", 95: "emergent herbaceous wetlands",
}  # fmt: skip
"""NLCD code -> class; 0 is void."""


def colours(path: Path, bands: tuple[int, int, int]) -> np.ndarray:
    image = read_tiff(path)
    if image.dtype != np.uint8 or image.shape[2] <= max(bands):
        raise InputError(f"{path}: {image.dtype} {image.shape}; 8 bits and more bands are expected")
    return image[..., list(bands)]


def indices(path: Path) -> np.ndarray:
    codes = read_tiff(path)[..., 0]
    if wrong := set(np.unique(codes).tolist()) - {0, *CLASSES}:
        raise InputError(f"{path}: {listing(wrong)} is no NLCD code")
    table = np.full(256, IGNORE, np.uint8)
    table[list(CLASSES)] = np.arange(len(CLASSES))
    return table[codes]


def places(root: Path, kind: str) -> dict[str, Path]:
    """Place -> its one file below ssl4eo_l_<kind>."""
    where = folder(root / f"ssl4eo_l_{kind}", "root (NLCD-L)")
    return {path.relative_to(where).parts[0]: path for path in sorted(where.rglob("*.tif"))}


def main() -> None:
    given = arguments(__doc__ or "")
    old, new = (places(given.root, f"{s}_sr_benchmark") for s in ("etm", "oli"))
    labels = places(given.root, "etm_nlcd")
    beside, rows = given.out.parent, []
    for place in sorted(old.keys() & new.keys()):
        row: Row = {column: beside / column / f"{place}.png" for column in ("x1", "x2")}
        if place in labels:
            row["y1"] = beside / "labels" / f"{place}.png"
        rows.append(row)
    for column, source, bands in (("x1", old, (2, 1, 0)), ("x2", new, (3, 2, 1))):
        jobs = {row[column]: source[row[column].stem] for row in rows}
        converted(jobs, partial(colours, bands=bands), column, mask=False)
    marked = {row["y1"]: labels[row["y1"].stem] for row in rows if "y1" in row}
    converted(marked, indices, "labels", mask=True)
    write_index(given.out, rows, list(CLASSES.values()), "NLCD-L")


if __name__ == "__main__":
    run(main)
