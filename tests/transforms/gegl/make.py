"""Make the images of manifest.json with the real GEGL: `python tests/transforms/gegl/make.py`.

Needs the command `gegl` (Debian: `apt install gegl`). The inputs are drawn by adapt/data/scenes.py;
a new case is a line in the manifest.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

from adapt.data.images import write_png
from adapt.data.scenes import draw_scene

SIZES = {"scene": (60, 80), "odd": (25, 33), "tiny": (3, 5)}

# Our defaults where GEGL's are transparent.
OPAQUE: dict[str, dict[str, Any]] = {
    "photocopy": {},
    "ripple": {"abyss_policy": "clamp"},
    "cubism": {"bg_color": [0, 0, 0]},
}


def gegl(source: Path, op: str, parameters: dict[str, Any], target: Path) -> None:
    """Filter one PNG with the command `gegl`; its result is cut to the size of the source.

    Raises:
        subprocess.CalledProcessError: GEGL fails.
    """
    width, height = Image.open(source).size
    values = [
        f"{k.replace('_', '-')}={gegl_value(v)}" for k, v in (OPAQUE[op] | parameters).items()
    ]
    crop = ["gegl:crop", "x=0", "y=0", f"width={width}", f"height={height}"]
    save = ["gegl:png-save", f"path={target}", "bitdepth=8"]
    command = ["gegl", str(source), "--", f"gegl:{op}", *values, *crop, *save]
    subprocess.run(command, check=True, capture_output=True)
    Image.open(target).convert("RGB").save(target, optimize=True)


def gegl_value(value: Any) -> str:
    """A parameter as the command line takes it."""
    if isinstance(value, list):
        return "#" + "".join(f"{channel:02x}" for channel in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        image = draw_scene(0, number)[0][20 : 20 + height, 30 : 30 + width]
        write_png(HERE / f"{name}.png", image)
    for case in json.loads((HERE / "manifest.json").read_text())["cases"]:
        gegl(HERE / case["input"], case["op"], case["params"], HERE / case["output"])


if __name__ == "__main__":
    main()
