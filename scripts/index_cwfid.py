"""CWFID (Haug and Ostermann 2015): carrots and weeds in red light and in near infrared, one camera.

    images/<number>_image.png             red and near infrared, as two channels of an RGB file
    annotations/<number>_annotation.png   black is soil, green crop, red weed

Written as PNG to x1/ (red), x2/ (near infrared) and labels/ beside the list. Which channel is which
no document says, but plants are brighter than the soil in near infrared and darker in red.
"""

import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

import numpy as np

from adapt.data.files import folder
from adapt.data.images import read_image, read_indices
from adapt.data.index import Converter, arguments, converted_rows, run, write_index
from adapt.errors import InputError
from adapt.machine.runtime import say

CLASSES = ("soil", "crop", "weed")
COLOURS = [[0, 0, 0], [0, 255, 0], [255, 0, 0]]


def numbered(root: Path, kind: str) -> dict[str, Path]:
    """<number> -> file, of one of the two folders."""
    ending = f"_{kind}.png"
    files = sorted(folder(root / f"{kind}s", "root (CWFID)").glob(f"*{ending}"))
    return {path.name.removesuffix(ending): path for path in files}


def indices(path: Path) -> np.ndarray:
    return read_indices(path, COLOURS)


def channel(path: Path, number: int) -> np.ndarray:
    return np.repeat(read_image(path)[..., [number]], 3, axis=2)


def red_and_infrared(images: dict[str, Path], labels: dict[str, Path]) -> tuple[int, int]:
    """The channels in which plants are darkest and brightest beside the soil."""
    contrasts = []
    for number, path in images.items():
        plants, image = indices(labels[number]) > 0, read_image(path)
        if 0 < plants.sum() < plants.size:
            contrasts.append(image[plants].mean(axis=0) - image[~plants].mean(axis=0))
    contrast = np.mean(contrasts, axis=0)
    if not contrast.min() < 0 < contrast.max():
        raise InputError(
            f"images: plants are {contrast.round(1).tolist()} brighter than the soil in the three "
            "channels; near infrared should be brighter there, and red darker"
        )
    return int(contrast.argmin()), int(contrast.argmax())


def main() -> None:
    root = (given := arguments(__doc__ or "")).root
    images, labels = numbered(root, "image"), numbered(root, "annotation")
    if lost := images.keys() ^ labels.keys():
        raise InputError(f"{root}: {min(lost)} lacks its image or its annotation")
    if images:
        red, infrared = red_and_infrared(images, labels)
        say(f"red is channel {red + 1} of the images, near infrared channel {infrared + 1}")
        convert: dict[str, Converter] = {"x1": partial(channel, number=red), "y1": indices}
        convert["x2"] = partial(channel, number=infrared)
        sources = {"x1": images, "x2": images, "y1": labels}
        rows = converted_rows(given.out.parent, sources, convert)
    write_index(given.out, rows if images else [], CLASSES, "CWFID")


if __name__ == "__main__":
    run(main)
