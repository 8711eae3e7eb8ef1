"""Make the images in this folder with the real GEGL: `python tests/transforms/gegl/make.py`.

Needs the command `gegl` (Debian: `apt install gegl`). The inputs are drawn by adapt/data/scenes.py.
"""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

from adapt.data.images import write_png
from adapt.data.scenes import draw_scene

SIZES = {"scene": (60, 80), "odd": (25, 33), "tiny": (3, 5)}

PHOTOCOPY: list[dict[str, Any]] = [
    {},
    {"mask_radius": 8.0, "sharpness": 0.8},
    {"mask_radius": 25.0, "sharpness": 0.3, "black": 0.4, "white": 0.6},
    {"mask_radius": 0.0, "sharpness": 1.0, "white": 0.5},
    {"mask_radius": 50.0, "sharpness": 0.0, "white": 1.0},
    {"black": 0.0, "white": 0.0},
    {"mask_radius": 3.0, "sharpness": 0.9, "black": 1.0, "white": 0.05},
]
RIPPLE: list[dict[str, Any]] = [
    {},
    {"amplitude": 5.0, "period": 20.0, "phi": 0.5, "angle": 90.0, "abyss_policy": "loop"},
    *(
        {
            "amplitude": 7.5,
            "period": 31.0,
            "phi": -0.3,
            "angle": angle,
            "sampler_type": sampler,
            "wave_type": wave,
            "abyss_policy": abyss,
        }
        for (sampler, angle), (wave, abyss) in zip(
            product(("nearest", "linear", "cubic"), (37.0, -121.0, 180.0)),
            [*product(("sine", "triangle", "sawtooth"), ("clamp", "loop", "black"))],
            strict=True,
        )
    ),
    {"amplitude": 20.0, "period": 13.0, "angle": 64.0, "abyss_policy": "white"},
    {"amplitude": 9.0, "period": 17.0, "angle": 25.0, "abyss_policy": "loop", "tileable": True},
    {"amplitude": 9.0, "period": 900.0, "phi": 0.2, "tileable": True},
    {"amplitude": 1000.0, "period": 1000.0, "phi": 1.0, "angle": -90.0},
    {"amplitude": 40.0, "period": 0.0},
]
CUBISM: list[dict[str, Any]] = [
    {},
    {"seed": 4294967295, "tile_size": 6.0, "tile_saturation": 2.0},
    {"seed": 7, "tile_size": 20.0, "tile_saturation": 1.5, "bg_color": [255, 128, 3]},
    {"seed": 11, "tile_size": 9.5, "tile_saturation": 0.6, "bg_color": [20, 200, 90]},
    {"seed": 3, "tile_size": 256.0, "tile_saturation": 10.0},
    {"seed": 5, "tile_size": 1.0, "tile_saturation": 10.0},
    {"seed": 6, "tile_size": 4.0, "tile_saturation": 0.0, "bg_color": [9, 0, 255]},
]
# Our defaults where GEGL's are transparent.
OPAQUE: dict[str, dict[str, Any]] = {
    "photocopy": {},
    "ripple": {"abyss_policy": "clamp"},
    "cubism": {"bg_color": [0, 0, 0]},
}
SETTINGS = {"photocopy": PHOTOCOPY, "ripple": RIPPLE, "cubism": CUBISM}


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
    cases = []
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        source = HERE / f"{name}.png"
        write_png(source, draw_scene(0, number)[0][20 : 20 + height, 30 : 30 + width])
        for op, settings in SETTINGS.items():
            for i, parameters in enumerate(settings):
                output = f"{name}_{op}_{i}.png"
                gegl(source, op, parameters, HERE / output)
                cases.append(
                    {"input": source.name, "op": op, "params": parameters, "output": output}
                )
    text = ",\n  ".join(json.dumps(case) for case in cases)
    (HERE / "manifest.json").write_text(f'{{"cases": [\n  {text}\n]}}\n')


if __name__ == "__main__":
    main()
