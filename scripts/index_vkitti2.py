"""Virtual KITTI 2 (Cabon, Murray, Humenberger 2020): the same drive in other weather, exactly.

    Scene<n>/clone/frames/rgb/Camera_<k>/rgb_<i>.jpg                         x1
    Scene<n>/<variation>/frames/rgb/Camera_<k>/rgb_<i>.jpg                   x2
    Scene<n>/clone/frames/classSegmentation/Camera_<k>/classgt_<i>.png       y1, by colour

Labels are colours; they are written as indices to labels/ beside the list.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an adapt.py of its own

import numpy as np

from adapt.data.files import folder
from adapt.data.images import IGNORE, read_image
from adapt.data.index import arguments, converted, run, write_index
from adapt.errors import InputError

COLOURS = {
    "terrain": (210, 0, 200), "sky": (90, 200, 255), "tree": (0, 199, 0),
    "vegetation": (90, 240, 0), "building": (140, 140, 140), "road": (100, 60, 100),
    "guard rail": (250, 100, 255), "traffic sign": (255, 255, 0), "traffic light": (200, 200, 0),
    "pole": (255, 130, 0), "misc": (80, 80, 80), "truck": (160, 60, 60), "car": (255, 127, 80),
    "van": (0, 139, 139),
}  # fmt: skip
"""As colors.txt of every scene lists them; `Undefined` (0, 0, 0) is void."""
VARIATIONS = ("fog", "morning", "overcast", "rain", "sunset", "15-deg-left", "15-deg-right",
              "30-deg-left", "30-deg-right")  # fmt: skip


def indices(path: Path) -> np.ndarray:
    """Class colours -> class indices, uint8 (H, W)."""
    rgb = read_image(path).astype(np.int32)
    joint = (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]
    mask = np.full(joint.shape, IGNORE, np.uint8)
    for index, (r, g, b) in enumerate(COLOURS.values()):
        mask[joint == (r << 16) + (g << 8) + b] = index
    if ((mask == IGNORE) & (joint != 0)).any():
        raise InputError(f"{path}: has colours that are no class of Virtual KITTI 2")
    return mask


def main() -> None:
    given = arguments(__doc__ or "", variation=VARIATIONS, camera=("0", "1"))
    if given.variation in VARIATIONS[5:]:
        text = f"variation {given.variation} turns the camera: its images are no pairs. Choices: "
        raise InputError(text + ", ".join(VARIATIONS[:5]))
    rows, jobs, inner = [], {}, Path(f"rgb/Camera_{given.camera}")
    for old in sorted(folder(given.root, "root").glob(f"Scene*/clone/frames/{inner}/*.jpg")):
        frames = old.parents[2]
        new = frames.parents[1] / given.variation / "frames" / inner / old.name
        if not new.is_file():
            raise InputError(f"{old}: its {given.variation} partner is missing: {new}")
        row = {"x1": old, "x2": new}
        number = old.stem.removeprefix("rgb_")
        label = frames / f"classSegmentation/Camera_{given.camera}/classgt_{number}.png"
        if label.is_file():
            name = f"{frames.parents[1].name}_{given.camera}_{number}.png"
            row["y1"] = given.out.parent / "labels" / name
            jobs[row["y1"]] = label
        rows.append(row)
    converted(jobs, indices, "labels", mask=True)
    write_index(given.out, rows, list(COLOURS), "Virtual KITTI 2")


if __name__ == "__main__":
    run(main)
