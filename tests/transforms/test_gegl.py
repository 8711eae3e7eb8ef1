"""The filters against real GEGL: committed outputs, and the command `gegl` where it is installed.

`GEGL_REFERENCES=DIR` adds a folder of outputs of one's own with a manifest of the same form.
"""

import inspect
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
from transforms.parameters import CHOICES, RANGES

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
    """Random parameters; sizes and distances are such that the image shows them."""
    most = {"amplitude": 60.0, "period": 300.0, "tile_size": 40.0, "tile_saturation": 5.0}
    # "nearest" jumps where arithmetic differs in the last digit; in GEGL "none" is transparent.
    left_out = ("nearest", "none")
    found: dict[str, Any] = {"seed": int(rng.integers(2**32)), "tileable": bool(rng.integers(2))}
    for name, (low, high) in RANGES.items():
        low = 2.0 if name == "period" else low
        found[name] = round(float(rng.uniform(low, most.get(name, high))), 3)
    for name, choices in CHOICES.items():
        found[name] = str(rng.choice([choice for choice in choices if choice not in left_out]))
    names = inspect.signature(FILTERS[op]).parameters
    return {name: value for name, value in found.items() if name in names}


@pytest.mark.skipif(shutil.which("gegl") is None, reason="the command gegl is not installed")
@pytest.mark.parametrize("op", sorted({case.values[1]["op"] for case in CASES}))
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
