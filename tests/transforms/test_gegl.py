"""The filters against real GEGL: committed outputs, and the command `gegl` where it is installed.

`GEGL_REFERENCES=DIR` adds a folder of outputs of one's own with a manifest of the same form.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gegl.make import gegl

from adapt.data.images import read_image, write_png
from transforms import FILTERS

HERE = Path(__file__).parent / "gegl"
FOLDERS = [HERE, *map(Path, filter(None, [os.environ.get("GEGL_REFERENCES")]))]
CASES = [
    pytest.param(folder, case, id=Path(case["output"]).stem)
    for folder in FOLDERS
    for case in json.loads((folder / "manifest.json").read_text())["cases"]
]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit images."""
    error = np.square(one.astype(float) - other).mean()
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def check(image: np.ndarray, op: str, parameters: dict[str, Any], expected: np.ndarray) -> None:
    found = FILTERS[op](image, **parameters)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert psnr(found, expected) >= 60


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_equals_the_output_of_gegl(folder: Path, case: dict[str, Any]) -> None:
    image, expected = (read_image(folder / case[side]) for side in ("input", "output"))
    check(image, case["op"], case["params"], expected)


def test_the_outputs_differ_from_their_inputs() -> None:
    """So that a filter which does nothing would be found."""
    for folder, case in (param.values for param in CASES):
        image, output = (read_image(folder / case[side]) for side in ("input", "output"))
        assert psnr(image, output) < 40


def settings(op: str, rng: np.random.Generator) -> dict[str, Any]:
    """Random parameters over the whole range of a filter."""
    uniform = {
        "photocopy": {"mask_radius": (0, 50), "sharpness": (0, 1), "white": (0, 1)},
        "ripple": {
            "amplitude": (0, 60),
            "period": (2, 300),
            "phi": (-1, 1),
            "angle": (-180, 180),
        },
        "cubism": {"tile_size": (1, 40), "tile_saturation": (0, 5)},
    }[op]
    found: dict[str, Any] = {k: round(float(rng.uniform(*ends)), 3) for k, ends in uniform.items()}
    if op == "ripple":
        found["wave_type"] = str(rng.choice(["sine", "triangle", "sawtooth"]))
        found["sampler_type"] = str(rng.choice(["linear", "cubic"]))
        found["abyss_policy"] = str(rng.choice(["clamp", "loop", "black", "white"]))
        found["tileable"] = bool(rng.integers(2))
    if op == "cubism":
        found["seed"] = int(rng.integers(2**32))
    return found


@pytest.mark.skipif(shutil.which("gegl") is None, reason="the command gegl is not installed")
@pytest.mark.parametrize("op", FILTERS)
def test_equals_the_installed_gegl(op: str, tmp_path: Path) -> None:
    rng = np.random.default_rng()
    for number in range(4):
        size, seed = rng.integers(2, 90, 2), int(rng.integers(2**31))
        small = np.random.default_rng(seed).integers(1, 256, (*(size // 4 + 1), 3))
        image = np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)[: size[0], : size[1]]
        parameters = settings(op, rng)
        source, target = tmp_path / f"{number}.png", tmp_path / f"{number}_out.png"
        write_png(source, image)
        gegl(source, op, parameters, target)
        try:
            check(image, op, parameters, read_image(target))
        except AssertionError:
            print(f"size {size.tolist()}, image seed {seed}, {parameters}")
            raise
