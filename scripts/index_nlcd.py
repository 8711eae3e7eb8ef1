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
from adapt.data.index import arguments, converted_rows, run, write_index
from adapt.data.tiff import read_tiff
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
    kinds = {"x1": "etm_sr_benchmark", "x2": "oli_sr_benchmark", "y1": "etm_nlcd"}
    sources = {column: places(given.root, kind) for column, kind in kinds.items()}
    old, new = (partial(colours, bands=bands) for bands in ((2, 1, 0), (3, 2, 1)))
    rows = converted_rows(given.out.parent, sources, {"x1": old, "x2": new, "y1": indices})
    write_index(given.out, rows, list(CLASSES.values()), "NLCD-L")


if __name__ == "__main__":
    run(main)
